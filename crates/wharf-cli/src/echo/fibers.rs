//! The echo server on fibers: one for each connection, in the manner of blocking code.
//!
//! It reads and writes as a server with a thread for each connection would.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use wharf::Runtime;
use wharf_fiber as fiber;
use wharf_fiber::net::{TcpListener, TcpStream};
use wharf_http::Stop;
use wharf_queue::BackendKind;

use super::Totals;
use crate::{complain, serving};

/// How long connections have to send what is on its way when the server ends.
const PATIENCE: Duration = Duration::from_millis(100);

/// Bytes that are read at a time. They lie on the fiber's stack, and cost memory once for each
/// connection.
const BUFFER: usize = 8 * 1024;

pub(super) fn run(backend: Option<BackendKind>, listen: SocketAddr) -> io::Result<Totals> {
    let mut builder = Runtime::builder().workers(1);
    if let Some(backend) = backend {
        builder = builder.backend(backend);
    }
    let runtime = builder.build()?;
    let stop = Stop::new();
    let asked = stop.clone();
    serving::on_signal(move || asked.ask())?;
    let totals = fiber::block_on(&runtime, move || serve(listen, &stop))?;
    runtime.shutdown_timeout(PATIENCE);
    Ok(totals.get())
}

fn serve(listen: SocketAddr, stop: &Stop) -> io::Result<Rc<Cell<Totals>>> {
    let listener = TcpListener::bind(listen).map_err(serving::cannot_listen(listen))?;
    serving::announce(&mut io::stdout(), listener.local_addr()?)?;
    let totals = Rc::new(Cell::new(Totals::default()));
    let shared = totals.clone();
    let accepting = fiber::spawn(move || {
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => {
                    // It fails only on what is connected no more; the read will tell.
                    drop(stream.set_nodelay(true));
                    let totals = shared.clone();
                    drop(fiber::spawn(move || echo(stream, &totals)));
                }
                Err(error) => complain(format_args!("accept: {error}")),
            }
        }
    });
    fiber::wait(stop.asked());
    accepting.abort();
    Ok(totals)
}

/// Serves a connection to its end. If it fails, there is nobody left to tell.
fn echo(mut stream: TcpStream, totals: &Cell<Totals>) {
    let mut sum = totals.get();
    sum.connections += 1;
    totals.set(sum);
    let mut buf = [0; BUFFER];
    while let Ok(count @ 1..) = stream.read(&mut buf) {
        if stream.write_all(&buf[..count]).is_err() {
            return;
        }
        let mut sum = totals.get();
        sum.messages += 1;
        sum.bytes += count as u64;
        totals.set(sum);
    }
}
