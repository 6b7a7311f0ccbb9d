//! UDP, Unix sockets, options, and serving on all workers.

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use wharf::net::{
    MulticastV4, MulticastV6, SocketOption, TcpListener, TcpSocket, TcpStream, UdpSocket,
    UnixAddress, UnixDatagram, UnixListener, UnixStream, serve, serve_sharded,
};
use wharf::sync::channel;
use wharf::task::yield_now;

use crate::host::own_loopback;
use crate::on_each_backend;

async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn datagram_longer_than_the_buffer_is_cut_and_whole_when_pooled() {
    on_each_backend(1, async || {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let large = vec![6u8; 60_000];
        for _ in 0..2 {
            client.send_to(&large, server.local_addr()).await.unwrap();
        }
        let mut buf = [0; 100];
        assert_eq!(server.recv(&mut buf).await.unwrap(), 100);
        let datagram = server.recv_datagram().await.unwrap();
        assert!(!datagram.truncated && *datagram.data == large[..]);
        client.send_to(&[], server.local_addr()).await.unwrap();
        assert_eq!(server.recv(&mut buf).await.unwrap(), 0);
    });
}

#[test]
fn error_of_a_datagram_is_told_to_the_next_call_and_the_socket_goes_on() {
    on_each_backend(1, async || {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nobody = UdpSocket::bind(own_loopback()).await.unwrap();
        let address = nobody.local_addr();
        client.send_to(&vec![0; 70_000], address).await.unwrap();
        assert!(client.flush().await.is_err());
        client.flush().await.unwrap();
        client.send_to(b"fits", address).await.unwrap();
        assert_eq!(nobody.recv(&mut [0; 8]).await.unwrap(), 4);
        // Refused, by a socket that is gone.
        drop(nobody);
        client.connect(address).await.unwrap();
        let error = loop {
            if let Err(error) = client.send(b"?").await {
                break error;
            }
            if let Err(error) = client.flush().await {
                break error;
            }
            yield_now().await;
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn datagram_socket_is_used_on_every_worker() {
    on_each_backend(2, async || {
        let server = std::sync::Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = server.local_addr();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let there = server.clone();
        let echoing = wharf::spawn_on(1, move || async move {
            for n in 0..200 {
                let mut buf = [0; 16];
                if n % 5 == 0 {
                    if let Some(received) = poll_once(there.recv_from(&mut buf)).await {
                        let (len, from) = received?;
                        there.send_to(&buf[..len], from).await?;
                        continue;
                    }
                }
                let (len, from) = there.recv_from(&mut buf).await?;
                there.send_to(&buf[..len], from).await?;
            }
            there.flush().await
        });
        for n in 0..200u32 {
            client.send_to(&n.to_le_bytes(), address).await.unwrap();
            let mut buf = [0; 16];
            assert_eq!(client.recv(&mut buf).await.unwrap(), 4);
            assert_eq!(buf[..4], n.to_le_bytes());
        }
        echoing.await.unwrap().unwrap();
    });
}

fn name(test: &str) -> UnixAddress {
    let backend = wharf::runtime::backend();
    let name = format!("wharf-test-{test}-{backend}-{}", std::process::id());
    UnixAddress::abstract_name(name.as_bytes())
}

#[test]
#[cfg_attr(windows, ignore = "Wine 8 has no Unix sockets")]
fn unix_stream_carries_bytes_and_its_halves_are_put_together_again() {
    on_each_backend(1, async || {
        let listener = UnixListener::bind(name("stream")).unwrap();
        let client = UnixStream::connect(name("stream")).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = client.into_split();
        let big = vec![2u8; 500_000];
        let sending = wharf::spawn(async move {
            write.write_all(&big).await.unwrap();
            write
        });
        let mut back = vec![0; 500_000];
        server.read_exact(&mut back).await.unwrap();
        assert!(back.iter().all(|byte| *byte == 2));
        server.write_all(b"enough").await.unwrap();
        let mut buf = [0; 6];
        read.read_exact(&mut buf).await.unwrap();
        let mut client = read.reunite(sending.await.unwrap()).unwrap();
        client.write_all(b"whole").await.unwrap();
        server.read_exact(&mut buf[..5]).await.unwrap();
        let (mut read, write) = client.into_split();
        drop(write);
        assert_eq!(server.read(&mut buf).await.unwrap(), 0);
        server.write_all(b"still").await.unwrap();
        read.read_exact(&mut buf[..5]).await.unwrap();
    });
}

#[test]
#[cfg_attr(windows, ignore = "Wine 8 has no Unix sockets")]
fn unix_datagrams_keep_their_order() {
    on_each_backend(1, async || {
        let server = UnixDatagram::bind(name("datagram")).unwrap();
        let client = UnixDatagram::bind(name("datagram-client")).unwrap();
        client.connect(name("datagram")).await.unwrap();
        let sending = wharf::spawn(async move {
            for n in 0..1000u32 {
                client.send(&n.to_le_bytes()).await.unwrap();
            }
            client.flush().await.unwrap();
        });
        for n in 0..1000u32 {
            let mut buf = [0; 8];
            let (len, from) = server.recv_from(&mut buf).await.unwrap();
            assert_eq!(
                (len, u32::from_le_bytes(buf[..4].try_into().unwrap())),
                (4, n)
            );
            assert_eq!(from, wharf::net::Address::from(name("datagram-client")));
        }
        sending.await.unwrap();
    });
}

#[test]
#[cfg_attr(windows, ignore = "Wine 8 has no Unix sockets")]
fn unix_names_that_nobody_has_are_refused() {
    on_each_backend(1, async || {
        let error = UnixStream::connect(name("nobody")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = UnixStream::connect("/nowhere/at/all").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let long = "x".repeat(200);
        assert!(UnixListener::bind(long).is_err());
    });
}

#[test]
fn socket_can_be_taken_out_only_when_nothing_would_be_lost() {
    on_each_backend(1, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        let client = TcpStream::connect(address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let mut plain = client.into_std().unwrap();
        plain.set_nonblocking(false).unwrap();
        plain.write_all(b"abc").unwrap();
        let mut server = server;
        let mut buf = [0; 2];
        server.read_exact(&mut buf).await.unwrap();
        let error = server.into_std().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn options_are_set_and_a_refused_one_says_so() {
    on_each_backend(1, async || {
        let socket = TcpSocket::new_v4().unwrap();
        let shared = socket.set_option(SocketOption::ReusePort(true));
        // Refused where it cannot be had, not passed over.
        assert_eq!(shared.is_ok(), cfg!(unix), "{shared:?}");
        socket.set_option(SocketOption::KeepAlive(true)).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = socket.listen(5).unwrap();
        assert_eq!(listener.local_addr(), address);
        let client = TcpSocket::new_v4().unwrap();
        let stream = client.connect(address).await.unwrap();
        stream.set_option(SocketOption::Linger(None)).unwrap();
        assert_eq!(listener.accept().await.unwrap().1, stream.local_addr());
    });
}

#[test]
fn datagrams_of_a_group_reach_its_members_only() {
    on_each_backend(1, async || {
        let share = [SocketOption::ReuseAddress(true)];
        let any = "0.0.0.0:0".parse().unwrap();
        let member = UdpSocket::bind_with(any, &share).unwrap();
        let port = member.local_addr().port();
        let address = (Ipv4Addr::UNSPECIFIED, port).into();
        let second = UdpSocket::bind_with(address, &share).unwrap();
        let unshared = UdpSocket::bind_with(address, &[]).unwrap_err();
        assert_eq!(unshared.kind(), ErrorKind::AddrInUse);

        let (group, interface) = (Ipv4Addr::new(239, 255, 7, 9), Ipv4Addr::LOCALHOST);
        let group = MulticastV4 { group, interface };
        member.set_option(SocketOption::JoinV4(group)).unwrap();
        second.set_option(SocketOption::JoinV4(group)).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let options = [
            SocketOption::MulticastInterfaceV4(interface),
            SocketOption::MulticastTtlV4(1),
            SocketOption::MulticastLoopV4(true),
        ];
        for option in options {
            sender.set_option(option).unwrap();
        }
        let to = (group.group, port).into();
        sender.send_to(b"to all", to).await.unwrap();
        let mut buf = [0; 16];
        assert_eq!(member.recv(&mut buf).await.unwrap(), 6);
        assert_eq!(second.recv(&mut buf).await.unwrap(), 6);

        second.set_option(SocketOption::LeaveV4(group)).unwrap();
        let again = second.set_option(SocketOption::LeaveV4(group));
        // The second is Wine's word for it.
        let kinds = [ErrorKind::AddrNotAvailable, ErrorKind::InvalidInput];
        assert!(kinds.contains(&again.unwrap_err().kind()));
        sender.send_to(b"to members", to).await.unwrap();
        assert_eq!(member.recv(&mut buf).await.unwrap(), 10);
    });
}

#[test]
#[cfg_attr(windows, ignore = "Wine 8 takes it")]
fn option_of_another_family_is_refused() {
    on_each_backend(1, async || {
        let socket = TcpSocket::new_v4().unwrap();
        assert!(socket.set_option(SocketOption::OnlyV6(true)).is_err());
    });
}

#[test]
#[cfg_attr(windows, ignore = "Wine 8 does not know the times of keep-alive")]
fn times_of_keep_alive_are_set_in_whole_seconds() {
    on_each_backend(1, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr()).await.unwrap();
        for option in [
            SocketOption::KeepAliveIdle(Duration::from_millis(1500)),
            SocketOption::KeepAliveInterval(Duration::from_secs(5)),
            SocketOption::KeepAliveProbes(3),
        ] {
            stream.set_option(option).unwrap();
        }
        // No time at all is none that the system knows.
        let never = SocketOption::KeepAliveIdle(Duration::ZERO);
        assert!(stream.set_option(never).is_err());
        let stream = stream.into_std().unwrap();
        let stream = socket2::SockRef::from(&stream);
        // The crate asks for these on Unix only.
        #[cfg(unix)]
        {
            assert_eq!(stream.tcp_keepalive_time().unwrap(), Duration::from_secs(2));
            assert_eq!(
                stream.tcp_keepalive_interval().unwrap(),
                Duration::from_secs(5)
            );
            assert_eq!(stream.tcp_keepalive_retries().unwrap(), 3);
        }
        assert!(!stream.keepalive().unwrap(), "it was not asked for");
    });
}

#[test]
fn options_of_connections_and_of_ipv6_are_set() {
    on_each_backend(1, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr()).await.unwrap();
        for option in [
            SocketOption::KeepAlive(true),
            SocketOption::Ttl(17),
            SocketOption::SendBuffer(100_000),
            SocketOption::Linger(Some(Duration::from_secs(1))),
        ] {
            stream.set_option(option).unwrap();
        }
        let stream = stream.into_std().unwrap();
        assert_eq!(stream.ttl().unwrap(), 17);
        let stream = socket2::SockRef::from(&stream);
        assert!(stream.keepalive().unwrap());
        assert_eq!(stream.linger().unwrap(), Some(Duration::from_secs(1)));

        let Ok(socket) = UdpSocket::bind("[::1]:0").await else {
            return; // This machine has no IPv6.
        };
        let group = MulticastV6 {
            group: "ff01::7:9".parse().unwrap(),
            interface: 1,
        };
        for option in [
            SocketOption::HopsV6(9),
            SocketOption::MulticastHopsV6(1),
            SocketOption::MulticastLoopV6(true),
            SocketOption::MulticastInterfaceV6(1),
            SocketOption::JoinV6(group),
            SocketOption::LeaveV6(group),
        ] {
            let set = socket.set_option(option);
            set.unwrap_or_else(|error| panic!("{option:?}: {error}"));
        }
    });
}

/// Connects so many times and returns the numbers of the workers that answered.
fn ask(address: std::net::SocketAddr, times: usize) -> Vec<u8> {
    let mut streams = Vec::new();
    let mut workers = Vec::new();
    for _ in 0..times {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let mut number = [0; 1];
        stream.read_exact(&mut number).unwrap();
        workers.push(number[0]);
        streams.push(stream);
    }
    workers
}

async fn answer(mut stream: TcpStream) {
    let number = wharf::runtime::worker() as u8;
    if stream.write_all(&[number]).await.is_ok() {
        // Held until the client goes.
        let _end = stream.recv().await;
    }
}

#[test]
fn connections_are_handed_to_the_worker_that_has_fewest() {
    on_each_backend(3, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        let server = wharf::spawn(serve(listener, answer));
        let asked = wharf::spawn_blocking(move || ask(address, 30));
        let workers = asked.await.unwrap();
        for worker in 0..3 {
            let share = workers.iter().filter(|number| **number == worker).count();
            assert!(
                (9..=11).contains(&share),
                "worker {worker} had {share} of 30"
            );
        }
        server.abort();
    });
}

#[test]
fn listener_is_served_from_another_worker_than_its_own() {
    on_each_backend(3, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr();
        let server = wharf::spawn_on(1, move || serve(listener, answer));
        let workers = wharf::spawn_blocking(move || ask(address, 12));
        let workers = workers.await.unwrap();
        for worker in 0..3 {
            assert!(workers.contains(&worker), "{workers:?}");
        }
        server.abort();
    });
}

#[test]
fn connection_moves_to_another_worker_with_what_its_peer_has_sent() {
    on_each_backend(3, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr()).await.unwrap();
        client.write_all(b"from here").await.unwrap();
        client.flush().await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let local = stream.local_addr();
        let (tell, told) = channel::bounded(1);
        // By way of a worker where it does not live.
        let moved = wharf::spawn_on(2, move || async move {
            stream.move_to(1, move |mut stream: TcpStream| async move {
                let mut buf = [0; 9];
                stream.read_exact(&mut buf).await.unwrap();
                let ends = (stream.local_addr(), stream.peer_addr());
                tell.send((stream.worker(), buf, ends)).await.unwrap();
            })
        });
        moved.await.unwrap().unwrap();
        let (worker, buf, ends) = told.recv().await.unwrap();
        assert_eq!((worker, &buf), (1, b"from here"));
        assert_eq!(ends, (local, peer));
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    });
}

#[test]
fn connection_that_has_been_read_from_does_not_move() {
    on_each_backend(2, async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        client.write_all(b"abc").await.unwrap();
        stream.read_exact(&mut [0; 2]).await.unwrap();
        let unreachable = |_| async { panic!("it has moved") };
        let error = stream.move_to(1, unreachable).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        // It is closed, and its peer is not left waiting.
        let end = client.read(&mut [0; 1]).await;
        assert!(matches!(&end, Ok(0) | Err(_)), "{end:?}");
    });
}

#[test]
#[cfg_attr(windows, ignore = "listeners do not share a port here")]
fn sharded_listeners_share_a_port() {
    on_each_backend(2, async || {
        let serving = serve_sharded("127.0.0.1:0".parse().unwrap(), answer);
        let serving = serving.await.unwrap();
        let address = serving.local_addr();
        let asked = wharf::spawn_blocking(move || ask(address, 64));
        let workers = asked.await.unwrap();
        assert!(workers.contains(&0) && workers.contains(&1), "{workers:?}");
        let taken = serve_sharded(address, answer).await;
        // The port is shared by those who say so: a second set of shards is as good.
        drop(taken);
        let plain = TcpListener::bind(address).await;
        assert_eq!(plain.unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(serving);
    });
}
