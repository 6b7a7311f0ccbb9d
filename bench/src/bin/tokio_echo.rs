//! `tokio_echo`: a TCP echo server on tokio, as its documentation would write it.
//!
//! One thread and one task a connection, for a fair comparison with the other servers here, which have one
//! thread, too. It is built with the feature `peers` only.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wharf_bench::args::Args;
use wharf_bench::sys;

const USAGE: &str = "\
A TCP echo server on tokio's current-thread runtime.

Usage: tokio_echo [--listen ADDR]

  --listen ADDR   default 127.0.0.1:0";

/// As the tutorial has it; large messages take several turns.
const BUFFER_BYTES: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let mut args = Args::from_env(USAGE);
    let address: String = args.value("--listen", "127.0.0.1:0".to_owned());
    args.finish();
    sys::raise_descriptor_limit()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(serve(&address))
}

async fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A connection that fails ends; the others do not care.
            let _ = echo(stream).await;
        });
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..count]).await?;
    }
}
