//! Tests of fibers, by what they are about.

mod blocking;
mod cancel;
mod child;
mod core;
mod each_wait;
mod edges;
mod examples;
mod fs;
mod net;
mod overflow;
mod postgres;
mod scope;
mod udp;
#[cfg(unix)]
mod unix;

use std::time::Duration;

use wharf_fiber as fiber;
use wharf_fiber::net::{TcpListener, TcpStream};
use wharf_queue::BackendKind;

/// Nothing in these tests takes this long, not even on a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every backend that this machine has, or the one that `WHARF_BACKEND` names.
fn backends() -> Vec<BackendKind> {
    let only = std::env::var("WHARF_BACKEND").unwrap_or_default();
    let reports = wharf_queue::probe().into_iter();
    reports
        .filter(|report| report.available)
        .map(|report| report.kind)
        .filter(|kind| only.is_empty() || only == "auto" || only == kind.name())
        .collect()
}

fn runtime(backend: BackendKind) -> wharf::Runtime {
    let builder = wharf::Runtime::builder().backend(backend);
    builder.build().expect("the backend was probed")
}

/// The two sides of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = fiber::spawn(move || listener.accept().unwrap().0);
    let client = TcpStream::connect(address).unwrap();
    (client, server.join().unwrap())
}

/// Runs a test in a fiber, on each backend.
fn on_each_backend(test: fn()) {
    for backend in backends() {
        let runtime = runtime(backend);
        let ended = runtime.block_on(async {
            let fiber = fiber::Builder::new().stack_size(1 << 20).spawn(test);
            wharf::time::timeout(PATIENCE, fiber.expect("there is memory")).await
        });
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => panic!("{backend}: not done in {PATIENCE:?}"),
        }
    }
}
