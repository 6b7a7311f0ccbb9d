//! A TCP proxy on all workers: every connection goes to one target, both ways at once. Where the system
//! can do it, the bytes are moved inside the kernel; for small messages, `copy_bidirectional` makes fewer calls.
//!
//! `cargo run --release -p wharf --example proxy -- 127.0.0.1:8080 example.org:80`

use std::io;

use wharf::io::splice_bidirectional;
use wharf::net::{TcpListener, TcpStream, serve};

async fn forward(mut client: TcpStream, target: &str) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let (up, down) = splice_bidirectional(&mut client, &mut server).await?;
    println!("{}: {up} bytes up, {down} down", client.peer_addr());
    Ok(())
}

#[wharf::main(workers = 0)]
pub(crate) async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(target)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: proxy LISTEN TARGET, such as 127.0.0.1:8080 example.org:80");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {}", listener.local_addr());
    serve(listener, move |client| {
        let target = target.clone();
        async move {
            let peer = client.peer_addr();
            if let Err(error) = forward(client, &target).await {
                eprintln!("{peer}: {error}");
            }
        }
    })
    .await
}
