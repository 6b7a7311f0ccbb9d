//! A server that stops in order: it takes no more connections, lets those that are there finish, and
//! gives up after a deadline.
//!
//! `cargo run -p wharf --example graceful -- 127.0.0.1:7777`, `nc 127.0.0.1 7777`, and then a line,
//! or the end of the input, on this program's standard input stops it.

use std::io;
use std::time::Duration;

use futures_lite::future::or;
use wharf::net::{TcpListener, TcpStream};
use wharf::sync::channel::{Receiver, bounded};

/// How long connections have to finish.
const PATIENCE: Duration = Duration::from_secs(10);

async fn serve(mut stream: TcpStream, stop: Receiver<()>) -> io::Result<()> {
    loop {
        // A read that loses against the stop has lost no byte, so what is there is still answered.
        let piece = or(async { stream.recv().await.map(Some) }, async {
            let _closed = stop.recv().await;
            Ok(None)
        });
        match piece.await? {
            Some(Some(piece)) => stream.send(piece).await?,
            Some(None) => return Ok(()),
            None => return stream.write_all(b"the server stops now, goodbye\n").await,
        }
    }
}

pub(crate) fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or("127.0.0.1:7777".to_owned());
    let runtime = wharf::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!(
            "listening on {}; a line here stops it",
            listener.local_addr()
        );
        // Closing the channel is the signal: every receiver sees it.
        let (running, stop) = bounded::<()>(1);
        let accepting = wharf::spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await?;
                let stop = stop.clone();
                wharf::spawn(async move {
                    if let Err(error) = serve(stream, stop).await {
                        eprintln!("{peer}: {error}");
                    }
                });
            }
            #[allow(unreachable_code, reason = "it names the type of the error")]
            io::Result::Ok(())
        });
        let line = wharf::spawn_blocking(|| io::stdin().read_line(&mut String::new()));
        line.await??;
        accepting.abort();
        drop(running);
        io::Result::Ok(())
    })?;
    match runtime.shutdown_timeout(PATIENCE) {
        true => println!("all connections have finished"),
        false => println!("some connections did not finish in {PATIENCE:?}"),
    }
    Ok(())
}
