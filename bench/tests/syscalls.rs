//! The counter of system calls counts what a server makes while it is attached, and lets it go on.

use std::io::ErrorKind;
use std::path::Path;

use wharf_bench::drive::Until;
use wharf_bench::load::{Load, Shape};
use wharf_bench::server::{Running, Spec};
use wharf_bench::syscalls::{self, SyscallCounter};

#[test]
fn counter_sees_each_receive_and_send() {
    let program = Path::new(env!("CARGO_BIN_EXE_bare_epoll_echo"));
    let spec = Spec::new("epoll", program, &[]);
    let server = Running::start(&spec, None, None).expect("the server starts");
    let shape = Shape {
        connections: 4,
        message_bytes: 64,
        in_flight: 1,
    };
    let mut load = Load::connect(server.address(), shape).expect("the load connects");
    load.run(Until::Messages(100))
        .expect("every byte comes back");

    let counter = match SyscallCounter::attach(server.process()) {
        Ok(counter) => counter,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            println!("not run: ptrace is not allowed here ({error})");
            return;
        }
        Err(error) => panic!("cannot attach: {error}"),
    };
    load.run(Until::Messages(400))
        .expect("every byte comes back");
    let counts = counter.stop().expect("the counts are there");
    let of = |wanted: &str| -> u64 {
        counts
            .iter()
            .filter(|(number, _)| syscalls::name(**number) == wanted)
            .map(|(_, n)| n)
            .sum()
    };
    assert_eq!((of("recv"), of("send")), (400, 400), "{counts:?}");

    load.run(Until::Messages(100))
        .expect("the server goes on without the counter");
}
