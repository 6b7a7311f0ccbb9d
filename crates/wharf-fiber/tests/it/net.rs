//! Streams and listeners: nothing is lost by a cancel, by a time-out or by sharing.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use wharf_conformance::handles::turn;
use wharf_fiber as fiber;
use wharf_fiber::net::{TcpListener, TcpStream};

use crate::{on_each_backend, pair};

#[test]
fn aborted_read_leaves_what_comes_to_the_next_reader() {
    on_each_backend(|| {
        let (mut client, server) = pair();
        let mut received = Vec::new();
        for round in 0..200u32 {
            let clone = server.try_clone().unwrap();
            let reader = fiber::spawn(move || {
                let mut buf = [0; 64];
                (&clone).read(&mut buf).map(|count| buf[..count].to_vec())
            });
            (0..round % 3).for_each(|_| fiber::yield_now());
            client.write_all(&round.to_le_bytes()).unwrap();
            (0..round % 5).for_each(|_| fiber::yield_now());
            reader.abort();
            if let Ok(Ok(bytes)) = reader.join() {
                received.extend(bytes);
            }
        }
        drop(client);
        (&server).read_to_end(&mut received).unwrap();
        let sent: Vec<u8> = (0..200u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(received, sent);
    });
}

#[test]
fn aborted_write_has_sent_what_it_said() {
    on_each_backend(|| {
        let (client, mut server) = pair();
        let written = Rc::new(Cell::new(0));
        let counter = written.clone();
        let writer = fiber::spawn(move || {
            let pattern: Vec<u8> = (0..100_000).map(|byte| byte as u8).collect();
            loop {
                let at = counter.get() % pattern.len();
                // The peer does not read: sooner or later this waits.
                match (&client).write(&pattern[at..]) {
                    Ok(count) => counter.set(counter.get() + count),
                    Err(error) => return error.kind(),
                }
            }
        });
        let mut before = usize::MAX;
        // It has begun, and got no further in a while.
        while before != written.get() || before == 0 {
            before = written.get();
            fiber::sleep(Duration::from_millis(5));
        }
        writer.abort();
        assert_eq!(writer.join().unwrap(), io::ErrorKind::Other);
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written.get());
        let expected = (0..received.len()).map(|at| (at % 100_000) as u8);
        assert!(received.iter().copied().eq(expected));
    });
}

#[test]
fn aborted_accept_leaves_the_connection_to_the_next() {
    on_each_backend(|| {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let mut accepted = 0;
        let mut clients = Vec::new();
        for round in 0..50 {
            let clone = listener.clone();
            let acceptor = fiber::spawn(move || clone.accept());
            (0..round % 3).for_each(|_| fiber::yield_now());
            clients.push(TcpStream::connect(address).unwrap());
            acceptor.abort();
            accepted += usize::from(matches!(acceptor.join(), Ok(Ok(_))));
        }
        while accepted < clients.len() {
            listener.accept().unwrap();
            accepted += 1;
        }
    });
}

#[test]
fn incoming_ends_with_the_fiber() {
    on_each_backend(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = fiber::spawn(move || listener.incoming().filter(Result::is_ok).count());
        for _ in 0..5 {
            let mut client = TcpStream::connect(address).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        }
        server.abort();
        assert_eq!(server.join().unwrap(), 5);
    });
}

#[test]
fn fibers_that_share_a_stream_take_turns() {
    on_each_backend(|| {
        let (client, server) = pair();
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let stream = server.try_clone().unwrap();
                fiber::spawn(move || {
                    let mut sum = 0;
                    let mut byte = [0];
                    while (&stream).read(&mut byte).unwrap() > 0 {
                        sum += u64::from(byte[0]);
                    }
                    sum
                })
            })
            .collect();
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let stream = client.try_clone().unwrap();
                fiber::spawn(move || {
                    for byte in 1..=50 {
                        (&stream).write_all(&[byte]).unwrap();
                        fiber::yield_now();
                    }
                })
            })
            .collect();
        drop(client);
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        let sum: u64 = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        assert_eq!(sum, 4 * 50 * 51 / 2);
    });
}

#[test]
fn read_that_times_out_has_lost_nothing() {
    on_each_backend(|| {
        let (mut client, mut server) = pair();
        server
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let error = server.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(server.set_read_timeout(Some(Duration::ZERO)).is_err());
        server.set_read_timeout(None).unwrap();
        client.write_all(b"late").unwrap();
        let mut buf = [0; 8];
        assert_eq!(server.read(&mut buf).unwrap(), 4);
    });
}

#[test]
fn shutdown_of_the_sending_direction_is_the_end_of_the_stream() {
    on_each_backend(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"all of it").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "all of it");
        server.write_all(b"answer").unwrap();
        drop(server);
        text.clear();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
    });
}

#[test]
fn shutdown_of_the_receiving_direction_ends_who_reads() {
    on_each_backend(|| {
        // A short slice is copied into, a long one is lent.
        for len in [16, 100_000] {
            let (client, mut server) = pair();
            let reader = client.try_clone().unwrap();
            let waits = fiber::spawn(move || {
                let mut buf = vec![0; len];
                let first = (&reader).read(&mut buf);
                (first.unwrap(), (&reader).read(&mut buf).unwrap())
            });
            for _ in 0..10 {
                fiber::yield_now();
            }
            // An own write that waits with a lent slice is not disturbed by it.
            let writer = client.try_clone().unwrap();
            let sent = pattern(4 << 20, 1);
            let expected = sent.clone();
            let writes = fiber::spawn(move || (&writer).write_all(&sent));
            fiber::yield_now();
            client.shutdown(std::net::Shutdown::Read).unwrap();
            assert_eq!(waits.join().unwrap(), (0, 0));
            let mut got = vec![0; expected.len()];
            server.read_exact(&mut got).unwrap();
            assert!(got == expected);
            writes.join().unwrap().unwrap();
            client.shutdown(std::net::Shutdown::Both).unwrap();
            assert_eq!(server.read(&mut [0]).unwrap(), 0);
        }
    });
}

#[test]
fn peek_leaves_what_it_sees() {
    on_each_backend(|| {
        let (mut client, mut server) = pair();
        let late = fiber::spawn(move || {
            fiber::yield_now();
            server.write_all(b"seen twice").unwrap();
            server
        });
        let mut buf = [0; 4];
        assert_eq!(client.peek(&mut buf).unwrap(), 4);
        assert_eq!(client.peek(&mut buf).unwrap(), 4);
        assert_eq!(&buf, b"seen");
        let mut all = [0; 10];
        client.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"seen twice");
        let waits = Some(Duration::from_millis(20));
        client.set_read_timeout(waits).unwrap();
        assert_eq!(client.read_timeout().unwrap(), waits);
        assert_eq!(
            client.peek(&mut buf).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        drop(late.join());
        assert_eq!(client.peek(&mut buf).unwrap(), 0);
    });
}

#[test]
fn connect_with_a_time_out_is_in_time_or_refused() {
    on_each_backend(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let minute = Duration::from_secs(60);
        let (stream, accepted) = (
            TcpStream::connect_timeout(&address, minute),
            listener.accept(),
        );
        assert_eq!(stream.unwrap().local_addr().unwrap(), accepted.unwrap().1);
        let zero = TcpStream::connect_timeout(&address, Duration::ZERO);
        assert_eq!(zero.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn reader_whose_peer_never_rests_lets_others_run() {
    on_each_backend(|| {
        let (client, mut server) = pair();
        let writer = fiber::spawn(move || while (&client).write_all(&[7; 4096]).is_ok() {});
        let has_run = Rc::new(Cell::new(0));
        let counter = has_run.clone();
        let other = fiber::spawn(move || {
            for _ in 0..100 {
                counter.set(counter.get() + 1);
                fiber::yield_now();
            }
        });
        // One byte at a time: a read is almost always ready at once.
        let mut byte = [0];
        let mut reads = 0u32;
        while has_run.get() < 100 {
            server.read_exact(&mut byte).unwrap();
            reads += 1;
            assert!(reads < 1_000_000, "the budget lets no one else run");
        }
        other.join().unwrap();
        drop(server);
        writer.join().unwrap();
    });
}

#[test]
fn destructor_that_writes_while_a_panic_unwinds_sends_its_bytes() {
    on_each_backend(|| {
        let (client, mut server) = pair();
        let failed = fiber::spawn(move || -> () {
            let mut out = io::BufWriter::new(client);
            out.write_all(b"last words").unwrap();
            panic!("with bytes in a buffer")
        });
        assert!(failed.join().unwrap_err().is_panic());
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        // `BufWriter` flushes in its destructor; a panic outside of it does not keep it from that.
        assert_eq!(text, "last words");
    });
}

/// Longer than what is copied.
const LONG: usize = 256 * 1024;

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 7 + seed + at / 251) as u8)
        .collect()
}

#[test]
fn long_slices_are_sent_and_received_whole() {
    on_each_backend(|| {
        let (mut client, mut server) = pair();
        let sent = pattern(5_000_000, 1);
        let expected = sent.clone();
        let writer = fiber::spawn(move || {
            for part in sent.chunks(LONG) {
                client.write_all(part).unwrap();
                client.write_all(b"").unwrap();
            }
        });
        let mut received = vec![0; LONG];
        let mut at = 0;
        loop {
            match server.read(&mut received).unwrap() {
                0 => break,
                count => {
                    assert!(received[..count] == expected[at..at + count], "at {at}");
                    at += count;
                }
            }
        }
        assert_eq!(at, expected.len());
        writer.join().unwrap();
    });
}

#[test]
fn short_and_long_writes_keep_their_order() {
    on_each_backend(|| {
        let (mut client, mut server) = pair();
        let writer = fiber::spawn(move || {
            for round in 0..50 {
                client.write_all(&pattern(10, round)).unwrap();
                client.write_all(&pattern(40_000, round)).unwrap();
            }
        });
        for round in 0..50 {
            let (mut short, mut long) = (vec![0; 10], vec![0; 40_000]);
            server.read_exact(&mut short).unwrap();
            server.read_exact(&mut long).unwrap();
            assert!(short == pattern(10, round) && long == pattern(40_000, round));
        }
        writer.join().unwrap();
    });
}

#[test]
fn aborted_read_of_a_long_slice_leaves_what_comes_to_the_next_reader() {
    on_each_backend(|| {
        let (mut client, server) = pair();
        let mut received = Vec::new();
        for round in 0..300u32 {
            let clone = server.try_clone().unwrap();
            let reader = fiber::spawn(move || {
                let mut buf = vec![0xEE; LONG];
                let read = (&clone).read(&mut buf);
                let snapshot = buf.clone();
                let _pending = fiber::try_wait(wharf::task::yield_now());
                assert!(snapshot == buf, "written to after its read had ended");
                read.map(|count| buf[..count].to_vec())
            });
            (0..round % 3).for_each(|_| fiber::yield_now());
            client.write_all(&round.to_le_bytes()).unwrap();
            (0..round % 7).for_each(|_| fiber::yield_now());
            reader.abort();
            if let Ok(Ok(bytes)) = reader.join() {
                received.extend(bytes);
            }
        }
        drop(client);
        let mut rest = vec![0; LONG];
        while let Ok(count @ 1..) = (&server).read(&mut rest) {
            received.extend(&rest[..count]);
        }
        let sent: Vec<u8> = (0..300u32).flat_map(u32::to_le_bytes).collect();
        assert!(received == sent, "{} of {}", received.len(), sent.len());
    });
}

/// Lets the others begin: they run, and what they have begun is handed to the system. (To look at the
/// peer would have it receive, and make room.)
fn let_begin() {
    fiber::wait(turn());
}

#[test]
fn aborted_write_of_a_long_slice_ends_at_once_and_is_sent_whole() {
    on_each_backend(|| {
        let (client, mut server) = pair();
        let total = 8 << 20;
        let clone = client.try_clone().unwrap();
        let writer = fiber::spawn(move || {
            let long = pattern(total, 3);
            // The peer does not read, so this cannot end by itself.
            (&clone).write(&long)
        });
        let_begin();
        assert!(!writer.is_finished());
        writer.abort();
        assert_eq!(writer.join().unwrap().unwrap(), total);
        (&client).write_all(b"and what follows").unwrap();
        drop(client);
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), total + 16);
        assert!(received[..total] == pattern(total, 3));
        assert_eq!(&received[total..], b"and what follows");
    });
}

#[test]
fn aborted_write_that_waits_for_its_turn_sends_nothing() {
    on_each_backend(|| {
        let (client, mut server) = pair();
        let first = client.try_clone().unwrap();
        let first = fiber::spawn(move || (&first).write(&pattern(8 << 20, 1)));
        let_begin();
        let second = client.try_clone().unwrap();
        let second = fiber::spawn(move || (&second).write(&pattern(LONG, 2)));
        fiber::yield_now();
        second.abort();
        assert!(second.join().unwrap().is_err());
        drop(client);
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert!(received == pattern(8 << 20, 1));
        assert_eq!(first.join().unwrap().unwrap(), 8 << 20);
    });
}

#[test]
fn reader_of_a_long_slice_is_not_disturbed_by_an_aborted_write() {
    on_each_backend(|| {
        let (client, mut server) = pair();
        let reader = client.try_clone().unwrap();
        let reader = fiber::spawn(move || {
            let mut buf = vec![0; LONG];
            let count = (&reader).read(&mut buf)?;
            io::Result::Ok(buf[..count].to_vec())
        });
        let writer = fiber::spawn(move || (&client).write(&pattern(8 << 20, 5)));
        let_begin();
        writer.abort();
        assert_eq!(writer.join().unwrap().unwrap(), 8 << 20);
        server.write_all(b"for the reader").unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), b"for the reader");
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert!(received == pattern(8 << 20, 5));
    });
}

#[test]
fn timed_out_write_of_a_long_slice_is_sent_whole() {
    on_each_backend(|| {
        let (mut client, mut server) = pair();
        client
            .set_write_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        assert_eq!(client.write(&pattern(8 << 20, 7)).unwrap(), 8 << 20);
        client.set_write_timeout(None).unwrap();
        drop(client);
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert!(received == pattern(8 << 20, 7));
    });
}

#[test]
fn runtime_that_ends_takes_lent_slices_from_a_stalled_connection() {
    for backend in crate::backends() {
        let builder = wharf::Runtime::builder().backend(backend);
        let runtime = builder.linger(Duration::from_millis(50)).build().unwrap();
        fiber::block_on(&runtime, || {
            let (client, server) = pair();
            let reader = server.try_clone().unwrap();
            drop(fiber::spawn(move || {
                let mut buf = vec![0; LONG];
                assert!((&reader).read(&mut buf).is_err());
            }));
            drop(fiber::spawn(move || {
                // Nobody reads what goes the other way.
                let _held = client;
                let _cancelled = (&server).write(&pattern(8 << 20, 1));
            }));
            (0..5).for_each(|_| fiber::yield_now());
        });
        drop(runtime);
        assert_eq!(fiber::stats().alive, 0);
    }
}
