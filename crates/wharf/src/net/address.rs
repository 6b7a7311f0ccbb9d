//! What can be connected or bound to: addresses, and names that are looked up off the loop.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use wharf_queue::op;

use crate::engine;

/// An address, several, or a name that stands for some.
///
/// Implemented for `SocketAddr`, `(IpAddr, u16)` and the like, slices of `SocketAddr`, `"host:port"`,
/// and `("host", port)`. Names are looked up by the system's resolver on the worker's pool.
pub trait ToAddrs {
    /// The addresses, or the name.
    #[doc(hidden)]
    fn target(&self) -> io::Result<Target>;
}

/// What a [`ToAddrs`] stands for.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Target {
    Address(SocketAddr),
    Addresses(Vec<SocketAddr>),
    Name(String, u16),
}

impl Target {
    /// The addresses, in the order in which they are to be tried. Not empty.
    pub(crate) async fn resolve(self) -> io::Result<Vec<SocketAddr>> {
        let found = match self {
            Target::Address(address) => vec![address],
            Target::Addresses(addresses) => addresses,
            Target::Name(host, port) => {
                let lookup = engine::submit(op::Resolve::new(host, port))?;
                lookup.await.into_result()?
            }
        };
        if found.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "the name stands for no address",
            ));
        }
        Ok(found)
    }
}

/// Looks up the addresses that a name stands for, off the loop, in the resolver's order. Dropping the
/// future gives the lookup up.
///
/// ```
/// # wharf::Runtime::new().unwrap().block_on(async {
/// let addresses = wharf::net::lookup("127.0.0.1:80").await?;
/// assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap()]);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
///
/// # Errors
/// The resolver's; `InvalidInput` for text without a port.
///
/// # Panics
/// Outside a runtime, for a name.
pub async fn lookup(target: impl ToAddrs) -> io::Result<Vec<SocketAddr>> {
    target.target()?.resolve().await
}

macro_rules! addresses {
    ($($type:ty),*) => {$(
        impl ToAddrs for $type {
            fn target(&self) -> io::Result<Target> {
                Ok(Target::Address((*self).into()))
            }
        }
    )*};
}

addresses!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl ToAddrs for [SocketAddr] {
    fn target(&self) -> io::Result<Target> {
        Ok(Target::Addresses(self.to_vec()))
    }
}

impl ToAddrs for (&str, u16) {
    fn target(&self) -> io::Result<Target> {
        let (host, port) = *self;
        // A name needs no lookup if it is an address in text; brackets are not part of one.
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(Target::Address((ip, port).into())),
            Err(_) => Ok(Target::Name(host.to_owned(), port)),
        }
    }
}

impl ToAddrs for (String, u16) {
    fn target(&self) -> io::Result<Target> {
        (self.0.as_str(), self.1).target()
    }
}

impl ToAddrs for str {
    fn target(&self) -> io::Result<Target> {
        if let Ok(address) = self.parse() {
            return Ok(Target::Address(address));
        }
        let invalid = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("'{self}' is not an address: write HOST:PORT"),
            )
        };
        let (host, port) = self.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(Target::Name(host.to_owned(), port))
    }
}

impl ToAddrs for String {
    fn target(&self) -> io::Result<Target> {
        self.as_str().target()
    }
}

impl<T: ToAddrs + ?Sized> ToAddrs for &T {
    fn target(&self) -> io::Result<Target> {
        (**self).target()
    }
}
