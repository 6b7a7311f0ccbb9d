//! Serving connections on all workers: by handing them out, or by a listener on each.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use wharf_queue::SocketOption;

use super::stream::StreamRef;
use super::tcp::{TcpListener, TcpStream};
use super::{TcpSocket, tcp};
use crate::runtime::home::{Home, Message, gone};
use crate::runtime::worker;
use crate::task::{JoinHandle, spawn, spawn_on};

/// Accepts connections and hands each to the worker that has the fewest, where `handler` makes the
/// task that serves it. Runs until it is dropped, or accepting fails for good; then the handlers that
/// are running go on.
///
/// Out of descriptors it goes on, with the pause that accepting itself makes.
///
/// ```
/// # wharf::Runtime::builder().workers(2).build().unwrap().block_on(async {
/// use wharf::net::{TcpListener, TcpStream, serve};
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr();
/// let server = wharf::spawn(serve(listener, |mut stream: TcpStream| async move {
///     stream.write_all(b"hello").await.ok();
/// }));
/// let mut buf = [0; 5];
/// TcpStream::connect(address).await?.read_exact(&mut buf).await?;
/// server.abort();
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Errors
/// That of the listener.
pub async fn serve<H, F>(listener: TcpListener, handler: H) -> io::Result<()>
where
    H: Fn(TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    let handler = Arc::new(handler);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error),
        };
        let handler = handler.clone();
        // It fails on a connection that has failed.
        drop(stream.move_to(least_loaded(), move |stream| handler(stream)));
    }
}

/// What went wrong with one connection, or will be over: out of descriptors or memory, aborted.
fn is_passing(error: &io::Error) -> bool {
    let is_short = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::Interrupted
    );
    is_short || wharf_queue::is_out_of_resources(error)
}

/// The number of the worker that has the fewest connections; this one's, if others have as few. What
/// is on its way to a worker counts.
///
/// ```
/// # wharf::Runtime::builder().workers(2).build().unwrap().block_on(async {
/// use wharf::net::{TcpListener, TcpStream, least_loaded};
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// assert_eq!(least_loaded(), 0);
/// let client = TcpStream::connect(listener.local_addr()).await?;
/// assert_eq!(least_loaded(), 1);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Panics
/// Outside a runtime.
#[must_use]
pub fn least_loaded() -> usize {
    let here = worker::expect_current();
    let load = |home: &Home| home.connections.load(Ordering::Relaxed);
    let homes = here.team.homes().iter();
    let least = homes.min_by_key(|home| (load(home), home.id != here.home.id));
    least.unwrap_or(&here.home).index
}

impl TcpStream {
    /// Moves the connection to another worker, where `handler` makes the task that serves it: it
    /// lives there from then on. On the worker where it is, that is a plain spawn. The number is taken
    /// modulo that of the workers.
    ///
    /// ```
    /// # wharf::Runtime::builder().workers(2).build().unwrap().block_on(async {
    /// use wharf::net::{TcpListener, TcpStream};
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// let mut client = TcpStream::connect(listener.local_addr()).await?;
    /// let (stream, _) = listener.accept().await?;
    /// stream.move_to(1, async |mut stream: TcpStream| {
    ///     let place = stream.worker().to_string();
    ///     stream.write_all(place.as_bytes()).await.ok();
    /// })?;
    /// let mut buf = [0; 1];
    /// client.read_exact(&mut buf).await?;
    /// assert_eq!(&buf, b"1");
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`into_std`](TcpStream::into_std): of a connection that nothing was read from yet, and
    /// where nothing waits to be sent, there are none. The connection is closed then. On another
    /// worker than its own, it is done a moment later, and an error is not told.
    ///
    /// # Panics
    /// Outside a runtime.
    #[track_caller]
    pub fn move_to<H, F>(self, worker: usize, handler: H) -> io::Result<()>
    where
        H: FnOnce(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let here = worker::expect_current();
        let target = here.team.home(worker);
        if target.id == self.home().id {
            drop(spawn_on(worker, move || async move { handler(self).await }));
            return Ok(());
        }
        if here.home.id != self.home().id {
            let home = self.home().clone();
            home.run(move |_| drop(self.move_to(worker, handler)));
            return Ok(());
        }
        let (socket, ends) = self.detach(&here)?;
        // Counted at once, so that a burst does not go to one worker.
        target.connections.fetch_add(1, Ordering::Relaxed);
        let message = Message::Call(Box::new(move |worker| {
            worker.home.connections.fetch_sub(1, Ordering::Relaxed);
            // It fails only for a connection that is gone.
            let Ok(socket) = worker.queue.attach(socket) else {
                return;
            };
            let stream = TcpStream::new(StreamRef::new(worker, socket), ends);
            let task = async move { handler(stream).await };
            drop(crate::task::spawn_in(worker, None, task));
        }));
        // A worker that has ended closes the socket with the message.
        drop(target.send(message));
        Ok(())
    }
}

/// Listens on `address` on every worker, with sockets that share the port (`SO_REUSEPORT`): the
/// system spreads connections over them, and each is served where it was accepted, without a word
/// between workers. The returned value stops it when it is dropped.
///
/// # Errors
/// That of the system for any of the sockets.
///
/// # Panics
/// Outside a runtime.
pub async fn serve_sharded<H, F>(address: SocketAddr, handler: H) -> io::Result<Serving>
where
    H: Fn(TcpStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    let handler = Arc::new(handler);
    let workers = crate::runtime::workers();
    let mut serving = Serving {
        local: address,
        shards: Vec::new(),
    };
    for worker in 0..workers {
        // The first one finds a free port, if none was asked for; the others share it.
        let address = serving.local;
        let handler = handler.clone();
        let (bound, listening) = async_channel::bounded(1);
        let shard = spawn_on(worker, move || async move {
            let listener = listen_shared(address);
            let local = listener.as_ref().map(TcpListener::local_addr);
            let told = local.map_err(|error| io::Error::new(error.kind(), error.to_string()));
            let listener = listener?;
            // Nobody listens if the future was dropped; then this task is aborted.
            let _heard = bound.send(told).await;
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(spawn(handler(stream))),
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        });
        serving.shards.push(shard);
        serving.local = match listening.recv().await {
            Ok(local) => local?,
            // The task ended at once: its error says why.
            Err(_) => match serving.shards.pop() {
                Some(shard) => {
                    return Err(shard
                        .await
                        .unwrap_or_else(|error| Err(error.into()))
                        .err()
                        .unwrap_or_else(gone));
                }
                None => return Err(gone()),
            },
        };
    }
    Ok(serving)
}

fn listen_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::for_address(address)?;
    socket.set_option(SocketOption::ReuseAddress(true))?;
    socket.set_option(SocketOption::ReusePort(true))?;
    socket.bind(address)?;
    socket.listen(tcp::BACKLOG)
}

/// Listeners on every worker; from [`serve_sharded`]. Dropping it closes them; the handlers that are
/// running go on.
pub struct Serving {
    local: SocketAddr,
    shards: Vec<JoinHandle<io::Result<()>>>,
}

impl Serving {
    /// The address that is listened on, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.abort();
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Serving({} on {} workers)",
            self.local,
            self.shards.len()
        )
    }
}
