//! Code that was written for blocking I/O, unchanged, on fibers.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use wharf_fiber as fiber;
use wharf_fiber::net::{TcpListener, TcpStream};

use crate::on_each_backend;

/// Serves one connection with `serve`, in a fiber, and gives the client's side of it.
fn connection<T: 'static>(
    serve: impl FnOnce(TcpStream) -> io::Result<T> + 'static,
) -> (TcpStream, fiber::JoinHandle<io::Result<T>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = fiber::spawn(move || serve(listener.accept()?.0));
    (TcpStream::connect(address).unwrap(), server)
}

#[test]
fn lines_of_a_protocol_are_read_and_answered() {
    on_each_backend(|| {
        let (client, server) = connection(|stream| {
            let mut out = BufWriter::new(&stream);
            let mut count = 0;
            for line in BufReader::new(&stream).lines() {
                let line = line?;
                if line == "QUIT" {
                    break;
                }
                writeln!(out, "{} {}", line.len(), line)?;
                out.flush()?;
                count += 1;
            }
            Ok(count)
        });
        let mut lines = BufReader::new(&client).lines();
        for number in 0..100 {
            writeln!(&client, "{}", "x".repeat(number)).unwrap();
            let answer = lines.next().unwrap().unwrap();
            assert_eq!(answer, format!("{number} {}", "x".repeat(number)));
        }
        writeln!(&client, "QUIT").unwrap();
        assert_eq!(server.join().unwrap().unwrap(), 100);
        assert!(lines.next().is_none());
    });
}

#[test]
fn json_is_parsed_from_a_stream() {
    on_each_backend(|| {
        let (client, server) = connection(|stream| {
            let mut reader = BufReader::new(stream);
            let values = serde_json::Deserializer::from_reader(&mut reader);
            let values: Result<Vec<serde_json::Value>, _> = values.into_iter().collect();
            Ok(values?)
        });
        let deep = (0..100).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
        let sent = [serde_json::json!({"numbers": [1, 2, 3]}), deep];
        for value in &sent {
            serde_json::to_writer(&client, value).unwrap();
            fiber::yield_now();
        }
        drop(client);
        assert_eq!(server.join().unwrap().unwrap(), sent);
    });
}

#[test]
fn tls_runs_over_blocking_streams() {
    const CERTIFICATE: &[u8] = include_bytes!("data/certificate.der");
    const KEY: &[u8] = include_bytes!("data/key.der");
    /// Larger than what a stream takes at once.
    const LEN: usize = 300_000;

    on_each_backend(|| {
        let certificate = CertificateDer::from(CERTIFICATE);
        let key = PrivateKeyDer::try_from(KEY).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let (mut client, server) = connection(move |mut stream| {
            let mut tls = rustls::ServerConnection::new(Arc::new(config)).unwrap();
            let mut tls = rustls::Stream::new(&mut tls, &mut stream);
            let mut request = vec![0; LEN];
            tls.read_exact(&mut request)?;
            request.reverse();
            tls.write_all(&request)?;
            tls.conn.send_close_notify();
            tls.conn.complete_io(tls.sock)?;
            Ok(())
        });
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut tls = rustls::Stream::new(&mut tls, &mut client);
        let request: Vec<u8> = (0..LEN).map(|byte| byte as u8).collect();
        tls.write_all(&request).unwrap();
        let mut answer = Vec::new();
        tls.read_to_end(&mut answer).unwrap();
        answer.reverse();
        assert!(answer == request);
        server.join().unwrap().unwrap();
    });
}

#[test]
fn websocket_runs_over_blocking_streams() {
    on_each_backend(|| {
        let (client, server) = connection(|stream| {
            let mut socket = tungstenite::accept(stream).map_err(io::Error::other)?;
            let mut echoed = 0;
            loop {
                match socket.read() {
                    Ok(message) if message.is_close() => {}
                    Ok(message) => {
                        socket.send(message).map_err(io::Error::other)?;
                        echoed += 1;
                    }
                    Err(tungstenite::Error::ConnectionClosed) => return Ok(echoed),
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        });
        let address = client.peer_addr().unwrap();
        let (mut socket, _) =
            tungstenite::client(format!("ws://{address}/"), client).expect("a handshake");
        for number in 0..10 {
            let text = "wave ".repeat(number * 100);
            socket.send(text.clone().into()).unwrap();
            assert_eq!(socket.read().unwrap().into_text().unwrap().as_str(), text);
        }
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
        assert_eq!(server.join().unwrap().unwrap(), 10);
    });
}
