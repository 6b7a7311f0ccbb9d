//! `idle_memory`: how much memory an idle connection costs its server.
//!
//! This program is also the servers: it starts itself once for each, so that each has a heap of its own.
//! A server echoes, and writes two numbers for each line on its stdin: the bytes that live on its heap,
//! and those of it that are in memory. The difference between two answers, divided by the connections
//! that came in between, is what one of them costs. What is there once for all (a ring, the shared
//! buffers) is in the first answer already, because a first connection has been served by then.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;

use wharf_bench::args::Args;
use wharf_bench::counting::{CountingAllocator, live_bytes};
use wharf_bench::drive::Until;
use wharf_bench::load::{Load, Shape};
use wharf_bench::programs;
use wharf_bench::sys;
use wharf_bench::table::Table;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const USAGE: &str = "\
Measures the memory that an idle connection costs its server.

Usage: idle_memory [--connections N] [--only NAME,..]

Servers, each with one thread and one task a connection, that waits for the next bytes:
  wharf-io_uring, wharf-epoll   TcpStream::recv, which gives the runtime's buffer
  wharf-borrowed                TcpStream::read into 64 bytes of the task, on io_uring
  tokio                         readable() and try_read into 64 bytes of the stack
  tokio-borrowed                AsyncReadExt::read into 64 bytes of the task

  --connections N   default 10000; needs so many descriptors here and in the server
  --only NAME,..    only these";

/// The servers, and the backend that is forced on those of wharf.
const SERVERS: &[(&str, Option<&str>)] = &[
    ("wharf-io_uring", Some("io_uring")),
    ("wharf-epoll", Some("epoll")),
    ("wharf-borrowed", Some("io_uring")),
    ("tokio", None),
    ("tokio-borrowed", None),
];

/// What is wanted of wharf's servers: bytes of the heap for a connection.
const AIM: f64 = 1024.0;

const MESSAGE_BYTES: usize = 64;

fn main() -> ExitCode {
    let mut args = Args::from_env(USAGE);
    let serve = args.values::<String>("--serve").pop();
    let connections: usize = args.value("--connections", 10_000);
    let all = SERVERS.iter().map(|&(name, _)| name.to_owned()).collect();
    let only: Vec<String> = args.list("--only", all);
    if let Some(name) = only.iter().find(|name| backend_of(name).is_none()) {
        args.refuse(&format!("--only {name}: there is no such server"));
    }
    if connections == 0 {
        args.refuse("--connections is not 0");
    }
    args.finish();
    let ran = match serve {
        Some(name) => servers::serve(&name),
        None => compare(&only, connections),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle_memory: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The backend that a server needs, if it needs one; `None` if there is no such server.
fn backend_of(name: &str) -> Option<Option<&'static str>> {
    let found = SERVERS.iter().find(|(known, _)| *known == name)?;
    Some(found.1)
}

fn compare(names: &[String], connections: usize) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    let mut table = Table::new(
        1,
        &[
            "server",
            "heap, just accepted",
            "heap, after a message",
            "resident, just accepted",
            "resident, after a message",
        ],
    );
    let mut verdicts = Vec::new();
    for name in names {
        let found = match measure(name, connections) {
            Ok(found) => found,
            Err(error) => {
                verdicts.push(format!("{name} was not measured: {error}"));
                continue;
            }
        };
        let numbers = found.iter().map(|bytes| format!("{bytes:.0}"));
        table.row([name.clone()].into_iter().chain(numbers).collect());
        if name.starts_with("wharf") {
            let met = match found[1] <= AIM {
                true => "is met",
                false => "is NOT met",
            };
            verdicts.push(format!("{name}: at most {AIM} bytes of the heap {met}"));
        }
    }
    if programs::is_unoptimised() {
        println!("BUILT WITHOUT OPTIMISATION: the size of a future may be another");
    }
    println!("bytes for each of {connections} idle connections\n\n{table}");
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
    Ok(())
}

/// The bytes for each connection: on the heap just accepted and after a message, and resident likewise.
fn measure(name: &str, connections: usize) -> io::Result<[f64; 4]> {
    let mut server = Server::start(name)?;
    let shape = |connections| Shape {
        connections,
        message_bytes: MESSAGE_BYTES,
        in_flight: 1,
    };
    let mut first = Load::connect(server.address, shape(1))?;
    first.run(Until::Messages(1))?;
    let before = server.ask()?;
    let mut others = Load::connect(server.address, shape(connections))?;
    // An answer to the last one shows that the others are accepted; connections are taken in order.
    let mut last = Load::connect(server.address, shape(1))?;
    last.run(Until::Messages(1))?;
    let accepted = server.ask()?;
    others.run(Until::Messages(connections as u64))?;
    let served = server.ask()?;
    let each = |now: u64, before: u64| (now as f64 - before as f64) / (connections + 1) as f64;
    Ok([
        each(accepted.heap, before.heap),
        each(served.heap, before.heap),
        each(accepted.resident, before.resident),
        each(served.resident, before.resident),
    ])
}

struct Memory {
    heap: u64,
    resident: u64,
}

/// This program as a server; dropping it ends it.
struct Server {
    child: Child,
    asks: ChildStdin,
    lines: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    fn start(name: &str) -> io::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", name]);
        if let Some(backend) = backend_of(name).flatten() {
            command.env("WHARF_BACKEND", backend);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        sys::end_with_parent(&mut command);
        let mut child = command.spawn()?;
        let asks = child.stdin.take().expect("stdin is a pipe");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut server = Server {
            child,
            asks,
            lines,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        server.address = parse(server.line()?.strip_prefix("listening on "))?;
        Ok(server)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line)? {
            0 => Err(io::Error::other("the server does not run here")),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn ask(&mut self) -> io::Result<Memory> {
        self.asks.write_all(b"\n")?;
        let line = self.line()?;
        let (heap, resident) = line.split_once(' ').unwrap_or_default();
        Ok(Memory {
            heap: parse(Some(heap))?,
            resident: parse(Some(resident))?,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; what matters is that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse<T: std::str::FromStr>(text: Option<&str>) -> io::Result<T> {
    let parsed = text.and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The other side: what is measured.
mod servers {
    use super::*;

    const LISTEN: &str = "127.0.0.1:0";

    pub(super) fn serve(name: &str) -> io::Result<()> {
        sys::raise_descriptor_limit()?;
        match name {
            "wharf-io_uring" | "wharf-epoll" => wharf::Runtime::new()?.block_on(wharf_pooled()),
            "wharf-borrowed" => wharf::Runtime::new()?.block_on(wharf_borrowed()),
            "tokio" => tokio_runtime()?.block_on(tokio_ready()),
            "tokio-borrowed" => tokio_runtime()?.block_on(tokio_borrowed()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Says where it listens, and answers on a thread of its own from then on.
    fn announce(address: SocketAddr) -> io::Result<()> {
        println!("listening on {address}");
        thread::Builder::new().spawn(|| -> io::Result<()> {
            let process = std::process::id();
            for line in io::stdin().lines() {
                line?;
                println!("{} {}", live_bytes(), sys::resident_bytes(process)?);
            }
            Ok(())
        })?;
        Ok(())
    }

    async fn wharf_pooled() -> io::Result<()> {
        let listener = wharf::net::TcpListener::bind(LISTEN).await?;
        announce(listener.local_addr())?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            drop(wharf::spawn(async move {
                while let Ok(Some(piece)) = stream.recv().await {
                    if stream.send(piece).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }

    async fn wharf_borrowed() -> io::Result<()> {
        let listener = wharf::net::TcpListener::bind(LISTEN).await?;
        announce(listener.local_addr())?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            drop(wharf::spawn(async move {
                let mut buf = [0; MESSAGE_BYTES];
                while let Ok(count @ 1..) = stream.read(&mut buf).await {
                    if stream.write_all(&buf[..count]).await.is_err() {
                        return;
                    }
                }
            }));
        }
    }

    fn tokio_runtime() -> io::Result<tokio::runtime::Runtime> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_io().build()
    }

    async fn tokio_ready() -> io::Result<()> {
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::TcpListener::bind(LISTEN).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                while stream.readable().await.is_ok() {
                    let mut buf = [0; MESSAGE_BYTES];
                    match stream.try_read(&mut buf) {
                        Ok(count @ 1..) => stream.write_all(&buf[..count]).await?,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Ok(_) => break,
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            });
        }
    }

    async fn tokio_borrowed() -> io::Result<()> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind(LISTEN).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut buf = [0; MESSAGE_BYTES];
                while let Ok(count @ 1..) = stream.read(&mut buf).await {
                    if stream.write_all(&buf[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
}
