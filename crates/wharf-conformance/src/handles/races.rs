//! Races that are run many times, and what is counted before and after them.
//!
//! Owns R1 and R2 with 3,000 races each, and the census of descriptors where opens, accepts and
//! connects are given up, or everything at once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener as PlainListener, TcpStream as Plain};
use std::time::Duration;

use wharf::fs::File;
use wharf::net::{TcpListener, TcpStream, UdpSocket};
use wharf::time::timeout;

use super::kinds::stream::plain_pair;
use super::{Case, PATIENCE, is_quiet, join, list_cases, poll_times, turn};
use crate::peer::{Clients, Dir, census, census_is, descriptors, own_loopback};

/// As the contract asks for.
const RACES: u32 = 3000;

/// So many are sent without regard to the reader, who has dropped a read before.
const BURST: u32 = 20;

list_cases! {
    "R1" dropped_reads_lose_nothing,
    "R1" timed_out_reads_lose_nothing,
    "R2" [alone] dropped_accepts_lose_no_connection,
    "R3" [alone] dropped_opens_leave_no_descriptor,
    "R5" [alone] dropped_connects_leave_nothing_open,
    "R6" datagram_is_kept_whole_by_a_dropped_receive,
    "R7" what_has_completed_wins_over_its_deadline,
    "R8" [alone] listener_is_closed_at_once_and_its_port_bound_again,
    "C6" [alone] runtime_that_ends_leaves_no_descriptor,
}

fn wrapped(plain: Plain) -> TcpStream {
    TcpStream::from_std(plain).expect("a socket")
}

async fn dropped_reads_lose_nothing() {
    let (plain, mut peer) = plain_pair();
    let mut stream = wrapped(plain);
    let (permit, permits) = std::sync::mpsc::channel();
    let writing = std::thread::spawn(move || {
        for number in 0..RACES {
            if number % BURST == 0 {
                permits.recv().expect("the reader goes on");
            }
            // Each is a send of its own, which meets reads at any stage.
            peer.write_all(&number.to_le_bytes()).expect("connected");
        }
    });
    let mut got = Vec::new();
    let mut permitted = 0;
    loop {
        let mut buf = [0; 64];
        if got.len() == permitted && permitted < RACES as usize * 4 {
            let early = poll_times(1 + permitted % 3, stream.read(&mut buf)).await;
            assert!(early.is_none(), "nothing was sent yet");
            permitted += BURST as usize * 4;
            permit.send(()).expect("the writer waits");
        }
        match poll_times(1 + got.len() % 3, stream.read(&mut buf)).await {
            Some(Ok(0)) => break,
            Some(count) => got.extend_from_slice(&buf[..count.expect("connected")]),
            None => {}
        }
    }
    join(writing).await;
    let numbers = got
        .chunks(4)
        .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("whole")));
    assert!(numbers.eq(0..RACES));
}

async fn timed_out_reads_lose_nothing() {
    let (plain, mut peer) = plain_pair();
    let mut stream = wrapped(plain);
    let mut late = 0;
    for number in 0..RACES {
        let mut buf = [0; 4];
        let early = poll_times(1, stream.read(&mut buf)).await;
        assert!(early.is_none(), "nothing was sent yet");
        peer.write_all(&number.to_le_bytes()).expect("connected");
        let patience = Duration::from_micros(u64::from(number) % 20);
        match timeout(patience, stream.read(&mut buf)).await {
            Ok(count) => assert_eq!(count.expect("connected"), 4),
            Err(_) => {
                late += 1;
                stream.read_exact(&mut buf).await.expect("connected");
            }
        }
        assert_eq!(buf, number.to_le_bytes());
    }
    assert!(late > 0, "no read was ever timed out");
}

async fn dropped_accepts_lose_no_connection() {
    // What the runtime keeps open for a listener is there before the first is counted.
    drop(TcpListener::bind("127.0.0.1:0").await.expect("loopback"));
    is_quiet(0).await;
    let before = descriptors();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr();
    let connecting = std::thread::spawn(move || {
        let mut clients = Clients::new(address, |mut client| {
            client.read_exact(&mut [0]).expect("answered");
        });
        (0..RACES).for_each(|number| clients.come(number));
        clients.leave();
    });
    let mut drops = 0;
    for number in 0..RACES {
        let mut stream = loop {
            match poll_times(1 + drops % 3, listener.accept()).await {
                Some(accepted) => break accepted.expect("listens").0,
                None => drops += 1,
            }
        };
        let mut buf = [0; 4];
        stream.read_exact(&mut buf).await.expect("connected");
        assert_eq!(u32::from_le_bytes(buf), number);
        stream.write_all(b"!").await.expect("connected");
    }
    assert!(drops > 0, "no accept was ever dropped");
    join(connecting).await;
    drop(listener);
    is_quiet(0).await;
    census_is(before);
}

async fn dropped_opens_leave_no_descriptor() {
    let dir = Dir::new();
    let path = dir.0.join("file");
    std::fs::write(&path, "some").expect("written");
    // A thread of the pool may keep something open for good.
    drop(File::open(&path).await.expect("there"));
    is_quiet(0).await;
    let before = descriptors();
    let mut drops = 0;
    for round in 0..RACES as usize / 3 {
        match poll_times(1 + round % 2, File::open(&path)).await {
            Some(opened) => drop(opened.expect("there")),
            None => drops += 1,
        }
        // Polled once and answered, or not: it is dropped while it is on its way.
        drop(poll_times(round % 2, File::create(&path)).await);
    }
    is_quiet(0).await;
    census_is(before);
    println!("{drops} opens were dropped on their way");
}

/// Every connection that was given up ends at the peer.
async fn dropped_connects_leave_nothing_open() {
    let listener = PlainListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    drop(TcpStream::connect(address).await.expect("listens"));
    drop(listener.accept().expect("connected"));
    is_quiet(0).await;
    let before = descriptors();
    let mut accepted = Vec::new();
    for round in 0..300 {
        drop(poll_times(round % 3, TcpStream::connect(address)).await);
        accept_all(&listener, address, &mut accepted);
    }
    is_quiet(0).await;
    accept_all(&listener, address, &mut accepted);
    for mut stream in accepted.drain(..) {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        match stream.read(&mut [0; 1]) {
            Ok(count) => assert_eq!(count, 0, "nothing was sent"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
    census_is(before);
}

/// Accepts what is there, up to a connection of its own.
fn accept_all(listener: &PlainListener, address: SocketAddr, accepted: &mut Vec<Plain>) {
    let own = Plain::connect(address).expect("listens");
    loop {
        let (stream, peer) = listener.accept().expect("there is one more");
        if own.local_addr().ok() == Some(peer) {
            return;
        }
        accepted.push(stream);
    }
}

async fn datagram_is_kept_whole_by_a_dropped_receive() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
    for round in 0..100 {
        let bytes = vec![round as u8; 1000 + round];
        let mut small = [0; 10];
        let early = poll_times(round % 3, socket.recv(&mut small)).await;
        assert!(early.is_none(), "nothing was sent yet");
        peer.send_to(&bytes, socket.local_addr()).expect("sent");
        for _ in 0..round % 4 {
            turn().await;
        }
        // One that would have cut it is dropped before it is polled.
        drop(socket.recv(&mut small));
        let datagram = socket.recv_datagram().await.expect("open");
        assert!(!datagram.truncated && *datagram.data == bytes[..]);
        peer.send_to(&bytes, socket.local_addr()).expect("sent");
        assert_eq!(socket.recv(&mut small).await.expect("open"), 10);
        assert_eq!(small, [round as u8; 10], "the rest of it is gone");
    }
}

/// The worker is kept from looking until both have happened, and then finds them in one batch.
async fn what_has_completed_wins_over_its_deadline() {
    const TIME: Duration = Duration::from_millis(20);
    let (plain, mut peer) = plain_pair();
    let mut stream = wrapped(plain);
    // The first read makes the worker's buffers, which takes its time.
    assert!(poll_times(1, stream.read(&mut [0; 1])).await.is_none());
    let mut rounds = 0;
    for round in 0..40u8 {
        let begin = std::time::Instant::now();
        let task = wharf::spawn(async move {
            let read = async {
                let mut buf = [0; 8];
                stream.read(&mut buf).await.expect("connected")
            };
            let read = timeout(TIME, read).await;
            (read, stream)
        });
        turn().await;
        let is_waiting = begin.elapsed() < TIME;
        peer.write_all(&[round]).expect("connected");
        while begin.elapsed() < TIME * 2 {
            std::thread::yield_now();
        }
        let read;
        (read, stream) = task.await.expect("no panic");
        match read {
            Ok(count) => assert_eq!(count, 1),
            // The machine was so busy that the time was up before anything came.
            Err(_) if !is_waiting => stream.read_exact(&mut [0; 1]).await.expect("connected"),
            Err(_) => panic!("the deadline has won"),
        }
        rounds += usize::from(is_waiting);
    }
    assert!(rounds > 0, "the time was always up before anything came");
}

async fn listener_is_closed_at_once_and_its_port_bound_again() {
    let mut listener = TcpListener::bind(own_loopback()).await.expect("loopback");
    let address = listener.local_addr();
    listener.close().await.expect("closed");
    let before = descriptors();
    for round in 0..50 {
        listener = TcpListener::bind(address)
            .await
            .expect("nobody has the port");
        // An accept is in flight, and somebody may be connected that nobody accepts.
        assert!(poll_times(1 + round % 2, listener.accept()).await.is_none());
        let client = (round % 3 == 0).then(|| Plain::connect(address).expect("listens"));
        if round % 2 == 0 {
            turn().await;
        }
        listener.close().await.expect("closed");
        if let Some(mut client) = client {
            // It is told, and closes first no more than the listener does.
            drop(client.read(&mut [0; 1]));
        }
    }
    is_quiet(0).await;
    census_is(before);
}

/// Everything that waits, waits in a task, some of it on another worker.
async fn runtime_that_ends_leaves_no_descriptor() {
    let backend = wharf::runtime::backend();
    let run = move || {
        let builder = wharf::Runtime::builder().backend(backend).workers(2);
        let builder = builder.linger(Duration::from_millis(1));
        let runtime = builder.build().expect("the backend was probed");
        runtime.block_on(async {
            for (number, kind) in super::kinds::all().into_iter().enumerate() {
                let mut scene = (kind.make)().await;
                drop(wharf::spawn_on(number % 2, move || async move {
                    while scene.wait().await.is_ok() {
                        // What never has to wait would take all the time there is.
                        wharf::task::yield_now().await;
                    }
                }));
            }
            for _ in 0..5 {
                turn().await;
            }
        });
        drop(runtime);
    };
    // The first may leave what the process keeps for good, and a thread that waits for children has
    // a queue of its own as long as there are any: so that is counted often enough to tell it from
    // a descriptor that each leaves.
    let mut fewest = usize::MAX;
    for _ in 0..8 {
        std::thread::spawn(run).join().expect("no panic");
        census(|now| now <= fewest);
        fewest = fewest.min(descriptors());
    }
}
