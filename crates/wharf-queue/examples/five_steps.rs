//! The five steps of a completion queue: one connection, one receive.
//!
//! `cargo run -p wharf-queue --example five_steps`

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};

use wharf_queue::{Queue, op};

pub(crate) fn main() -> io::Result<()> {
    // Somebody who has something to say.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let peer = std::thread::spawn(move || TcpStream::connect(address)?.write_all(b"hello, wharf"));
    let (stream, _) = listener.accept()?;

    // 1. Create an event queue.
    let queue = Queue::new()?;

    // 2. Have a handle to a socket, and a buffer.
    let socket = queue.attach(stream)?;
    let buf = Vec::with_capacity(4096);

    // 3. Register interest in a receive, passing the buffer in. It is the queue's from here on.
    let token = queue.submit(op::Recv::new(&socket, buf))?;

    // 4. Block until something has completed.
    for completion in queue.wait(None)? {
        // 5. The thread is unblocked, and the buffer is already filled.
        if let Ok((outcome, buf)) = completion.take(token) {
            let received = outcome.into_result()?;
            println!(
                "{received} bytes on {}: {}",
                queue.backend(),
                String::from_utf8_lossy(&buf)
            );
        }
    }
    peer.join().expect("the peer does not panic")
}
