//! `bare_epoll_echo`: the command around [`wharf_bench::epoll_echo`].

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use wharf_bench::args::Args;
use wharf_bench::{epoll_echo, sys};

const USAGE: &str = "\
A TCP echo server on epoll, written by hand.

Usage: bare_epoll_echo [--listen ADDR]

  --listen ADDR   default 127.0.0.1:0";

fn main() -> ExitCode {
    let mut args = Args::from_env(USAGE);
    let address: String = args.value("--listen", "127.0.0.1:0".to_owned());
    args.finish();
    match run(&address) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("bare_epoll_echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str) -> io::Result<std::convert::Infallible> {
    sys::raise_descriptor_limit()?;
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    epoll_echo::serve(listener)
}
