//! A server on wharf: accepting, limits, and an orderly end.
//!
//! Owns the accept loop and what a user configures. The connections of one worker are `shift`'s
//! business, one of them `connection`'s, one exchange `exchange`'s, and how long anything may take
//! `patience`'s.

mod clock;
mod connection;
mod exchange;
pub(crate) mod parts;
mod patience;
mod shift;
mod stats;
mod stop;
mod stream;

use std::error::Error;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::service::Service;
use wharf::net::{TcpListener, TcpStream, least_loaded};
use wharf::sync::channel;

pub use exchange::{BodyTooLarge, RequestBody};
pub use stats::{Access, Asked, Stats, Totals};
pub use stop::Stop;

use shift::Shift;

/// How much, and how slowly, a client may ask.
///
/// A limit of [`Duration::MAX`] never ends anything.
///
/// ```
/// use std::time::Duration;
/// let limits = wharf_http::Limits {
///     idle: Duration::from_secs(5),
///     ..Default::default()
/// };
/// assert_eq!(limits.headers, 100);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How long a connection may be open with nothing asked; 75 seconds.
    pub idle: Duration,
    /// How long the head of a request may take, from its first byte to its last; 15 seconds.
    pub head: Duration,
    /// How long a handler waits for the next piece of a request's body; 30 seconds.
    pub body: Duration,
    /// How long the client may take nothing of what is sent to it; 60 seconds. The last 64 KiB of an
    /// answer are handed over at once: a client that leaves those lying asks for nothing, and is
    /// `idle`.
    pub write: Duration,
    /// How long a refused client is listened to after its answer, so that it gets it; 2 seconds.
    pub linger: Duration,
    /// How long an orderly stop waits for the exchanges that are under way; 10 seconds.
    pub drain: Duration,
    /// The head of a request in bytes, at most; 32 KiB. A longer one is answered with 431.
    pub head_bytes: usize,
    /// The header fields of a request, at most; 100. More are answered with 431.
    pub headers: usize,
    /// The body of a request in bytes, at most; 1 MiB. One that is said to be longer is answered
    /// with 413, one that turns out to be gives the handler [`BodyTooLarge`].
    pub body_bytes: u64,
    /// The requests that one connection may have in flight with HTTP/2; 128.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            idle: Duration::from_secs(75),
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            write: Duration::from_secs(60),
            linger: Duration::from_secs(2),
            drain: Duration::from_secs(10),
            head_bytes: 32 * 1024,
            headers: 100,
            body_bytes: 1 << 20,
            streams: 128,
        }
    }
}

/// Where finished exchanges are told.
type Log = Arc<dyn Fn(&Access<'_>) + Send + Sync>;

/// An HTTP server: HTTP/1.1, and HTTP/2 for a client that begins with it.
///
/// It is a configuration, cheap to clone and to send; [`Server::serve`] runs it on the worker that
/// it is called on, [`Server::serve_on_workers`] on all of them. Its clones share the counts.
///
/// ```no_run
/// use wharf_http::{Files, Server, Stop};
/// # fn main() -> std::io::Result<()> {
/// wharf::Runtime::new()?.block_on(async {
///     let listener = wharf::net::TcpListener::bind("127.0.0.1:8080").await?;
///     let files = Files::new("public").await?;
///     let server = Server::new().on_access(|access| println!("{access}"));
///     server.serve(listener, files.service(), Stop::new()).await
/// })
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Server {
    limits: Limits,
    stats: Arc<Stats>,
    log: Option<Log>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("limits", &self.limits)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server with the [`Limits`] by default and no log.
    #[must_use]
    pub fn new() -> Server {
        Server::default()
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Server {
        self.limits = limits;
        self
    }

    /// Calls `tell` for each exchange that is over, on the worker where it was. It must not block,
    /// since everything else on that worker waits for it.
    #[must_use]
    pub fn on_access(mut self, tell: impl Fn(&Access<'_>) + Send + Sync + 'static) -> Server {
        self.log = Some(Arc::new(tell));
        self
    }

    /// What this server and its clones have done so far.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Serves what comes to `listener` with clones of `service`, until `stop` is asked for.
    ///
    /// Then no more connections are accepted; idle ones are closed, and the others end with the
    /// exchange that is under way. Those that are still there after [`Limits::drain`] are cut off.
    ///
    /// A handler that panics is answered with 500, and so is one that fails. Descriptors that run
    /// out while accepting are waited for. Dropping the future stops accepting; the connections
    /// that are there are served to their ends.
    ///
    /// # Errors
    /// When the listener itself is broken. What goes wrong with one connection ends that alone.
    pub async fn serve<S, B>(&self, listener: TcpListener, service: S, stop: Stop) -> io::Result<()>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: fmt::Display,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let shift = Shift::new(self, service, &stop);
        let accepting = self.accept(&listener, |stream| shift.begin(stream));
        let outcome = until(stop.asked(), accepting).await;
        // Nobody shall connect to what will not answer.
        drop(listener);
        shift.end().await;
        outcome.unwrap_or(Ok(()))
    }

    /// As [`serve`](Server::serve), on all workers of the runtime: each connection goes to the one
    /// that has the fewest, and stays there. `make` makes the service of each worker, on it.
    ///
    /// ```no_run
    /// use wharf_http::{Files, Server, Stop};
    /// # fn main() -> std::io::Result<()> {
    /// wharf::Runtime::builder().workers(4).build()?.block_on(async {
    ///     let listener = wharf::net::TcpListener::bind("127.0.0.1:8080").await?;
    ///     let make = || async { Ok(Files::new("public").await?.service()) };
    ///     Server::new().serve_on_workers(listener, make, Stop::new()).await
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`serve`](Server::serve), and that of `make`, or that it has panicked: then the stop is asked
    /// for.
    pub async fn serve_on_workers<M, F, S, B>(
        &self,
        listener: TcpListener,
        make: M,
        stop: Stop,
    ) -> io::Result<()>
    where
        M: Fn() -> F + Clone + Send + 'static,
        F: Future<Output = io::Result<S>> + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: fmt::Display,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (hands, shifts): (Vec<_>, Vec<_>) = (0..wharf::runtime::workers())
            .map(|worker| {
                let (hand, handed) = channel::unbounded::<TcpStream>();
                let (server, make, stop) = (self.clone(), make.clone(), stop.clone());
                let shift = wharf::spawn_on(worker, move || async move {
                    let _alarm = Alarm(stop.clone());
                    let service = make().await.inspect_err(|_| stop.ask())?;
                    let shift = Shift::new(&server, service, &stop);
                    while let Ok(stream) = handed.recv().await {
                        shift.begin(stream);
                    }
                    // Otherwise the server was dropped, and its connections go on.
                    if stop.is_asked() {
                        shift.end().await;
                    }
                    Ok(())
                });
                (hand, shift)
            })
            .unzip();
        let accepting = self.accept(&listener, |stream| {
            let worker = least_loaded();
            let hand = hands[worker].clone();
            // It fails on a connection that has failed, or where the worker takes no more.
            drop(stream.move_to(worker, |stream| async move {
                drop(hand.try_send(stream));
            }));
        });
        let outcome = until(stop.asked(), accepting).await;
        // Nobody shall connect to what will not answer.
        drop(listener);
        // What is on its way to a worker arrives yet.
        drop(hands);
        let mut outcome = outcome.unwrap_or(Ok(()));
        if outcome.is_err() {
            stop.ask();
        }
        for shift in shifts {
            let ended = shift.await.unwrap_or_else(|error| Err(error.into()));
            outcome = outcome.and(ended);
        }
        outcome
    }

    /// Accepts until that fails for good.
    async fn accept(
        &self,
        listener: &TcpListener,
        mut begin: impl FnMut(TcpStream),
    ) -> io::Result<()> {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => begin(stream),
                Err(error) => {
                    self.stats.accept_error();
                    if is_fatal(&error) {
                        return Err(error);
                    }
                    // Want of descriptors or memory passes; asking at once would only be refused.
                    wharf::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Asks for a stop if the worker's part of a server panics: it would have the fewest connections from
/// then on, so that it would be given all that come.
struct Alarm(Stop);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ask();
        }
    }
}

/// How long accepting rests after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Whether the listener will never accept again.
fn is_fatal(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, InvalidInput, NotConnected, Unsupported};
    matches!(
        error.kind(),
        InvalidInput | NotConnected | Unsupported | BrokenPipe
    )
}

/// Runs `work` until it ends, or `end` comes first.
async fn until<T>(end: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let (mut end, mut work) = (pin!(end), pin!(work));
    std::future::poll_fn(|cx| {
        if end.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}
