//! Sockets that wharf does not know, and whose readiness is waited for.

use std::io::{self, Read as _};
use std::net::TcpStream as Plain;

use wharf::io::{AsyncFd, Interest};

use super::stream::tcp;
use super::{Kind, Read};

fn foreign(plain: Plain) -> AsyncFd<Plain> {
    AsyncFd::new(plain).expect("a socket")
}

/// Waits for readiness, and then reads.
const READABLE: Read<AsyncFd<Plain>> = |fd, _| {
    Box::pin(async move {
        let mut buf = vec![0; 20];
        loop {
            fd.readable().await?;
            match fd.get_ref().read(&mut buf) {
                Ok(count) => {
                    buf.truncate(count);
                    return Ok(buf);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    })
};

const TRY_IO: Read<AsyncFd<Plain>> = |fd, _| {
    Box::pin(async move {
        let mut buf = vec![0; 20];
        let read = fd.try_io(Interest::Readable, |mut plain| plain.read(&mut buf));
        let count = read.await?;
        buf.truncate(count);
        Ok(buf)
    })
};

const POLL_READABLE: Read<AsyncFd<Plain>> = |fd, _| {
    Box::pin(async move {
        let mut buf = vec![0; 20];
        loop {
            match fd.get_ref().read(&mut buf) {
                Ok(count) => {
                    buf.truncate(count);
                    return Ok(buf);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            std::future::poll_fn(|cx| fd.poll_readable(cx)).await?;
        }
    })
};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "async_fd_readable",
        make: || Box::pin(async { tcp(foreign, READABLE) }),
    },
    Kind {
        name: "async_fd_try_io",
        make: || Box::pin(async { tcp(foreign, TRY_IO) }),
    },
    Kind {
        name: "async_fd_poll_readable",
        make: || Box::pin(async { tcp(foreign, POLL_READABLE) }),
    },
];
