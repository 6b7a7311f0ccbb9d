//! `echo_load`: the command around [`wharf_bench::load`].

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use wharf_bench::args::Args;
use wharf_bench::drive::{Report, Until};
use wharf_bench::load::{Load, Shape};
use wharf_bench::sys;

const USAGE: &str = "\
Drives an echo server with many connections and verifies every byte.

Usage: echo_load --connect ADDR [--connections N] [--size BYTES] [--in-flight N]
                 [--messages N | --seconds S] [--core N]

  --connect ADDR      the server
  --connections N     default 64
  --size BYTES        of a message; default 64
  --in-flight N       messages in flight on each connection; default 1, ping-pong
  --messages N        stop after this many messages
  --seconds S         stop after this time; default 2
  --core N            bind the load to one core";

fn main() -> ExitCode {
    let mut args = Args::from_env(USAGE);
    let address: Option<SocketAddr> = args.values("--connect").pop();
    let shape = Shape {
        connections: args.value("--connections", 64),
        message_bytes: args.value("--size", 64),
        in_flight: args.value("--in-flight", 1),
    };
    let messages: Option<u64> = args.values("--messages").pop();
    let seconds: u32 = args.value("--seconds", 2);
    let core: Option<usize> = args.values("--core").pop();
    let Some(address) = address else {
        args.refuse("--connect is missing")
    };
    args.finish();
    let until = messages.map_or_else(
        || Until::Elapsed(Duration::from_secs(u64::from(seconds))),
        Until::Messages,
    );
    match run(address, shape, until, core) {
        Ok(report) => {
            println!("{} messages, every byte as sent", report.messages);
            println!("{:.0} messages/s", report.rate());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("echo_load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: SocketAddr, shape: Shape, until: Until, core: Option<usize>) -> io::Result<Report> {
    sys::raise_descriptor_limit()?;
    if let Some(core) = core {
        sys::pin_to_core(core)?;
    }
    Load::connect(address, shape)?.run(until)
}
