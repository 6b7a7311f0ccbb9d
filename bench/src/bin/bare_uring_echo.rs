//! `bare_uring_echo`: the command around [`wharf_bench::uring_echo`].

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use wharf_bench::args::Args;
use wharf_bench::buffer_ring::{BufferKind, BufferShape};
use wharf_bench::{sys, uring_echo};

const USAGE: &str = "\
A TCP echo server straight on the io-uring crate.

Usage: bare_uring_echo [--listen ADDR] [--buffers incremental|classic]
                       [--buffer-count N] [--buffer-bytes N] [--direct]

  --listen ADDR        default 127.0.0.1:0
  --buffers KIND       incremental (Linux 6.12, the default) or classic
  --buffer-count N     a power of two; default 32 incremental, 1024 classic
  --buffer-bytes N     default 524288 incremental, 4096 classic
  --direct             keep accepted sockets in the ring's own table";

fn main() -> ExitCode {
    let mut args = Args::from_env(USAGE);
    let address: String = args.value("--listen", "127.0.0.1:0".to_owned());
    let name: String = args.value("--buffers", "incremental".to_owned());
    let (kind, count, bytes) = match name.as_str() {
        "incremental" => (BufferKind::Incremental, 32, 512 * 1024),
        "classic" => (BufferKind::Classic, 1024, 4096),
        _ => args.refuse("--buffers is incremental or classic"),
    };
    let count: u16 = args.value("--buffer-count", count);
    let bytes: u32 = args.value("--buffer-bytes", bytes);
    let direct = args.flag("--direct");
    if !count.is_power_of_two() || bytes == 0 {
        args.refuse("--buffer-count is a power of two, and --buffer-bytes is not 0");
    }
    args.finish();
    let options = uring_echo::Options {
        buffers: BufferShape { kind, count, bytes },
        direct,
    };
    match run(&address, &options) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("bare_uring_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str, options: &uring_echo::Options) -> io::Result<std::convert::Infallible> {
    sys::raise_descriptor_limit()?;
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    uring_echo::serve(listener, options)
}
