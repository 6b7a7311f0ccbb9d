//! The echo server on the async runtime: a task for each connection, on one worker.
//!
//! What is received is sent as it is, without being copied.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;
use wharf::Runtime;
use wharf::net::{TcpListener, TcpStream};
use wharf_http::Stop;
use wharf_queue::BackendKind;

use super::Totals;
use crate::{complain, serving};

/// How long connections have to send what is on its way when the server ends.
const PATIENCE: Duration = Duration::from_millis(100);

pub(super) fn run(backend: Option<BackendKind>, listen: SocketAddr) -> io::Result<Totals> {
    let mut builder = Runtime::builder().workers(1);
    if let Some(backend) = backend {
        builder = builder.backend(backend);
    }
    let runtime = builder.build()?;
    let stop = Stop::new();
    let asked = stop.clone();
    serving::on_signal(move || asked.ask())?;
    let totals = runtime.block_on(serve(listen, stop))?;
    runtime.shutdown_timeout(PATIENCE);
    Ok(totals.get())
}

async fn serve(listen: SocketAddr, stop: Stop) -> io::Result<Rc<Cell<Totals>>> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(serving::cannot_listen(listen))?;
    serving::announce(&mut io::stdout(), listener.local_addr())?;
    let totals = Rc::new(Cell::new(Totals::default()));
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // It fails only on what is connected no more; the receive will tell.
                    drop(stream.set_nodelay(true));
                    drop(wharf::spawn(echo(stream, totals.clone())));
                }
                Err(error) => complain(format_args!("accept: {error}")),
            }
        }
    };
    or(stop.asked(), accepting).await;
    Ok(totals)
}

/// Serves a connection to its end. If it fails, there is nobody left to tell.
async fn echo(mut stream: TcpStream, totals: Rc<Cell<Totals>>) {
    let mut sum = totals.get();
    sum.connections += 1;
    totals.set(sum);
    while let Ok(Some(piece)) = stream.recv().await {
        let len = piece.len() as u64;
        if stream.send(piece).await.is_err() {
            return;
        }
        let mut sum = totals.get();
        sum.messages += 1;
        sum.bytes += len;
        totals.set(sum);
    }
}
