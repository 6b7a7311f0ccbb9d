//! The same echo server three times, side by side: on the queue, in async tasks, and on fibers.
//!
//! `cargo run --release -p wharf-fiber --example echo_three_styles`
//!
//! Each serves three clients that talk at the same time, on one thread, and ends when they have gone. The
//! times are those of clients and server together; what the three styles cost is measured by
//! `echo_compare` in `bench/`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use wharf_fiber as fiber;
use wharf_queue::{OpKind, Prepare, Queue, op};

const CLIENTS: usize = 3;
const MESSAGES: usize = 1000;

/// On the queue: a loop over completions. Buffers go along with the operations, and come back; what
/// comes next for a connection is decided by what has completed.
fn on_the_queue(listener: TcpListener) -> io::Result<()> {
    let queue = Queue::new()?;
    let listener = queue.attach(listener)?;
    let accepting = queue.submit(op::AcceptMulti::new(&listener))?;
    let (mut sockets, mut ended) = (Vec::new(), 0);
    while ended < CLIENTS {
        for completion in queue.wait(None)? {
            let number = completion.user_data();
            match completion.kind() {
                Some(OpKind::AcceptMulti) => {
                    let Ok(outcome) = completion.take_as::<op::AcceptMulti>() else {
                        continue;
                    };
                    let socket = outcome.into_result()?;
                    let receive = op::Recv::new(&socket, Vec::with_capacity(1024));
                    queue.submit(receive.user_data(sockets.len() as u64))?;
                    sockets.push(socket);
                }
                Some(OpKind::Recv) => {
                    let Ok((outcome, buf)) = completion.take_as::<op::Recv<Vec<u8>>>() else {
                        continue;
                    };
                    if outcome.into_result()? == 0 {
                        ended += 1;
                        queue.discard(
                            queue.submit(op::Close::new(sockets[number as usize].clone()))?,
                        );
                    } else {
                        let send = op::Send::new(&sockets[number as usize], buf).all();
                        queue.submit(send.user_data(number))?;
                    }
                }
                Some(OpKind::Send) => {
                    let Ok((outcome, buf)) = completion.take_as::<op::Send<Vec<u8>>>() else {
                        continue;
                    };
                    outcome.into_result()?;
                    let receive = op::Recv::new(&sockets[number as usize], buf);
                    queue.submit(receive.user_data(number))?;
                }
                _ => {}
            }
        }
    }
    queue.discard(accepting);
    Ok(())
}

/// In async tasks: one for each connection, which the compiler turns into a state machine.
fn in_tasks(listener: TcpListener) -> io::Result<()> {
    let runtime = wharf::Runtime::new()?;
    runtime.block_on(async {
        let listener = wharf::net::TcpListener::from_std(listener)?;
        let mut tasks = Vec::new();
        for _ in 0..CLIENTS {
            let (mut stream, _) = listener.accept().await?;
            tasks.push(wharf::spawn(async move {
                let mut buf = [0; 1024];
                loop {
                    match stream.read(&mut buf).await? {
                        0 => return io::Result::Ok(()),
                        count => stream.write_all(&buf[..count]).await?,
                    }
                }
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(())
    })
}

/// On fibers: one for each connection, which waits where it stands, as a thread would.
fn on_fibers(listener: TcpListener) -> io::Result<()> {
    let runtime = wharf::Runtime::new()?;
    fiber::block_on(&runtime, move || {
        let listener = wharf::net::TcpListener::from_std(listener)?;
        let listener = fiber::net::TcpListener::from_wharf(listener);
        let mut fibers = Vec::new();
        for _ in 0..CLIENTS {
            let (mut stream, _) = listener.accept()?;
            fibers.push(fiber::spawn(move || {
                let mut buf = [0; 1024];
                loop {
                    match stream.read(&mut buf)? {
                        0 => return io::Result::Ok(()),
                        count => stream.write_all(&buf[..count])?,
                    }
                }
            }));
        }
        for fiber in fibers {
            fiber.join()??;
        }
        Ok(())
    })
}

/// Sends messages, each when the one before has come back, and gives how many bytes did.
fn talk(address: SocketAddr, client: usize) -> io::Result<usize> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut bytes = 0;
    for number in 0..MESSAGES {
        let message = format!("message {number} of client {client}");
        stream.write_all(message.as_bytes())?;
        let mut answer = vec![0; message.len()];
        stream.read_exact(&mut answer)?;
        if answer != message.as_bytes() {
            return Err(io::Error::other("another answer than the message"));
        }
        bytes += answer.len();
    }
    Ok(bytes)
}

/// Runs a server with its clients, and gives how many bytes have come back.
fn run(style: &str, server: fn(TcpListener) -> io::Result<()>) -> io::Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let begin = Instant::now();
    let server = thread::spawn(move || server(listener));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| thread::spawn(move || talk(address, client)))
        .collect();
    let failed = |_| io::Error::other("a thread has panicked");
    let mut bytes = 0;
    for client in clients {
        bytes += client.join().map_err(failed)??;
    }
    server.join().map_err(failed)??;
    let time = begin.elapsed();
    println!(
        "{style:<5}  {bytes} bytes came back in {:.1} ms, {:.1} us a message",
        time.as_secs_f64() * 1e3,
        time.as_secs_f64() * 1e6 / (CLIENTS * MESSAGES) as f64,
    );
    Ok(bytes)
}

pub(crate) fn main() -> io::Result<()> {
    println!(
        "{CLIENTS} clients send {MESSAGES} messages each, every one when the last has come back:"
    );
    let bytes = [
        run("queue", on_the_queue)?,
        run("async", in_tasks)?,
        run("fiber", on_fibers)?,
    ];
    match bytes[0] == bytes[1] && bytes[1] == bytes[2] {
        true => Ok(()),
        false => Err(io::Error::other("the three do not do the same")),
    }
}
