//! A server on wharf: accepting, limits, and an orderly end.
//!
//! Owns the accept loop and what a user configures. One connection is `connection`'s business, one
//! exchange `exchange`'s, and how long anything may take `patience`'s.

mod clock;
mod connection;
mod exchange;
pub(crate) mod parts;
mod patience;
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
use wharf::net::TcpListener;

pub use exchange::{BodyTooLarge, RequestBody};
pub use stats::{Access, Asked, Stats, Totals};
pub use stop::Stop;

use clock::Clock;
use exchange::Connection;
use stop::Census;

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
/// it is called on. Several workers serve together by calling it with a listener each, and share
/// the counts.
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
        let clock = Clock::new();
        let census = Census::default();
        let accepted = self.accept(&listener, &service, &stop, clock, &census);
        let outcome = until(stop.asked(), accepted).await;
        // Nobody shall connect to what will not answer.
        drop(listener);
        let is_over = wharf::time::timeout(self.limits.drain, census.empty()).await;
        if is_over.is_err() {
            stop.end();
            census.empty().await;
        }
        outcome.unwrap_or(Ok(()))
    }

    /// Accepts until that fails for good.
    async fn accept<S, B>(
        &self,
        listener: &TcpListener,
        service: &S,
        stop: &Stop,
        clock: Clock,
        census: &Census,
    ) -> io::Result<()>
    where
        S: Service<Request<RequestBody>, Response = Response<B>> + Clone + 'static,
        S::Future: 'static,
        S::Error: fmt::Display,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.stats.accept_error();
                    if is_fatal(&error) {
                        return Err(error);
                    }
                    // Want of descriptors or memory passes; asking at once would only be refused.
                    wharf::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            self.stats.connection();
            // It fails only on what is no connection any more; the first read will tell.
            drop(stream.set_nodelay(true));
            let limits = self.limits;
            let (stats, log) = (self.stats(), self.log.clone());
            let connection = Arc::new(Connection::new(peer, limits, clock, stats, log));
            let present = census.enter();
            let served = connection::serve(stream, service.clone(), connection, stop.clone());
            drop(wharf::spawn(async move {
                served.await;
                drop(present);
            }));
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
