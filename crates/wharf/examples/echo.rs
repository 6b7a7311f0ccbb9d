//! A TCP echo server: `cargo run --release -p wharf --example echo -- 127.0.0.1:7777`, then
//! `nc 127.0.0.1 7777`.

use wharf::net::TcpListener;

#[wharf::main]
pub(crate) async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7777".into());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr());
    loop {
        let (mut stream, _) = listener.accept().await?;
        wharf::spawn(async move {
            let (mut read, mut write) = stream.split();
            wharf::io::copy(&mut read, &mut write).await
        });
    }
}
