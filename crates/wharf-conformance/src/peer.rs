//! The other side: plain sockets of the standard library, and where tests keep their files.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use wharf_queue::{Handle, Queue};

/// A connected pair: attached to the queue, and the peer's.
pub(crate) fn pair(queue: &Queue) -> (Handle, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("listens");
    let (stream, _) = listener.accept().expect("connected");
    (queue.attach(stream).expect("a socket"), peer)
}

/// How many descriptors the process has open.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("proc").count()
}

/// A directory of a test's own, removed with the value.
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wharf-conformance-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // What is left behind is the system's to clean up.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
