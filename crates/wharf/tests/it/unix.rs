//! Unix sockets together with what only Unix's standard library has.

use std::io::ErrorKind;

use wharf::net::{Address, UnixListener, UnixStream};

use crate::on_each_backend;

#[test]
fn unix_stream_knows_both_ends_and_who_the_peer_is() {
    on_each_backend(2, async || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listener = UnixListener::from_handle(listener).unwrap();
        let client = UnixStream::connect(&path).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(listener.local_addr(), &Address::from(path.as_path()));
        assert_eq!(client.peer_addr().unwrap(), Address::from(path.as_path()));
        assert_eq!(server.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(client.local_addr().unwrap(), Address::Unnamed);
        let owner = wharf::fs::metadata(&path).await.unwrap().owner();
        for stream in [&client, &server] {
            let peer = stream.peer_credentials().unwrap();
            assert_eq!((peer.uid, peer.gid), owner);
            assert!(peer.pid.is_none_or(|pid| pid == std::process::id()));
        }
        // Out of the runtime, and into another worker's part of it.
        let handle = client.into_handle().unwrap();
        let there = wharf::spawn_on(1, move || async move {
            let mut client = UnixStream::from_handle(handle).unwrap();
            client.write_all(b"from there").await.unwrap();
            client
        });
        let client = there.await.unwrap();
        let elsewhere = client.peer_addr().unwrap_err();
        assert_eq!(elsewhere.kind(), ErrorKind::Unsupported);
        let mut buf = [0; 10];
        server.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"from there");
    });
}
