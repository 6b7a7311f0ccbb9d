//! Signals of the system, as streams: interrupt, terminate, and on Unix the others.
//!
//! ```no_run
//! # wharf::Runtime::new().unwrap().block_on(async {
//! use wharf::signal::{SignalKind, ctrl_c, signal};
//! let mut hangup = signal(SignalKind::hangup())?;
//! wharf::spawn(async move {
//!     while let Some(()) = hangup.recv().await {
//!         println!("reading the configuration again");
//!     }
//! });
//! ctrl_c().await?;
//! println!("good bye");
//! # std::io::Result::Ok(()) });
//! ```
//!
//! Any number of listeners, in any number of runtimes, hear of each signal. A listener hears of every
//! signal that comes after it was made, also while nobody polls it; several that come before it is
//! polled are one, as the system itself may make one of them. Dropping the future of a `recv` loses
//! nothing.
//!
//! The first listener for a signal takes the place of what the system does by default, such as ending
//! the process, and that stays so when the listener is dropped. One thread of the process, started
//! with the first listener, passes signals on; the handler itself only writes a byte to a pipe.
//!
//! `SIGKILL` and `SIGSTOP` cannot be caught, and `SIGSEGV`, `SIGFPE` and `SIGILL` must not be caught in
//! this way; they are refused.

mod os;
mod registry;

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use registry::Listener;

/// Which signal; see signal(7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SignalKind(i32);

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $constant:ident,)*) => {
        impl SignalKind {
            $($(#[$doc])*
            #[must_use]
            pub const fn $name() -> SignalKind {
                SignalKind(os::$constant)
            })*
        }
    };
}

kinds! {
    /// `SIGALRM`: a timer of the process has run out.
    alarm = ALARM,
    /// `SIGCHLD`: a child process has changed its state.
    child = CHILD,
    /// `SIGHUP`: the terminal is gone; for a daemon: read the configuration again.
    hangup = HANGUP,
    /// `SIGINT`: Ctrl-C.
    interrupt = INTERRUPT,
    /// `SIGPIPE`: a write to a pipe that nobody reads. wharf's own writes never raise it.
    pipe = PIPE,
    /// `SIGQUIT`: Ctrl-\.
    quit = QUIT,
    /// `SIGTERM`: a request to end.
    terminate = TERMINATE,
    /// `SIGUSR1`: for the program's own use.
    user_defined1 = USER_DEFINED_1,
    /// `SIGUSR2`: for the program's own use.
    user_defined2 = USER_DEFINED_2,
    /// `SIGWINCH`: the size of the terminal has changed.
    window_change = WINDOW_CHANGE,
}

impl SignalKind {
    /// The signal with this number of the system's.
    #[must_use]
    pub const fn from_raw(number: i32) -> SignalKind {
        SignalKind(number)
    }

    /// The system's number.
    #[must_use]
    pub const fn as_raw(self) -> i32 {
        self.0
    }
}

/// Listens for a signal, from now on. This needs no runtime, and works in any.
///
/// # Errors
/// `InvalidInput` for a signal that cannot be caught; that of the system; `Unsupported` on a system
/// without signals.
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    let listener = registry::listen(kind.0)?;
    Ok(Signal { listener, kind })
}

/// Waits for Ctrl-C, from when this is called, polled or not. After that, Ctrl-C does not end the
/// process any more, whether or not this is still waited for.
///
/// # Errors
/// As [`signal`].
pub fn ctrl_c() -> impl Future<Output = io::Result<()>> + Send + use<> {
    let interrupt = signal(SignalKind::interrupt());
    async move {
        interrupt?.recv().await;
        Ok(())
    }
}

/// Hears of a signal; from [`signal`]. It is a [`Stream`] that never ends.
pub struct Signal {
    listener: Arc<Listener>,
    kind: SignalKind,
}

impl Signal {
    /// Waits for the signal. It gives `None` never; the type is that of a stream's `next`.
    ///
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Signal::recv), for futures that are written by hand.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.listener.poll(cx).map(Some)
    }
}

impl Stream for Signal {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.poll_recv(cx)
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signal({})", self.kind.0)
    }
}
