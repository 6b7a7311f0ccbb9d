//! A TCP echo server: `cargo run --release -p wharf --example echo -- 127.0.0.1:7777`, then
//! `nc 127.0.0.1 7777`.

use wharf::net::TcpListener;

#[wharf::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().skip(1).last();
    let address = address.unwrap_or("127.0.0.1:7777".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr());
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        wharf::spawn(async move {
            while let Some(piece) = stream.recv().await? {
                stream.send(piece).await?;
            }
            std::io::Result::Ok(())
        });
    }
}
