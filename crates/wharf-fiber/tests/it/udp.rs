//! Datagrams: none is lost by a cancel, a time-out or a look, and each arrives whole.

use std::io::ErrorKind;
use std::time::Duration;

use wharf_fiber as fiber;
use wharf_fiber::net::UdpSocket;

use crate::on_each_backend;

fn pair() -> (UdpSocket, UdpSocket) {
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

#[test]
fn datagrams_go_there_and_back() {
    on_each_backend(|| {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let echo = fiber::spawn(move || {
            let mut buf = [0; 2000];
            for _ in 0..100 {
                let (len, from) = server.recv_from(&mut buf).unwrap();
                assert_eq!(server.send_to(&buf[..len], from).unwrap(), len);
            }
        });
        let client = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        for number in 0..100u8 {
            let sent = vec![number; usize::from(number) * 10];
            assert_eq!(client.send_to(&sent, address).unwrap(), sent.len());
            let mut buf = [0; 2000];
            let (len, from) = client.recv_from(&mut buf).unwrap();
            assert_eq!((&buf[..len], from), (&sent[..], address));
        }
        echo.join().unwrap();
    });
}

#[test]
fn datagram_that_is_looked_at_is_received_afterwards() {
    on_each_backend(|| {
        let (one, other) = pair();
        one.send(b"first").unwrap();
        one.send(b"second").unwrap();
        let mut buf = [0; 16];
        for _ in 0..3 {
            assert_eq!(other.peek(&mut buf[..2]).unwrap(), 2);
            let (len, from) = other.peek_from(&mut buf).unwrap();
            assert_eq!(
                (&buf[..len], from),
                (&b"first"[..], one.local_addr().unwrap())
            );
        }
        assert_eq!(other.recv(&mut buf).unwrap(), 5);
        // What does not fit is gone, and the next is whole.
        assert_eq!(other.recv(&mut buf[..3]).unwrap(), 3);
        assert_eq!(&buf[..3], b"sec");
        one.send(b"third").unwrap();
        assert_eq!(other.recv(&mut buf).unwrap(), 5);
        assert_eq!(&buf[..5], b"third");
    });
}

#[test]
fn receive_that_times_out_or_is_aborted_has_lost_nothing() {
    on_each_backend(|| {
        let (one, other) = pair();
        let waits = Some(Duration::from_millis(20));
        other.set_read_timeout(waits).unwrap();
        assert_eq!(other.read_timeout().unwrap(), waits);
        let refused = other.set_write_timeout(Some(Duration::ZERO)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let mut buf = [0; 16];
        assert_eq!(
            other.recv(&mut buf).unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        other.set_read_timeout(None).unwrap();
        for number in 0..50u8 {
            let clone = other.try_clone().unwrap();
            let receiver = fiber::spawn(move || clone.recv(&mut [0; 16]).map(|_| ()));
            fiber::yield_now();
            receiver.abort();
            one.send(&[number]).unwrap();
            // Either the receiver was given it, or the next one is.
            if receiver.join().unwrap().is_err() {
                assert_eq!(other.recv(&mut buf).unwrap(), 1);
                assert_eq!(buf[0], number);
            }
        }
    });
}
