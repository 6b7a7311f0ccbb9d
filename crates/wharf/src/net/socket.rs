//! A TCP socket that is not connected yet: for options that must be set before.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use wharf_queue::{Address, Handle, SocketOption, op};

use super::connect::Connecting;
use super::tcp::{TcpListener, TcpStream, ip};
use crate::engine::Local;
use crate::runtime::home::gone;
use crate::runtime::worker;

/// A TCP socket that is neither connected nor listening yet, to set options on.
///
/// It is used on the worker that made it.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// use wharf::net::{SocketOption, TcpSocket, TcpStream};
/// let socket = TcpSocket::new_v4()?;
/// socket.set_option(SocketOption::ReceiveBuffer(64 * 1024))?;
/// socket.bind("127.0.0.1:0".parse().unwrap())?;
/// let listener = socket.listen(16)?;
/// TcpStream::connect(listener.local_addr()).await?;
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct TcpSocket {
    socket: Local<Handle>,
}

impl TcpSocket {
    /// A socket for IPv4.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new_v4() -> io::Result<TcpSocket> {
        TcpSocket::for_address(([0, 0, 0, 0], 0).into())
    }

    /// A socket for IPv6.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new_v6() -> io::Result<TcpSocket> {
        TcpSocket::for_address(([0u16; 8], 0).into())
    }

    /// A socket for the family of an address.
    ///
    /// # Errors
    /// That of the system.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn for_address(address: SocketAddr) -> io::Result<TcpSocket> {
        let worker = worker::expect_current();
        let kind = op::Socket::stream_for(&Address::from(address));
        let socket = worker.queue.socket(&kind)?;
        Ok(TcpSocket {
            socket: Local::new(socket),
        })
    }

    fn handle(&self) -> io::Result<Rc<Handle>> {
        self.socket.get().ok_or_else(gone)
    }

    /// Sets an option.
    ///
    /// # Errors
    /// That of the system.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.handle()?.set_option(option)
    }

    /// Binds it to an address.
    ///
    /// # Errors
    /// That of the system.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let worker = worker::expect_current();
        worker.queue.bind(&*self.handle()?, address)
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// That of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(ip(&self.handle()?.local_addr()?))
    }

    /// Connects it. Dropping the future closes it.
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody listens; that of the system.
    pub async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        let mut connecting = {
            let handle = self.handle()?;
            Connecting::with_socket((*handle).clone(), address.into())?
        };
        let stream = poll_fn(|cx| connecting.poll(cx)).await?;
        TcpStream::from_connected(stream)
    }

    /// Listens. Up to `backlog` connections wait in the system, besides those that wait in the
    /// process.
    ///
    /// # Errors
    /// That of the system.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let worker = worker::expect_current();
        let handle = self.handle()?;
        worker.queue.start_listening(&handle, backlog)?;
        TcpListener::adopt(&worker, (*handle).clone())
    }
}
