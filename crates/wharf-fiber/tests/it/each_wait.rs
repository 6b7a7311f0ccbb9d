//! Every call that waits, cancelled while it waits, and called again by a fiber that goes on: the first
//! fails, all others fail at once, and what they wait for is there for the next.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use wharf_fiber as fiber;
use wharf_fiber::net::{TcpListener, TcpStream, UdpSocket};

use crate::{on_each_backend, pair, runtime};

/// Longer than what is copied.
const LONG: usize = 100_000;

/// What the waits wait for: nothing of it ever happens.
struct Silence {
    listener: TcpListener,
    datagrams: UdpSocket,
    /// Nobody writes to it.
    quiet: TcpStream,
    /// Nobody reads from it, and its buffers are full.
    stalled: TcpStream,
    /// The same; its sending direction is to end, which a cancel leaves to be done.
    ending: TcpStream,
    locked: wharf::sync::lock::Mutex<()>,
    peers: Vec<TcpStream>,
}

/// A stream whose buffers are full, and its peer, which reads nothing.
fn stalled() -> (TcpStream, TcpStream) {
    let (mut stalled, peer) = pair();
    let patience = Some(Duration::from_millis(50));
    stalled.set_write_timeout(patience).unwrap();
    for len in [30_000, 1] {
        while stalled.write(&vec![7; len]).is_ok() {}
    }
    stalled.set_write_timeout(None).unwrap();
    (stalled, peer)
}

impl Silence {
    fn new() -> Silence {
        let (quiet, first) = pair();
        let (stalled_one, second) = stalled();
        let (ending, third) = stalled();
        let locked = wharf::sync::lock::Mutex::new(());
        // It stays so.
        std::mem::forget(fiber::wait(locked.lock()));
        Silence {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            datagrams: UdpSocket::bind("127.0.0.1:0").unwrap(),
            quiet,
            stalled: stalled_one,
            ending,
            locked,
            peers: vec![first, second, third],
        }
    }
}

type Wait = fn(&Silence) -> io::Result<()>;

fn nothing<T>(result: io::Result<T>) -> io::Result<()> {
    result.map(drop)
}

/// Every way to wait for ever. A fiber that was cancelled is told so by each.
const WAITS: &[(&str, Wait)] = &[
    ("future", |_| Ok(fiber::try_wait(pending())?)),
    ("sleep", |_| {
        Ok(fiber::try_wait(wharf::time::sleep(Duration::from_secs(
            3600,
        )))?)
    }),
    ("unwinding sleep", |_| {
        let slept = catch_unwind(|| fiber::sleep(Duration::from_secs(3600)));
        slept.map_err(|_| fiber::Cancelled::default().into())
    }),
    ("unwinding join", |_| {
        let other = fiber::spawn(|| fiber::try_wait(pending::<()>()).is_err());
        let abort = other.abort_handle();
        let joined = catch_unwind(AssertUnwindSafe(|| other.join().unwrap()));
        abort.abort();
        joined
            .map(|_| ())
            .map_err(|_| fiber::Cancelled::default().into())
    }),
    ("lock", |silence| {
        let locked = fiber::try_wait(silence.locked.lock());
        Ok(locked.map(drop)?)
    }),
    ("accept", |silence| nothing(silence.listener.accept())),
    ("incoming", |silence| {
        match silence.listener.incoming().next() {
            None => Err(fiber::Cancelled::default().into()),
            Some(_) => Ok(()),
        }
    }),
    ("receive", |silence| {
        nothing(silence.datagrams.recv(&mut [0; 9]))
    }),
    ("peek of a datagram", |silence| {
        nothing(silence.datagrams.peek(&mut [0; 9]))
    }),
    ("read", |silence| {
        nothing((&silence.quiet).read(&mut [0; 9]))
    }),
    ("long read", |silence| {
        nothing((&silence.quiet).read(&mut [0; LONG]))
    }),
    ("read to the end", |silence| {
        nothing((&silence.quiet).read_to_end(&mut Vec::new()))
    }),
    ("peek", |silence| nothing(silence.quiet.peek(&mut [0; 9]))),
    ("write", |silence| {
        nothing((&silence.stalled).write(&[1; 9]))
    }),
    ("flush", |silence| (&silence.stalled).flush()),
    ("shutdown", |silence| {
        silence.ending.shutdown(Shutdown::Write)
    }),
];

fn is_cancel(result: &io::Result<()>) -> bool {
    let error = result.as_ref().err().and_then(io::Error::get_ref);
    error.is_some_and(|inner| inner.is::<fiber::Cancelled>())
}

/// Calls every wait from the `first` on, around in a circle, and gives those that were no cancel.
fn wait_in_turn(silence: &Silence, first: usize) -> Vec<&'static str> {
    let order = (0..WAITS.len()).map(|step| &WAITS[(first + step) % WAITS.len()]);
    let wrong = order.filter(|(_, wait)| !is_cancel(&wait(silence)));
    wrong.map(|(name, _)| *name).collect()
}

#[test]
fn fiber_aborted_at_each_wait_fails_there_and_at_all_later_ones() {
    on_each_backend(|| {
        let silence = Rc::new(Silence::new());
        for (first, (name, _)) in WAITS.iter().enumerate() {
            let shared = silence.clone();
            let victim = fiber::spawn(move || wait_in_turn(&shared, first));
            (0..20).for_each(|_| fiber::yield_now());
            assert!(!victim.is_finished(), "{name} does not wait");
            victim.abort();
            assert_eq!(victim.join().unwrap(), [""; 0], "aborted at {name}");
        }
        // Nothing of it has hurt the sockets.
        let address = silence.listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        silence.listener.accept().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender
            .send_to(b"late", silence.datagrams.local_addr().unwrap())
            .unwrap();
        assert_eq!(silence.datagrams.recv(&mut [0; 9]).unwrap(), 4);
        (&silence.peers[0]).write_all(b"late").unwrap();
        assert_eq!((&silence.quiet).read(&mut [0; LONG]).unwrap(), 4);
    });
}

/// Waits in every way when it is dropped.
struct WaitsAtTheEnd {
    silence: Rc<Silence>,
    first: usize,
    wrong: Rc<RefCell<Vec<&'static str>>>,
}

impl Drop for WaitsAtTheEnd {
    fn drop(&mut self) {
        self.wrong
            .borrow_mut()
            .extend(wait_in_turn(&self.silence, self.first));
    }
}

#[test]
fn destructor_that_waits_in_every_way_is_held_up_by_none() {
    on_each_backend(|| {
        let silence = Rc::new(Silence::new());
        for panics in [false, true] {
            let wrong = Rc::new(RefCell::new(Vec::new()));
            let at_end = WaitsAtTheEnd {
                silence: silence.clone(),
                first: 0,
                wrong: wrong.clone(),
            };
            let victim = fiber::spawn(move || {
                let _at_end = at_end;
                if panics {
                    fiber::yield_now();
                    panic!("with destructors that wait");
                }
                fiber::wait(pending::<()>());
            });
            fiber::yield_now();
            if !panics {
                victim.abort();
            }
            assert_eq!(victim.join().unwrap_err().is_panic(), panics);
            assert_eq!(*wrong.borrow(), [""; 0], "panics: {panics}");
        }
    });
}

#[test]
fn runtime_that_ends_cancels_fibers_at_every_wait() {
    for backend in crate::backends() {
        let runtime = runtime(backend);
        let ended = Rc::new(Cell::new(0));
        let counter = ended.clone();
        fiber::block_on(&runtime, move || {
            let silence = Rc::new(Silence::new());
            for (first, _) in WAITS.iter().enumerate() {
                let (counter, silence) = (counter.clone(), silence.clone());
                drop(fiber::spawn(move || {
                    assert_eq!(wait_in_turn(&silence, first), [""; 0]);
                    counter.set(counter.get() + 1);
                }));
            }
            (0..20).for_each(|_| fiber::yield_now());
        });
        assert_eq!(ended.get(), 0);
        drop(runtime);
        assert_eq!(ended.get(), WAITS.len(), "{backend}");
    }
}
