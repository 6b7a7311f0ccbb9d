//! A runtime of your own on `wharf-queue`: event queue, then future, then waker, then executor.
//!
//! It is small enough to be read at once, and it is whole: tasks, timers, TCP, futures that may be
//! dropped at any moment, wakes from any thread. Nothing in it is unsafe.
//!
//! `cargo run -p wharf-queue --example own_runtime`

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use wharf_queue::{Address, Handle, Notifier, Operation, Queue, Token, op};

// 1. THE EVENT QUEUE. Operations go in with their buffers, completions come out. All that a runtime
//    has to add is a table: who waits for which operation.

struct Reactor {
    queue: Queue,
    waiting: RefCell<HashMap<Token, Waker>>,
}

impl Reactor {
    /// Sleeps until something has completed, and wakes those who wait for it. The results stay in
    /// the queue (`keep`): each future takes its own when it is polled, as the type that it knows.
    fn turn(&self, timeout: Option<Duration>) -> io::Result<()> {
        for completion in self.queue.wait(timeout)? {
            let Ok(token) = completion.keep() else {
                continue;
            };
            if let Some(waker) = self.waiting.borrow_mut().remove(&token) {
                waker.wake();
            }
        }
        Ok(())
    }

    /// Runs one operation. Nothing begins before the first poll, as for every future.
    async fn run<O: Operation>(self: &Rc<Self>, operation: O) -> io::Result<O::Output> {
        let token = self.queue.submit(operation)?;
        let reactor = self.clone();
        Ok(InFlight { reactor, token }.await)
    }
}

// 2. THE FUTURE. It holds no buffer and no handle, only the token: what is lent to an operation lies
//    in the queue until the kernel is done with it, so that a future may be dropped, or leaked,
//    while the kernel still writes. It looks for its result and, if there is none, leaves its waker.

struct InFlight<O: Operation> {
    reactor: Rc<Reactor>,
    token: Token<O>,
}

impl<O: Operation> Future for InFlight<O> {
    type Output = O::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<O::Output> {
        if let Some(output) = self.reactor.queue.take(self.token) {
            return Poll::Ready(output);
        }
        let waker = context.waker().clone();
        let mut waiting = self.reactor.waiting.borrow_mut();
        waiting.insert(self.token.erase(), waker);
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
        self.reactor
            .waiting
            .borrow_mut()
            .remove(&self.token.erase());
        self.reactor.queue.discard(self.token);
    }
}

// 3. THE WAKER. It says which task can go on, and ends the sleep of the event queue. Any thread may
//    do so at any time; the notifier never blocks, never fails and is never lost.

struct TaskWaker {
    task: usize,
    ready: Arc<Ready>,
}

struct Ready {
    tasks: Mutex<VecDeque<usize>>,
    notifier: Notifier,
}

impl Ready {
    fn push(&self, task: usize) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push_back(task);
    }

    fn pop(&self) -> Option<usize> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.pop_front()
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.task);
        self.ready.notifier.notify();
    }
}

// 4. THE EXECUTOR. It polls tasks that can go on. When there are none, it lets the event queue
//    sleep. A task is a boxed future in a table, and its number is what a waker knows of it.

type Task = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Clone)]
struct Executor {
    reactor: Rc<Reactor>,
    tasks: Rc<RefCell<HashMap<usize, Task>>>,
    spawned: Rc<RefCell<usize>>,
    ready: Arc<Ready>,
}

impl Executor {
    fn new() -> io::Result<Executor> {
        let queue = Queue::new()?;
        let notifier = queue.notifier();
        Ok(Executor {
            reactor: Rc::new(Reactor {
                queue,
                waiting: RefCell::default(),
            }),
            tasks: Rc::default(),
            spawned: Rc::default(),
            ready: Arc::new(Ready {
                tasks: Mutex::default(),
                notifier,
            }),
        })
    }

    fn spawn(&self, future: impl Future<Output = io::Result<()>> + 'static) {
        let task = self.spawned.replace_with(|task| *task + 1);
        let future = async move {
            if let Err(error) = future.await {
                println!("task {task} failed: {error}");
            }
        };
        self.tasks.borrow_mut().insert(task, Box::pin(future));
        self.ready.push(task);
    }

    /// Runs until no task is left.
    fn run(&self) -> io::Result<()> {
        while !self.tasks.borrow().is_empty() {
            while let Some(task) = self.ready.pop() {
                // Out of the table while it runs, so that it may spawn others. A number that is not
                // there is a task that has ended since it was woken.
                let Some(mut future) = self.tasks.borrow_mut().remove(&task) else {
                    continue;
                };
                let waker = Waker::from(Arc::new(TaskWaker {
                    task,
                    ready: self.ready.clone(),
                }));
                if future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
                {
                    self.tasks.borrow_mut().insert(task, future);
                }
            }
            if !self.tasks.borrow().is_empty() {
                self.reactor.turn(None)?;
            }
        }
        Ok(())
    }
}

// AND NOW IT IS USED: an echo server that hangs up on who says nothing for too long, and clients.

/// The future's output, or none if it takes longer; then it is dropped, whatever is in flight.
async fn within<T>(
    reactor: &Rc<Reactor>,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let (mut future, mut timer) = (pin!(future), pin!(reactor.run(op::Timer::after(limit))));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => timer.as_mut().poll(context).map(|_| None),
    })
    .await
}

async fn echo(reactor: Rc<Reactor>, socket: Handle, patience: Duration) -> io::Result<()> {
    loop {
        let recv = reactor.run(op::Recv::new(&socket, Vec::with_capacity(1024)));
        let Some(received) = within(&reactor, patience, recv).await else {
            println!("server: nothing was said for {patience:?}, the connection is closed");
            return Ok(());
        };
        let (outcome, buf) = received?;
        if outcome.into_result()? == 0 {
            return Ok(());
        }
        let send = op::Send::new(&socket, buf).all();
        reactor.run(send).await?.0.into_result()?;
    }
}

async fn client(reactor: Rc<Reactor>, to: Address, words: Option<&'static str>) -> io::Result<()> {
    let socket = reactor.queue.socket(&op::Socket::stream_for(&to))?;
    reactor
        .run(op::Connect::new(&socket, to))
        .await?
        .into_result()?;
    if let Some(words) = words {
        let send = op::Send::new(&socket, words).all();
        reactor.run(send).await?.0.into_result()?;
    }
    let recv = op::Recv::new(&socket, Vec::with_capacity(1024));
    let (outcome, buf) = reactor.run(recv).await?;
    match outcome.into_result()? {
        0 => println!("client: the server has closed the connection"),
        _ => println!(
            "client: the server said '{}'",
            String::from_utf8_lossy(&buf)
        ),
    }
    Ok(())
}

pub(crate) fn main() -> io::Result<()> {
    let executor = Executor::new()?;
    let reactor = executor.reactor.clone();
    let listener = reactor
        .queue
        .listen(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;

    let clients = [Some("hello"), None, Some("goodbye")];
    for words in clients {
        executor.spawn(client(reactor.clone(), address.clone(), words));
    }
    let server = executor.clone();
    executor.spawn(async move {
        for _ in clients {
            let accepted = server.reactor.run(op::Accept::new(&listener)).await?;
            let socket = accepted.into_result()?;
            let patience = Duration::from_millis(300);
            server.spawn(echo(server.reactor.clone(), socket, patience));
        }
        Ok(())
    });
    executor.run()?;
    let stats = reactor.queue.stats();
    println!(
        "{}: {} operations, {} of them cancelled",
        reactor.queue.backend(),
        stats.submitted,
        stats.cancelled
    );
    Ok(())
}
