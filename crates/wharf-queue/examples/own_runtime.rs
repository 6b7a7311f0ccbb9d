//! A runtime of your own on `wharf-queue`: event queue, then future, then waker, then executor.
//!
//! It is small enough to be read at once, and it is whole: tasks, timers, TCP, futures that may be
//! dropped at any moment, wakes from any thread. Nothing in it is unsafe.
//!
//! `cargo run -p wharf-queue --example own_runtime`

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use wharf_queue::{Address, Handle, Notifier, Operation, Queue, Token, op};

// 1. THE EVENT QUEUE. Operations go in with their buffers, completions come out. All that a runtime
//    has to add is who waits for which operation, and which tasks there are.

type Task = Pin<Box<dyn Future<Output = ()>>>;

struct Runtime {
    queue: Queue,
    waiting: RefCell<HashMap<Token, Waker>>,
    tasks: RefCell<HashMap<usize, Task>>,
    spawned: Cell<usize>,
    ready: (mpsc::Sender<usize>, mpsc::Receiver<usize>),
}

impl Runtime {
    /// Sleeps until something has completed, and wakes those who wait for it. The results stay in
    /// the queue (`keep`): each future takes its own when it is polled, as the type that it knows.
    fn turn(&self) -> io::Result<()> {
        for completion in self.queue.wait(None)? {
            let kept = completion.keep().ok();
            if let Some(waker) = kept.and_then(|token| self.waiting.borrow_mut().remove(&token)) {
                waker.wake();
            }
        }
        Ok(())
    }
}

// 2. THE FUTURE. It holds no buffer and no handle, only the token: what is lent to an operation lies
//    in the queue until the kernel is done with it, so that a future may be dropped, or leaked,
//    while the kernel still writes. It looks for its result and, if there is none, leaves its waker.

struct InFlight<O: Operation>(Rc<Runtime>, Token<O>);

/// Runs one operation. Nothing begins before the first poll, as for every future.
async fn run<O: Operation>(runtime: &Rc<Runtime>, operation: O) -> io::Result<O::Output> {
    let token = runtime.queue.submit(operation)?;
    Ok(InFlight(runtime.clone(), token).await)
}

impl<O: Operation> Future for InFlight<O> {
    type Output = O::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O::Output> {
        let InFlight(runtime, token) = &*self;
        if let Some(output) = runtime.queue.take(*token) {
            return Poll::Ready(output);
        }
        let waker = context.waker().clone();
        runtime.waiting.borrow_mut().insert(token.erase(), waker);
        Poll::Pending
    }
}

/// Nobody wants the result any more: cancel the operation, and let whatever it brings be dropped by
/// its type. A buffer is freed, an accepted connection is closed. After `take` it does nothing,
/// because the token is stale then, and a stale token leads nowhere.
///
/// A receive that had completed already takes its bytes along. That suits this program, which gives
/// up connections as a whole; a library would keep them for the next receive on the same socket.
impl<O: Operation> Drop for InFlight<O> {
    fn drop(&mut self) {
        self.0.waiting.borrow_mut().remove(&self.1.erase());
        self.0.queue.discard(self.1);
    }
}

// 3. THE WAKER. It says which task can go on, and ends the sleep of the event queue. Any thread may
//    do so at any time; the notifier never blocks, never fails and is never lost.

struct TaskWaker {
    task: usize,
    ready: mpsc::Sender<usize>,
    notifier: Notifier,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        // It fails only when the runtime is gone, and its tasks with it.
        let _ = self.ready.send(self.task);
        self.notifier.notify();
    }
}

// 4. THE EXECUTOR. It polls tasks that can go on. When there are none, it lets the event queue
//    sleep. A task is a boxed future in a table, and its number is what a waker knows of it.

impl Runtime {
    fn spawn(&self, future: impl Future<Output = io::Result<()>> + 'static) {
        let task = self.spawned.replace(self.spawned.get() + 1);
        let future = async move {
            if let Err(error) = future.await {
                println!("task {task} failed: {error}");
            }
        };
        self.tasks.borrow_mut().insert(task, Box::pin(future));
        let _ = self.ready.0.send(task);
    }

    /// Runs until no task is left.
    fn run_tasks(&self) -> io::Result<()> {
        while !self.tasks.borrow().is_empty() {
            let Ok(task) = self.ready.1.try_recv() else {
                self.turn()?;
                continue;
            };
            // Out of the table while it runs, so that it may spawn others. A number that is not
            // there is a task that has ended since it was woken.
            let Some(mut future) = self.tasks.borrow_mut().remove(&task) else {
                continue;
            };
            let (ready, notifier) = (self.ready.0.clone(), self.queue.notifier());
            let waker = Waker::from(Arc::new(TaskWaker {
                task,
                ready,
                notifier,
            }));
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            if polled.is_pending() {
                self.tasks.borrow_mut().insert(task, future);
            }
        }
        Ok(())
    }
}

// AND NOW IT IS USED: an echo server that hangs up on who says nothing for too long, and clients.

async fn echo(runtime: Rc<Runtime>, socket: Handle) -> io::Result<()> {
    let patience = Duration::from_millis(300);
    loop {
        let mut recv = pin!(run(
            &runtime,
            op::Recv::new(&socket, Vec::with_capacity(1024))
        ));
        let mut timer = pin!(run(&runtime, op::Timer::after(patience)));
        // Whichever comes first; the other is dropped with what it has in flight.
        let received = poll_fn(|context| match recv.as_mut().poll(context) {
            Poll::Ready(received) => Poll::Ready(Some(received)),
            Poll::Pending => timer.as_mut().poll(context).map(|_| None),
        });
        let Some(received) = received.await else {
            println!("server: nothing was said for {patience:?}, the connection is closed");
            return Ok(());
        };
        let (outcome, buf) = received?;
        if outcome.into_result()? == 0 {
            return Ok(());
        }
        let sent = run(&runtime, op::Send::new(&socket, buf).all()).await?;
        sent.0.into_result()?;
    }
}

async fn client(runtime: Rc<Runtime>, to: Address, words: &'static str) -> io::Result<()> {
    let socket = runtime.queue.socket(&op::Socket::stream_for(&to))?;
    let connected = run(&runtime, op::Connect::new(&socket, to)).await?;
    connected.into_result()?;
    if !words.is_empty() {
        let sent = run(&runtime, op::Send::new(&socket, words).all()).await?;
        sent.0.into_result()?;
    }
    let (outcome, buf) = run(&runtime, op::Recv::new(&socket, Vec::with_capacity(1024))).await?;
    match &buf[..outcome.into_result()?] {
        [] => println!("client: the server has closed the connection"),
        said => println!("client: the server said '{}'", said.escape_ascii()),
    }
    Ok(())
}

pub(crate) fn main() -> io::Result<()> {
    let runtime = Rc::new(Runtime {
        queue: Queue::new()?,
        waiting: RefCell::default(),
        tasks: RefCell::default(),
        spawned: Cell::new(0),
        ready: mpsc::channel(),
    });
    let listener = runtime
        .queue
        .listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let clients = ["hello", "", "goodbye"];
    for words in clients {
        runtime.spawn(client(runtime.clone(), listener.local_addr()?, words));
    }
    let server = runtime.clone();
    runtime.spawn(async move {
        for _ in clients {
            let accepted = run(&server, op::Accept::new(&listener)).await?;
            server.spawn(echo(server.clone(), accepted.into_result()?));
        }
        Ok(())
    });
    runtime.run_tasks()?;
    let (backend, stats) = (runtime.queue.backend(), runtime.queue.stats());
    let (submitted, cancelled) = (stats.submitted, stats.cancelled);
    println!("{backend}: {submitted} operations, {cancelled} of them cancelled");
    Ok(())
}
