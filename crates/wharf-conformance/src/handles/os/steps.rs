//! Splices that meet a fault at every one of their steps: a drop, an end, a reset, a closed handle.
//!
//! Nothing here runs on a thread of its own. A step lets the peers write and read a little, polls the
//! splice and gives the worker a turn, so that a fault after the k-th step finds it where the k-th
//! step leaves it. It is tried for each k, until the splice is done before its fault.
//!
//! The streams are Unix sockets: there, what one end does is seen by the other at once, and little
//! buffers need no timers to go on.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Plain;
use std::pin::Pin;
use std::task::Poll;

use socket2::SockRef;
use wharf::io::{splice, splice_bidirectional};
use wharf::net::UnixStream;

use crate::handles::copying::check;
use crate::handles::kinds::bytes_at;
use crate::handles::proxies::KEPT;
use crate::handles::{Case, in_flight, is_quiet, join, list_cases, turn};
use crate::peer::{census, census_is, descriptors};

/// How many bytes go each way. It is more than the little buffers below hold.
const LEN: u64 = 300_000;

/// What the system keeps between two ends.
const BUFFER: usize = 16 * 1024;

/// What a peer writes and reads in one step at most.
const PORTION: usize = 24_000;

/// No splice of so little takes so many steps.
const MOST_STEPS: usize = 400;

list_cases! {
    "C4" splice_dropped_at_any_step_goes_on_as_a_splice,
    "C4" splice_dropped_at_any_step_goes_on_as_reads_and_writes,
    "C4" splice_of_what_came_before_with_its_end_may_be_dropped_at_any_step,
    "C4" splice_both_ways_dropped_at_any_step_goes_on,
    "C4" splice_whose_source_ends_at_any_step_moves_all_before_that,
    "C7" splice_whose_source_resets_at_any_step_says_so,
    "C4" splice_whose_target_resets_at_any_step_leaves_the_rest,
    "C7" splice_both_ways_whose_peer_resets_at_any_step_says_so,
    "C5" [alone] streams_closed_at_any_step_of_a_forgotten_splice_leave_nothing,
    "C5" [alone] runtime_that_ends_at_any_step_of_a_splice_leaves_no_descriptor,
}

/// The other end of a stream, which writes up to `limit` bytes of the pattern, and reads.
struct Peer {
    plain: Plain,
    written: u64,
    limit: u64,
    got: Vec<u8>,
    is_at_end: bool,
    /// It reads nothing, so that it resets the connection when it is closed.
    is_deaf: bool,
}

impl Peer {
    fn step(&mut self) {
        let count = (self.limit - self.written).min(PORTION as u64);
        if count > 0 {
            match self.plain.write(&bytes_at(self.written, count)) {
                Ok(count) => self.written += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Whoever looks at what has arrived sees that this has not.
                Err(_) => self.limit = self.written,
            }
        }
        if self.is_deaf {
            return;
        }
        let mut portion = vec![0; PORTION];
        match self.plain.read(&mut portion) {
            Ok(0) => self.is_at_end = true,
            Ok(count) => self.got.extend_from_slice(&portion[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.is_at_end = true,
        }
    }

    fn is_all_written(&self) -> bool {
        self.written == self.limit
    }

    fn end(&self) {
        self.plain.shutdown(Shutdown::Write).expect("connected");
    }
}

/// Two streams, and the peers at their other ends.
struct Scene {
    from: UnixStream,
    to: UnixStream,
    peers: Peers,
}

struct Peers {
    source: Option<Peer>,
    sink: Option<Peer>,
}

fn side(limit: u64) -> (UnixStream, Peer) {
    let (stream, plain) = Plain::pair().expect("a pair");
    for one in [&stream, &plain] {
        let socket = SockRef::from(one);
        socket.set_send_buffer_size(BUFFER).expect("a socket");
    }
    plain.set_nonblocking(true).expect("a socket");
    let peer = Peer {
        plain,
        written: 0,
        limit,
        got: Vec::new(),
        is_at_end: false,
        is_deaf: false,
    };
    let stream = UnixStream::from_handle(OwnedFd::from(stream));
    (stream.expect("a socket"), peer)
}

impl Scene {
    /// With so many bytes to be written by the source, and by the sink.
    fn new(there: u64, back: u64) -> Scene {
        let (from, source) = side(there);
        let (to, sink) = side(back);
        Scene {
            from,
            to,
            peers: Peers {
                source: Some(source),
                sink: Some(sink),
            },
        }
    }
}

impl Peers {
    fn each(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.source.iter_mut().chain(&mut self.sink)
    }

    fn sink(&mut self) -> &mut Peer {
        self.sink.as_mut().expect("it is there")
    }

    fn source(&mut self) -> &mut Peer {
        self.source.as_mut().expect("it is there")
    }

    /// So many steps of a splice. `None` if it goes on after them.
    async fn steps<F: Future>(
        &mut self,
        count: usize,
        mut splicing: Pin<&mut F>,
    ) -> Option<F::Output> {
        for _ in 0..count {
            self.each().for_each(Peer::step);
            let polled = poll_fn(|cx| Poll::Ready(splicing.as_mut().poll(cx))).await;
            if let Poll::Ready(output) = polled {
                return Some(output);
            }
            turn().await;
        }
        None
    }

    /// As many, with a sink that reads a little in each.
    async fn slow_steps<F: Future>(
        &mut self,
        count: usize,
        mut splicing: Pin<Box<F>>,
    ) -> Option<F::Output> {
        for _ in 0..count {
            let mut little = [0; 1000];
            if let Ok(count) = self.sink().plain.read(&mut little) {
                self.sink().got.extend_from_slice(&little[..count]);
            }
            let polled = poll_fn(|cx| Poll::Ready(splicing.as_mut().poll(cx))).await;
            if let Poll::Ready(output) = polled {
                return Some(output);
            }
            turn().await;
        }
        None
    }

    /// Goes on until a future is done, with peers that end when they have written everything.
    async fn until_done<F: Future>(&mut self, mut future: Pin<&mut F>) -> F::Output {
        let mut ended = [false; 2];
        loop {
            if let Some(output) = self.steps(1, future.as_mut()).await {
                return output;
            }
            for (peer, ended) in self.each().zip(&mut ended) {
                if peer.is_all_written() && !std::mem::replace(ended, true) {
                    // The other one may have reset it.
                    drop(peer.plain.shutdown(Shutdown::Write));
                }
            }
        }
    }

    /// Reads on at the sink until that is at its end.
    async fn read_out(&mut self) -> Vec<u8> {
        while !self.sink().is_at_end {
            self.sink().step();
            turn().await;
        }
        std::mem::take(&mut self.sink().got)
    }
}

/// What is done with a splice after so many steps; false if it was done before.
async fn at_every_step(mut scene_with: impl AsyncFnMut(usize) -> bool) {
    let mut count = 0;
    while scene_with(count).await {
        count += 1;
        assert!(count < MOST_STEPS, "it is never done");
    }
    assert!(
        count > 8,
        "only {count} steps, of a splice that is to have many"
    );
}

/// A splice of everything one way, for so many steps, and then dropped; true if it was not done.
async fn splice_for(scene: &mut Scene, count: usize) -> bool {
    let mut splicing = Box::pin(splice(&mut scene.from, &mut scene.to, LEN));
    match scene.peers.steps(count, splicing.as_mut()).await {
        None => true,
        Some(moved) => {
            assert_eq!(moved.expect("both are open"), LEN);
            false
        }
    }
}

async fn splice_dropped_at_any_step_goes_on_as_a_splice() {
    at_every_step(async |count| {
        let mut scene = Scene::new(LEN, 0);
        let cut = splice_for(&mut scene, count).await;
        let Scene { from, to, peers } = &mut scene;
        let mut splicing = Box::pin(splice(from, to, u64::MAX));
        let moved = peers.until_done(splicing.as_mut()).await;
        drop(splicing);
        assert!(moved.expect("both are open") <= LEN);
        drop(scene.to);
        check(&scene.peers.read_out().await, 0, LEN);
        cut
    })
    .await;
}

async fn splice_dropped_at_any_step_goes_on_as_reads_and_writes() {
    at_every_step(async |count| {
        let mut scene = Scene::new(LEN, 0);
        let cut = splice_for(&mut scene, count).await;
        let Scene { from, to, peers } = &mut scene;
        let mut passing = Box::pin(async {
            let mut buf = [0; 5000];
            loop {
                let count = from.read(&mut buf).await?;
                to.write_all(&buf[..count]).await?;
                if count == 0 {
                    return to.flush().await;
                }
            }
        });
        let passed = peers.until_done(passing.as_mut()).await;
        passed.expect("both are open");
        drop(passing);
        drop(scene.to);
        check(&scene.peers.read_out().await, 0, LEN);
        cut
    })
    .await;
}

/// The end is known then, and what comes before it is in the hands of the splice.
async fn splice_of_what_came_before_with_its_end_may_be_dropped_at_any_step() {
    /// Less than a stream receives before it is read.
    const LEN: u64 = 60_000;
    for is_elsewhere in [false, true] {
        at_every_step(async |count| {
            let Scene {
                mut from,
                mut to,
                mut peers,
            } = Scene::new(LEN, 0);
            let mut buf = [0; 1];
            let mut reading = Box::pin(from.read_exact(&mut buf));
            peers.until_done(reading.as_mut()).await.expect("open");
            drop(reading);
            while !peers.source().is_all_written() {
                peers.source().step();
                turn().await;
            }
            peers.source().end();
            for _ in 0..8 {
                turn().await;
            }
            let splicing = Box::pin(splice(&mut from, &mut to, u64::MAX));
            let cut = peers.slow_steps(count, splicing).await.is_none();
            // At once, before the splice has given back what it has.
            let reading = async move {
                let mut rest = Vec::new();
                read_on(&mut from, &mut rest).await.expect("ended in order");
                (rest, from)
            };
            let (rest, _from) = match is_elsewhere {
                true => wharf::spawn_on(1, move || reading).await.expect("no panic"),
                false => reading.await,
            };
            drop(to);
            let got = [buf.to_vec(), peers.read_out().await, rest].concat();
            check(&got, 0, LEN);
            cut
        })
        .await;
    }
}

async fn splice_both_ways_dropped_at_any_step_goes_on() {
    at_every_step(async |count| {
        let mut scene = Scene::new(LEN, LEN / 2);
        let Scene { from, to, peers } = &mut scene;
        let mut splicing = Box::pin(splice_bidirectional(from, to));
        // It ends with both ends, and those come when all is written.
        let is_done = |peers: &mut Peers| peers.each().all(|peer| peer.is_all_written());
        let mut cut = false;
        for _ in 0..=count {
            let ended = peers.steps(1, splicing.as_mut()).await;
            assert!(ended.is_none(), "nobody has ended");
            cut = !is_done(peers);
        }
        drop(splicing);
        let mut splicing = Box::pin(splice_bidirectional(from, to));
        let moved = peers.until_done(splicing.as_mut()).await;
        moved.expect("both are open");
        drop(splicing);
        check(&scene.peers.read_out().await, 0, LEN);
        let source = scene.peers.source();
        while !source.is_at_end {
            source.step();
            turn().await;
        }
        check(&source.got, 0, LEN / 2);
        cut
    })
    .await;
}

async fn splice_whose_source_ends_at_any_step_moves_all_before_that() {
    at_every_step(async |count| {
        let Scene {
            mut from,
            mut to,
            mut peers,
        } = Scene::new(LEN, 0);
        let mut splicing = Box::pin(splice(&mut from, &mut to, u64::MAX));
        assert!(peers.steps(count, splicing.as_mut()).await.is_none());
        let source = peers.source();
        let (written, cut) = (source.written, !source.is_all_written());
        source.limit = written;
        source.end();
        let moved = peers.until_done(splicing.as_mut()).await;
        assert_eq!(moved.expect("both are open"), written);
        drop(splicing);
        assert_eq!(from.read(&mut [0; 4]).await.expect("ended in order"), 0);
        to.write_all(b"behind").await.expect("open");
        drop(to);
        let got = peers.read_out().await;
        check(
            got.strip_suffix(b"behind").expect("written last"),
            0,
            written,
        );
        cut
    })
    .await;
}

async fn splice_whose_source_resets_at_any_step_says_so() {
    at_every_step(async |count| {
        let Scene {
            mut from,
            mut to,
            mut peers,
        } = Scene::new(LEN, 0);
        from.write_all(b"unread").await.expect("open");
        from.flush().await.expect("open");
        peers.source().is_deaf = true;
        let mut splicing = Box::pin(splice(&mut from, &mut to, u64::MAX));
        assert!(peers.steps(count, splicing.as_mut()).await.is_none());
        let source = peers.source.take().expect("it is there");
        let (written, cut) = (source.written, !source.is_all_written());
        drop(source);
        let error = peers.until_done(splicing.as_mut()).await;
        let error = error.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        drop(splicing);
        // All that came before was passed on, and a reader is told the same.
        let mut rest = Vec::new();
        let again = read_on(&mut from, &mut rest).await;
        let again = again.expect_err("a reset");
        assert_eq!(again.kind(), ErrorKind::ConnectionReset);
        assert_eq!(rest.len(), 0);
        drop(to);
        check(&peers.read_out().await, 0, written);
        cut
    })
    .await;
}

/// Reads up to the end, or the error.
async fn read_on(from: &mut UnixStream, into: &mut Vec<u8>) -> io::Result<()> {
    while let Some(piece) = from.recv().await? {
        into.extend_from_slice(&piece);
    }
    Ok(())
}

async fn splice_whose_target_resets_at_any_step_leaves_the_rest() {
    at_every_step(async |count| {
        let Scene {
            mut from,
            mut to,
            mut peers,
        } = Scene::new(LEN, 0);
        let mut splicing = Box::pin(splice(&mut from, &mut to, u64::MAX));
        assert!(peers.steps(count, splicing.as_mut()).await.is_none());
        let cut = !peers.source().is_all_written();
        let sink = peers.sink.take().expect("it is there");
        let got = sink.got.len() as u64;
        drop(sink);
        // At the end there may be nothing left to send, and then it is not noticed.
        let moved = peers.until_done(splicing.as_mut()).await;
        drop(splicing);
        if let Err(error) = &moved {
            let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(gone.contains(&error.kind()), "{error}");
            let error = to.write(b"more").await.expect_err("it is gone");
            assert!(gone.contains(&error.kind()), "{error}");
        }
        let mut rest = Vec::new();
        let mut reading = Box::pin(read_on(&mut from, &mut rest));
        peers
            .until_done(reading.as_mut())
            .await
            .expect("an orderly end");
        drop(reading);
        let left = rest.len() as u64;
        check(&rest, LEN - left, left);
        assert!(got + left <= LEN, "{got} were got, and {left} are left");
        cut
    })
    .await;
}

async fn splice_both_ways_whose_peer_resets_at_any_step_says_so() {
    at_every_step(async |count| {
        let Scene {
            mut from,
            mut to,
            mut peers,
        } = Scene::new(LEN, LEN);
        from.write_all(b"unread").await.expect("open");
        from.flush().await.expect("open");
        peers.source().is_deaf = true;
        let mut splicing = Box::pin(splice_bidirectional(&mut from, &mut to));
        assert!(peers.steps(count, splicing.as_mut()).await.is_none());
        let source = peers.source.take().expect("it is there");
        let cut = !source.is_all_written();
        drop(source);
        let error = peers.until_done(splicing.as_mut()).await;
        let error = error.expect_err("a reset");
        let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(gone.contains(&error.kind()), "{error}");
        drop(splicing);
        // The other stream is well: it can be written to, and what it has not passed on can be read.
        to.write_all(b"behind").await.expect("it is open");
        let mut rest = Vec::new();
        let mut reading = Box::pin(read_on(&mut to, &mut rest));
        peers
            .until_done(reading.as_mut())
            .await
            .expect("an orderly end");
        drop(reading);
        let (written, left) = (peers.sink().written, rest.len() as u64);
        check(&rest, written - left, left);
        drop(to);
        let got = peers.read_out().await;
        let there = got.strip_suffix(b"behind").expect("written last");
        check(there, 0, there.len() as u64);
        cut
    })
    .await;
}

async fn streams_closed_at_any_step_of_a_forgotten_splice_leave_nothing() {
    // What the worker makes when it first needs it.
    splice_for(&mut Scene::new(LEN, 0), 40).await;
    let (open, quiet) = (descriptors(), in_flight());
    for is_target_first in [false, true] {
        at_every_step(async |count| {
            let Scene {
                mut from,
                mut to,
                mut peers,
            } = Scene::new(LEN, 0);
            let mut splicing = Box::pin(splice(&mut from, &mut to, u64::MAX));
            assert!(peers.steps(count, splicing.as_mut()).await.is_none());
            let cut = !peers.source().is_all_written();
            std::mem::forget(splicing);
            match is_target_first {
                true => {
                    drop(to);
                    turn().await;
                    drop(from);
                }
                false => {
                    drop(from);
                    turn().await;
                    drop(to);
                }
            }
            // The sink sees the end of it.
            while !peers.sink().is_at_end {
                peers.sink().step();
                turn().await;
            }
            let got = std::mem::take(&mut peers.sink().got);
            check(&got, 0, got.len() as u64);
            is_quiet(quiet).await;
            cut
        })
        .await;
    }
    census(|now| now <= open + KEPT);
}

async fn runtime_that_ends_at_any_step_of_a_splice_leaves_no_descriptor() {
    let backend = wharf::runtime::backend();
    let others = std::thread::spawn(move || {
        let before = descriptors();
        for count in 0..24 {
            let builder = wharf::Runtime::builder().backend(backend);
            let runtime = builder.build().expect("the backend was probed");
            let left = runtime.block_on(async {
                let Scene {
                    mut from,
                    mut to,
                    mut peers,
                } = Scene::new(LEN, 0);
                let mut splicing = Box::pin(async move {
                    let ended = splice(&mut from, &mut to, u64::MAX).await;
                    (ended, from, to)
                });
                assert!(peers.steps(count, splicing.as_mut()).await.is_none());
                (splicing, peers)
            });
            drop(runtime);
            let (splicing, mut peers) = left;
            let (ended, from, to) = futures_lite::future::block_on(splicing);
            assert_eq!(
                ended.expect_err("it has ended").kind(),
                ErrorKind::NotConnected
            );
            drop((from, to));
            while !peers.sink().is_at_end {
                peers.sink().step();
            }
            let got = &peers.sink().got;
            check(got, 0, got.len() as u64);
        }
        before
    });
    let before = join(others).await;
    census_is(before);
}
