//! A `Queue` inside a foreign loop: a plain epoll loop that has descriptors of its own.
//!
//! The queue shows one descriptor that becomes readable when `wait` has something to return, and
//! `wait` with a time-out of zero does not block. So a loop that is not wharf's, a window system's
//! or a game's, can have completions without a second thread.
//!
//! `cargo run -p wharf-queue --example embedding`

#[cfg(target_os = "linux")]
pub(crate) use on_epoll::main;

#[cfg(not(target_os = "linux"))]
pub(crate) fn main() -> std::io::Result<()> {
    println!("the loop of this example is one on epoll, which this system does not have");
    Ok(())
}

#[cfg(target_os = "linux")]
mod on_epoll {
    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use wharf_queue::{OpKind, Queue, op};

    /// What the loop knows its descriptors by.
    const QUEUE: u64 = 1;
    const FOREIGN: u64 = 2;

    pub(crate) fn main() -> io::Result<()> {
        // The foreign loop, with a descriptor of its own: somebody sends three words on a socket pair.
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let (mut foreign, mut far_end) = UnixStream::pair()?;
        foreign.set_nonblocking(true)?;
        epoll::add(
            &epoll,
            &foreign,
            EventData::new_u64(FOREIGN),
            EventFlags::IN,
        )?;

        // The queue, with a receive, a timer and a completion that another thread will post.
        let queue = Queue::new()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut peer = TcpStream::connect(listener.local_addr()?)?;
        let socket = queue.attach(listener.accept()?.0)?;
        queue.submit(op::Recv::new(&socket, Vec::with_capacity(64)))?;
        queue.submit(op::Timer::after(Duration::from_millis(30)))?;
        let notifier = queue.notifier();
        let outside = std::thread::spawn(move || {
            far_end.write_all(b"foreign bytes")?;
            peer.write_all(b"bytes for the queue")?;
            notifier.post(0, 42);
            Ok::<_, io::Error>(())
        });

        // The queue's descriptor stays the same, so that it is added once. Level-triggered, as here, is
        // the simple way: it stays readable until `wait` has taken what there is.
        epoll::add(
            &epoll,
            queue.arm()?,
            EventData::new_u64(QUEUE),
            EventFlags::IN,
        )?;

        let mut events = Vec::with_capacity(16);
        let mut left = ["receive", "timer", "post", "foreign end"].len();
        while left > 0 {
            // Before every sleep: hands over what was submitted and sets the alarm for the next timer.
            queue.arm()?;
            rustix::io::retry_on_intr(|| {
                epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)
            })?;
            for event in events.drain(..) {
                match event.data.u64() {
                    QUEUE => left -= take_completions(&queue)?,
                    _ if read_foreign(&mut foreign)? => {
                        epoll::delete(&epoll, &foreign)?;
                        left -= 1;
                    }
                    _ => {}
                }
            }
        }
        println!("all four have come, on {}", queue.backend());
        outside.join().expect("the thread does not panic")
    }

    /// Takes what has completed, without blocking. Returns how many completions there were.
    fn take_completions(queue: &Queue) -> io::Result<usize> {
        let mut count = 0;
        for completion in queue.wait(Duration::ZERO)? {
            count += 1;
            if let Some(value) = completion.posted() {
                println!("queue: another thread posted {value}");
            } else if completion.kind() == Some(OpKind::Timer) {
                println!("queue: the timer is due");
            } else if let Ok((outcome, buf)) = completion.take_as::<op::Recv<Vec<u8>>>() {
                let len = outcome.into_result()?;
                println!("queue: {len} bytes: {}", String::from_utf8_lossy(&buf));
            }
        }
        Ok(count)
    }

    /// Reads the foreign descriptor in the foreign loop's way. Returns whether it is at its end.
    fn read_foreign(foreign: &mut UnixStream) -> io::Result<bool> {
        let mut buf = [0; 64];
        loop {
            match foreign.read(&mut buf) {
                Ok(0) => return Ok(true),
                Ok(len) => println!(
                    "loop: {len} bytes: {}",
                    String::from_utf8_lossy(&buf[..len])
                ),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}
