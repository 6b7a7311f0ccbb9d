//! Closing: waited for or in the background, within a runtime and after it has returned.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use wharf::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

use crate::host::own_loopback;
use crate::{PATIENCE, backends, on_each_backend, without_children};

#[test]
fn closed_listener_frees_its_port_and_its_connections() {
    without_children(
        "closing::closed_listener_frees_its_port_and_its_connections",
        || {
            on_each_backend(1, async || {
                let listener = TcpListener::bind(own_loopback()).await.unwrap();
                let address = listener.local_addr();
                let mut waiting = TcpStream::connect(address).await.unwrap();
                listener.close().await.unwrap();
                let error = TcpStream::connect(address).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                // The connection that nobody took has ended, in whatever way the system chose.
                assert_eq!(waiting.read(&mut [0; 8]).await.unwrap_or(0), 0);
                drop(TcpListener::bind(address).await.unwrap());
            });
        },
    );
}

#[test]
fn closed_stream_has_sent_everything_and_tells_of_errors() {
    on_each_backend(1, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            peer.read_to_end(&mut received).map(|_| received.len())
        });
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..50 {
            stream.write_all(&[7; 100_000]).await.unwrap();
        }
        stream.close().await.unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 5_000_000);

        let reset = std::net::TcpStream::connect(address).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(reset);
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
        // The peer answers the first of these with a reset.
        while stream.write_all(&[7; 100_000]).await.is_ok() {}
        let error = stream.close().await.unwrap_err();
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
    });
}

#[test]
fn handles_are_closed_from_another_worker() {
    without_children("closing::handles_are_closed_from_another_worker", || {
        on_each_backend(2, async || {
            let listener = TcpListener::bind(own_loopback()).await.unwrap();
            let address = listener.local_addr();
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let socket = UdpSocket::bind(own_loopback()).await.unwrap();
            let bound = socket.local_addr();
            stream.write_all(b"the last").await.unwrap();
            let closed = wharf::spawn_on(1, move || async move {
                stream.close().await?;
                socket.close().await?;
                listener.close().await
            });
            closed.await.unwrap().unwrap();
            let mut received = String::new();
            peer.read_to_string(&mut received).unwrap();
            assert_eq!(received, "the last");
            drop(UdpSocket::bind(bound).await.unwrap());
            drop(TcpListener::bind(address).await.unwrap());
        });
    });
}

#[test]
#[cfg_attr(windows, ignore = "Wine 8 has no Unix sockets")]
fn unix_handles_are_closed_and_come_in_pairs() {
    without_children("closing::unix_handles_are_closed_and_come_in_pairs", || {
        on_each_backend(1, async || {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("socket");
            let listener = UnixListener::bind(&path).unwrap();
            listener.close().await.unwrap();
            let error = UnixStream::connect(&path).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

            let (mut one, mut other) = UnixStream::pair().unwrap();
            one.write_all(b"there").await.unwrap();
            one.close().await.unwrap();
            let mut buf = [0; 8];
            assert_eq!(other.read(&mut buf).await.unwrap(), 5);
            assert_eq!(other.read(&mut buf).await.unwrap(), 0);

            let (one, other) = UnixDatagram::pair().unwrap();
            one.send(b"a message").await.unwrap();
            one.close().await.unwrap();
            assert_eq!(other.recv(&mut [0; 16]).await.unwrap(), 9);

            let named = UnixDatagram::bind(dir.path().join("named")).unwrap();
            let nobody = UnixDatagram::unbound().unwrap();
            let to = dir.path().join("named");
            nobody.send_to(b"from nobody", to).await.unwrap();
            let (len, from) = named.recv_from(&mut buf).await.unwrap();
            assert_eq!((len, from), (8, wharf::net::Address::Unnamed));
        });
    });
}

#[test]
fn stream_dropped_after_block_on_has_returned_is_sent_and_closed() {
    for backend in backends() {
        let builder = wharf::Runtime::builder().backend(backend);
        let runtime = builder.build().expect("the backend was probed");
        let (stream, mut peer) = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let peer = std::net::TcpStream::connect(listener.local_addr()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            // A receive is in flight from here on.
            let early = wharf::time::timeout(Duration::from_millis(1), stream.recv());
            assert!(early.await.is_err());
            stream.write_all(b"the last").await.unwrap();
            (stream, peer)
        });
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(stream);
        let mut received = String::new();
        let ended = peer.read_to_string(&mut received);
        assert_eq!(ended.expect("it was closed"), 8, "{backend}");
        assert_eq!(received, "the last");
        runtime.block_on(wharf::task::yield_now());
    }
}
