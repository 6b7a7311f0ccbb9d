//! The baselines echo every byte: a number for a server that does not is worth nothing.
//!
//! The load verifies each byte itself; these tests choose the shapes that a fast path would get wrong: more
//! messages than buffers, messages larger than buffers and than socket buffers, more in flight than is read.

use std::path::Path;

use wharf_bench::drive::Until;
use wharf_bench::load::{Load, Shape};
use wharf_bench::server::{Running, Spec};

const URING: &str = env!("CARGO_BIN_EXE_bare_uring_echo");
const EPOLL: &str = env!("CARGO_BIN_EXE_bare_epoll_echo");

/// Whether rings can be built here. Where they are forbidden, the run says so.
fn rings_are_allowed() -> bool {
    match wharf_bench::bare::build_ring(8, 16) {
        Ok(_) => true,
        Err(error) => {
            println!("not run: io_uring is not to be had here ({error})");
            false
        }
    }
}

fn echoes(program: &str, arguments: &[&str]) {
    let spec = Spec::new("server under test", Path::new(program), arguments);
    let server = Running::start(&spec, None, None).expect("the server starts");
    let shapes = [
        (
            Shape {
                connections: 48,
                message_bytes: 64,
                in_flight: 1,
            },
            2_000,
        ),
        (
            Shape {
                connections: 16,
                message_bytes: 77,
                in_flight: 20,
            },
            2_000,
        ),
        (
            Shape {
                connections: 4,
                message_bytes: 400_001,
                in_flight: 3,
            },
            16,
        ),
    ];
    for (shape, messages) in shapes {
        let mut load = Load::connect(server.address(), shape).expect("the load connects");
        let report = load
            .run(Until::Messages(messages))
            .expect("every byte comes back");
        assert_eq!(report.messages, messages, "{shape:?}");
    }
}

#[test]
fn epoll_server_echoes_every_byte() {
    echoes(EPOLL, &[]);
}

#[test]
fn uring_server_echoes_every_byte_from_incremental_buffers() {
    if rings_are_allowed() {
        echoes(URING, &[]);
    }
}

#[test]
fn uring_server_echoes_every_byte_from_classic_buffers() {
    if rings_are_allowed() {
        echoes(URING, &["--buffers", "classic"]);
    }
}

#[test]
fn uring_server_echoes_every_byte_on_direct_descriptors() {
    if rings_are_allowed() {
        echoes(URING, &["--direct"]);
    }
}

#[test]
fn uring_server_survives_a_pool_that_runs_empty() {
    if rings_are_allowed() {
        let pool = ["--buffer-count", "4", "--buffer-bytes", "4000"];
        echoes(URING, &[&["--buffers", "classic"], &pool[..]].concat());
        echoes(URING, &[&["--buffers", "incremental"], &pool[..]].concat());
    }
}
