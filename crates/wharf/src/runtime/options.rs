//! The options of a runtime.

use std::fmt;
use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wharf_queue::{BackendKind, Queue};

use super::Runtime;

type Hook = Arc<dyn Fn() + Send + Sync>;
type PanicHook = Arc<dyn Fn(Option<&str>) + Send + Sync>;

/// What the user wants to be called at.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_thread_start: Option<Hook>,
    pub(crate) on_thread_stop: Option<Hook>,
    pub(crate) before_park: Option<Hook>,
    pub(crate) after_unpark: Option<Hook>,
    pub(crate) on_task_panic: Option<PanicHook>,
}

impl Hooks {
    #[inline]
    pub(crate) fn call(&self, hook: &Option<Hook>) {
        if let Some(hook) = hook {
            hook();
        }
    }
}

/// What a runtime is built with.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    backend: Option<BackendKind>,
    ring_entries: u32,
    max_in_flight: usize,
    blocking_threads: usize,
    pub(crate) thread_name: String,
    pub(crate) teardown_timeout: Duration,
    /// How long the drop of a stream may go on sending.
    pub(crate) linger: Duration,
    /// How many bytes a connection may bring that nobody has read.
    pub(crate) hoard: usize,
    /// The buffers behind `read`: how many, and of how many bytes.
    pub(crate) receive_buffers: (u16, u32),
    pub(crate) hooks: Hooks,
}

impl Options {
    pub(crate) fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    pub(crate) fn queue(&self) -> io::Result<Queue> {
        let mut builder = Queue::builder()
            .ring_entries(self.ring_entries)
            .max_in_flight(self.max_in_flight)
            .blocking_threads(self.blocking_threads)
            .teardown_timeout(self.teardown_timeout);
        if let Some(backend) = self.backend {
            builder = builder.backend(backend);
        }
        builder.build()
    }
}

/// Makes a [`Runtime`] with options; from [`Runtime::builder`].
///
/// ```
/// let runtime = wharf::Runtime::builder()
///     .workers(2)
///     .thread_name("server")
///     .on_task_panic(|name| eprintln!("task {name:?} has panicked"))
///     .build()?;
/// assert_eq!(runtime.workers(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Builder {
    options: Options,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            options: Options {
                workers: 1,
                backend: None,
                ring_entries: 256,
                max_in_flight: 1 << 20,
                blocking_threads: 64,
                thread_name: "wharf".to_owned(),
                teardown_timeout: Duration::from_secs(10),
                linger: Duration::from_secs(10),
                hoard: 64 * 1024,
                receive_buffers: (64, 128 * 1024),
                hooks: Hooks::default(),
            },
        }
    }
}

impl Builder {
    /// How many workers: threads with a queue each, the calling one among them. 0 means one for each
    /// processor. 1 if not set.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.options.workers = match workers {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            some => some,
        };
        self
    }

    /// The backend of the workers' queues. If it cannot be had, [`build`](Builder::build) fails with
    /// the reason. If none is chosen, `WHARF_BACKEND` is looked at, and then the best is taken.
    pub fn backend(mut self, backend: BackendKind) -> Builder {
        self.options.backend = Some(backend);
        self
    }

    /// Entries of each submission ring, where there is one: a tuning knob and not a limit. 256 if
    /// not set.
    pub fn ring_entries(mut self, entries: u32) -> Builder {
        self.options.ring_entries = entries;
        self
    }

    /// How many operations each worker may have in flight. 1,048,576 if not set.
    ///
    /// At the limit, sockets wait for a place; everything else is refused, with an error. A socket that
    /// waits for something to be received or accepted has one operation in flight, and one that sends
    /// another: a limit below that lets quiet connections keep busy ones waiting.
    pub fn max_in_flight(mut self, operations: usize) -> Builder {
        self.options.max_in_flight = operations;
        self
    }

    /// How many threads each worker may have for calls that block. 64 if not set.
    pub fn blocking_threads(mut self, threads: usize) -> Builder {
        self.options.blocking_threads = threads;
        self
    }

    /// How the threads of workers are named; the number of the worker is added. "wharf" if not set.
    pub fn thread_name(mut self, name: impl Into<String>) -> Builder {
        self.options.thread_name = name.into();
        self
    }

    /// How long the end of the runtime waits for operations that were cancelled. Past that, memory
    /// that the kernel may still write is leaked, and a line on standard error says so. 10 seconds
    /// if not set.
    pub fn teardown_timeout(mut self, timeout: Duration) -> Builder {
        self.options.teardown_timeout = timeout;
        self
    }

    /// How long a stream that was dropped, or whose runtime ends, goes on sending what it had
    /// accepted. 10 seconds if not set.
    pub fn linger(mut self, timeout: Duration) -> Builder {
        self.options.linger = timeout;
        self
    }

    /// How many bytes a connection may bring that nobody has read yet, before receiving pauses. It
    /// may be exceeded by what is on its way. 64 KiB if not set; at least 1.
    pub fn hoard(mut self, bytes: usize) -> Builder {
        self.options.hoard = bytes.max(1);
        self
    }

    /// The buffers behind `read` and `recv`, of each worker, shared by all its connections: how
    /// many, a power of two, and of how many bytes. They are filled piece by piece. 64 of 128 KiB if
    /// not set.
    pub fn receive_buffers(mut self, buffers: u16, bytes: u32) -> Builder {
        self.options.receive_buffers = (buffers, bytes);
        self
    }

    /// Called on each worker's own thread when it starts; not on that of worker 0.
    pub fn on_thread_start(mut self, hook: impl Fn() + Send + Sync + 'static) -> Builder {
        self.options.hooks.on_thread_start = Some(Arc::new(hook));
        self
    }

    /// Called on each worker's own thread when it ends; not on that of worker 0.
    pub fn on_thread_stop(mut self, hook: impl Fn() + Send + Sync + 'static) -> Builder {
        self.options.hooks.on_thread_stop = Some(Arc::new(hook));
        self
    }

    /// Called by a worker before it sleeps.
    pub fn before_park(mut self, hook: impl Fn() + Send + Sync + 'static) -> Builder {
        self.options.hooks.before_park = Some(Arc::new(hook));
        self
    }

    /// Called by a worker when it has slept.
    pub fn after_unpark(mut self, hook: impl Fn() + Send + Sync + 'static) -> Builder {
        self.options.hooks.after_unpark = Some(Arc::new(hook));
        self
    }

    /// Called when a task has panicked, on its worker, with the task's name.
    pub fn on_task_panic(mut self, hook: impl Fn(Option<&str>) + Send + Sync + 'static) -> Builder {
        self.options.hooks.on_task_panic = Some(Arc::new(hook));
        self
    }

    /// Makes the runtime, and starts the threads of its workers.
    ///
    /// # Errors
    /// If a queue cannot be made, with the reason; if a thread cannot be started.
    pub fn build(self) -> io::Result<Runtime> {
        Runtime::start(self.options)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.options.workers)
            .field("backend", &self.options.backend)
            .finish_non_exhaustive()
    }
}
