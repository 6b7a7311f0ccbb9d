//! The code of users that runs inside the queue and comes back to it: buffers that submit, cancel,
//! close, wait and discard while they are looked at, filled or dropped, and values that panic
//! (C1, C2, C5, C6, R10).

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;

use wharf_queue::{IoBuf, Queue, op};

use crate::fixture::fickle::{Fickle, FickleVec, Half};
use crate::fixture::nosy::{Nosy, When};
use crate::peer::pair;
use crate::{Factory, drain, finish, finish_keeping, look, next};

super::cases!(
    "R10" buffer_that_uses_the_queue_disturbs_no_operation,
    "C5" buffer_that_closes_its_handle_when_it_is_looked_at_is_cancelled_once,
    "R10" buffer_that_cancels_its_operation_when_it_is_looked_at_is_cancelled_once,
    "R10" buffer_that_closes_its_handle_within_a_chain_breaks_the_chain,
    "R10" buffer_that_closes_its_handle_and_panics_leaves_no_trace,
    "C1" discard_from_within_a_drop_counts,
    "C6" buffers_dropped_with_the_queue_may_drop_handles,
    "R10" buffer_that_changes_its_mind_about_its_length_stays_within_it,
    "R10" value_that_panics_when_it_is_dropped_leaves_no_trace,
);

type Alive = Rc<Cell<usize>>;

fn shared(factory: &Factory) -> (Rc<Queue>, Alive) {
    (Rc::new(factory.queue()), Alive::default())
}

/// Submits something, and waits until it is there, from within another operation.
fn use_the_queue(queue: &Queue) {
    let nop = queue.submit(op::Nop::new()).expect("room");
    let mut done = None;
    while done.is_none() {
        // What else completes is left for those who wait for it.
        for completion in queue.wait(Duration::ZERO).expect("works") {
            match completion.take(nop) {
                Ok(outcome) => done = Some(outcome),
                Err(other) => {
                    other.keep().expect("final");
                }
            }
        }
    }
    done.expect("it has completed")
        .into_result()
        .expect("nothing can fail");
}

fn buffer_that_uses_the_queue_disturbs_no_operation(factory: &Factory) {
    let (queue, alive) = shared(factory);
    for when in [When::Looked, When::Filled, When::Dropped] {
        let (socket, mut peer) = pair(&queue);
        let nosy = || {
            let queue = queue.clone();
            Nosy::new(&alive, when, move || use_the_queue(&queue))
        };
        let recv = queue.submit(op::Recv::new(&socket, nosy()));
        let recv = recv.expect("room");
        let send = queue.submit(op::Send::new(&socket, nosy()));
        let send = send.expect("room");
        peer.write_all(b"some bytes").expect("connected");
        let mut received = None;
        let mut sent = None;
        while received.is_none() || sent.is_none() {
            received = received.or_else(|| queue.take(recv));
            sent = sent.or_else(|| queue.take(send));
            for completion in queue.wait(Duration::from_millis(1)).expect("works") {
                completion.keep().expect("final");
            }
        }
        let (outcome, buf) = received.expect("seen");
        assert_eq!(outcome.into_result().expect("received"), 10);
        assert_eq!(&buf.as_bytes()[..10], b"some bytes");
        let (outcome, _) = sent.expect("seen");
        assert_eq!(outcome.into_result().expect("sent"), 16);
        drop(buf);
        let mut bytes = [0; 16];
        peer.read_exact(&mut bytes).expect("connected");
        assert_eq!(bytes, [7; 16]);
    }
    drain(&queue);
    assert_eq!((alive.get(), queue.in_flight()), (0, 0));
}

/// A buffer that, when the queue looks at it, closes the handle it is used with and takes whatever
/// completes by then.
fn closing(
    queue: &Rc<Queue>,
    alive: &Alive,
    socket: &Rc<RefCell<Option<wharf_queue::Handle>>>,
) -> Nosy {
    let (queue, socket) = (queue.clone(), socket.clone());
    Nosy::new(alive, When::Looked, move || {
        let socket = socket.borrow_mut().take().expect("once");
        queue.submit(op::Close::new(socket)).expect("room");
        for _ in 0..3 {
            queue
                .wait(Duration::ZERO)
                .expect("works")
                .for_each(|completion| assert_eq!(completion.kind(), Some(op::OpKind::Close)));
        }
    })
}

fn buffer_that_closes_its_handle_when_it_is_looked_at_is_cancelled_once(factory: &Factory) {
    for receives in [false, true] {
        let (queue, alive) = shared(factory);
        let (socket, mut peer) = pair(&queue);
        let shared = Rc::new(RefCell::new(Some(socket.clone())));
        let nosy = closing(&queue, &alive, &shared);
        let (outcome, buf) = if receives {
            let token = queue.submit(op::Recv::new(&socket, nosy));
            finish(&queue, token.expect("it was open"))
        } else {
            let token = queue.submit(op::Send::new(&socket, nosy));
            finish(&queue, token.expect("it was open"))
        };
        assert!(outcome.is_cancelled());
        assert_eq!(alive.get(), 1);
        drop(buf);
        drain(&queue);
        assert_eq!(alive.get(), 0);
        // It is closed by the operation, not by its last clone.
        assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
        assert!(queue.submit(op::Recv::new(&socket, vec![0; 8])).is_err());
    }
}

fn buffer_that_cancels_its_operation_when_it_is_looked_at_is_cancelled_once(factory: &Factory) {
    let (queue, alive) = shared(factory);
    let (socket, mut peer) = pair(&queue);
    peer.write_all(b"for the next").expect("connected");
    let nosy = {
        let (queue, socket) = (queue.clone(), socket.clone());
        Nosy::new(&alive, When::Looked, move || {
            assert_eq!(queue.cancel_all(&socket), 1);
            assert_eq!(queue.cancel_all(&socket), 1);
            assert_eq!(queue.wait(Duration::ZERO).expect("works").count(), 0);
        })
    };
    let token = queue.submit(op::Recv::new(&socket, nosy)).expect("room");
    let (outcome, buf) = finish(&queue, token);
    assert!(outcome.is_cancelled());
    drop(buf);
    let token = queue.submit(op::Recv::new(&socket, vec![0; 64]));
    let (outcome, buf) = finish(&queue, token.expect("room"));
    assert_eq!(outcome.into_result().expect("received"), 12);
    assert_eq!(&buf[..12], b"for the next");
    assert_eq!((alive.get(), queue.in_flight()), (0, 0));
}

fn buffer_that_closes_its_handle_within_a_chain_breaks_the_chain(factory: &Factory) {
    let (queue, alive) = shared(factory);
    for position in 0..3 {
        let (socket, _peer) = pair(&queue);
        let shared = Rc::new(RefCell::new(Some(socket.clone())));
        let mut chain = queue.chain();
        let mut tokens = Vec::new();
        let mut broken = None;
        for at in 0..3 {
            if at == position {
                let nosy = closing(&queue, &alive, &shared);
                let token = chain.then(op::Send::new(&socket, nosy));
                broken = Some(token.expect("it was open"));
            } else {
                tokens.push(chain.then(op::Nop::new()).expect("room"));
            }
        }
        chain.submit();
        let (outcome, buf) = finish_keeping(&queue, broken.expect("added"));
        assert!(outcome.is_cancelled());
        drop(buf);
        for (at, token) in tokens.into_iter().enumerate() {
            let cancelled = finish_keeping(&queue, token).is_cancelled();
            assert_eq!(cancelled, at >= position);
        }
        drain(&queue);
    }
    assert_eq!(alive.get(), 0);
}

fn buffer_that_closes_its_handle_and_panics_leaves_no_trace(factory: &Factory) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let (queue, alive) = shared(factory);
    let (socket, mut peer) = pair(&queue);
    let nosy = {
        let (queue, socket) = (queue.clone(), socket.clone());
        Nosy::new(&alive, When::Looked, move || {
            queue.submit(op::Close::new(socket)).expect("room");
            panic!("on purpose");
        })
    };
    let submitted = AssertUnwindSafe(|| drop(queue.submit(op::Recv::new(&socket, nosy))));
    assert!(catch_unwind(submitted).is_err());
    assert_eq!(alive.get(), 0);
    // The close has waited for an operation that has never come to be.
    drain(&queue);
    assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
    assert_eq!(queue.stats().in_flight, 0);
}

fn discard_from_within_a_drop_counts(factory: &Factory) {
    let (queue, alive) = shared(factory);
    let (socket, _peer) = pair(&queue);
    let nop = queue.submit(op::Nop::new()).expect("room");
    look(&queue);
    let nosy = {
        let queue = queue.clone();
        Nosy::new(&alive, When::Dropped, move || queue.discard(nop))
    };
    let recv = queue.submit(op::Recv::new(&socket, nosy)).expect("room");
    queue.discard(recv);
    // It is dropped in some turn, and then discards what is ready.
    while alive.get() > 0 {
        assert_eq!(
            queue.wait(Duration::ZERO).expect("works").take(0).count(),
            0
        );
    }
    let timer = queue
        .submit(op::Timer::after(Duration::ZERO))
        .expect("room");
    assert_eq!(next(&queue).token(), timer.erase());
    assert_eq!(queue.in_flight(), 0);
}

fn buffers_dropped_with_the_queue_may_drop_handles(factory: &Factory) {
    let (queue, alive) = shared(factory);
    let mut peers = Vec::new();
    for ready in [true, false, true] {
        let ((socket, mut peer), (other, other_peer)) = (pair(&queue), pair(&queue));
        let nosy = Nosy::new(&alive, When::Dropped, move || {
            // The queue is going; a handle of it says so, and closes.
            drop(other.local_addr());
            drop(other);
        });
        queue.submit(op::Recv::new(&socket, nosy)).expect("room");
        if ready {
            peer.write_all(b"there").expect("connected");
        }
        peers.push(other_peer);
    }
    look(&queue);
    drop(queue);
    assert_eq!(alive.get(), 0);
    for peer in &mut peers {
        assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
    }
}

fn buffer_that_changes_its_mind_about_its_length_stays_within_it(factory: &Factory) {
    let queue = factory.queue();
    let (socket, peer) = pair(&queue);
    let mut reader = peer.try_clone().expect("a socket");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("connected");
        bytes
    });
    let mut sent = 0;
    for begin in [0, 1, 2, 60] {
        let fickle = Fickle::new();
        let send = op::Send::new(&socket, fickle.slice(0..begin)).all();
        let token = queue.submit(send).expect("room");
        let (outcome, buf) = finish(&queue, token);
        sent += outcome.into_result().expect("sent");
        assert!(buf.into_inner().bytes.iter().copied().eq(0..64));
        let vectored =
            op::SendVectored::new(&socket, FickleVec(vec![Fickle::new(), Fickle::new()]));
        let token = queue.submit(vectored.all()).expect("room");
        sent += finish(&queue, token).0.into_result().expect("sent");
    }
    let close = queue.submit(op::Shutdown::new(&socket, std::net::Shutdown::Write));
    finish(&queue, close.expect("room"))
        .into_result()
        .expect("shut down");
    let bytes = reader.join().expect("no panic");
    assert_eq!(bytes.len(), sent);
    assert!(bytes.iter().all(|&byte| byte < 64));
    (&peer).write_all(b"in the second").expect("connected");
    let half = Half([Vec::with_capacity(32), Vec::with_capacity(32)]);
    let token = queue
        .submit(op::RecvVectored::new(&socket, half))
        .expect("room");
    let (outcome, Half([first, second])) = finish(&queue, token);
    assert_eq!(outcome.into_result().expect("received"), 13);
    assert_eq!((&first[..], &second[..]), (&b""[..], &b"in the second"[..]));
}

/// A value that panics when it is dropped.
struct Sore;

impl Drop for Sore {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "on purpose: dropped");
    }
}

fn value_that_panics_when_it_is_dropped_leaves_no_trace(factory: &Factory) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let queue = factory.queue();
    let springs = |f: &mut dyn FnMut()| {
        assert!(catch_unwind(AssertUnwindSafe(f)).is_err(), "it panicked");
    };
    queue.submit(op::Blocking::new(|| Sore)).expect("room");
    springs(&mut || drop(next(&queue)));
    assert_eq!(queue.in_flight(), 0);
    let token = queue.submit(op::Blocking::new(|| Sore)).expect("room");
    next(&queue).keep().expect("final");
    springs(&mut || queue.discard(token));
    assert_eq!(queue.in_flight(), 0);
    // A closure that panics, with what it has captured and with what it throws.
    let sore = Sore;
    let token = queue.submit(op::Blocking::new(move || {
        let sore = sore;
        std::mem::forget(sore);
        // Without a word on the standard error.
        std::panic::resume_unwind(Box::new(Sore));
    }));
    let outcome: wharf_queue::Outcome<()> = finish(&queue, token.expect("room"));
    assert!(outcome.into_result().is_err());
    let token = queue.submit(op::Blocking::new(|| 5)).expect("room");
    assert_eq!(finish(&queue, token).into_result().expect("it goes on"), 5);
    assert_eq!(queue.in_flight(), 0);
}
