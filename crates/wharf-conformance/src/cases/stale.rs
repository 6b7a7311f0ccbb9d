//! Tokens, completions and chains that are used once too often: what was taken, forgotten or
//! cancelled is over, and touches nothing that came later (C1, C5, C11, R11).

use std::io::Write;
use std::time::Duration;

use wharf_queue::op;

use crate::fixture::host::{NULL, raw_of, use_again};
use crate::peer::pair;
use crate::{Factory, drain, finish, finish_keeping, next};

super::cases!(
    "C1" kept_end_of_a_multishot_is_taken_once,
    "C5" [alone] forgotten_close_gives_its_descriptor_back_once,
    "R11" chain_that_has_lost_an_operation_leaves_its_slot_alone,
    "C11" operation_added_to_a_broken_chain_is_cancelled,
);

fn kept_end_of_a_multishot_is_taken_once(factory: &Factory) {
    let queue = factory.queue();
    let pool = queue.buf_pool().buffers(4).size(64).build();
    let pool = pool.expect("a pool");
    for discarded in [false, true] {
        let (socket, mut peer) = pair(&queue);
        let token = queue.submit(op::RecvMulti::new(&socket, &pool));
        let token = token.expect("room");
        peer.write_all(b"an item").expect("connected");
        let item = next(&queue);
        assert!(item.more());
        drop(peer);
        let end = next(&queue);
        assert!(!end.more());
        let end = end.keep().expect("final");
        assert_eq!(end, token.erase());
        // While somebody holds an item, the operation stays where it is.
        let end = queue.take(token).expect("it was kept").into_result();
        assert!(end.expect("an end").is_empty());
        if discarded {
            queue.discard(token);
        }
        assert!(queue.take(token).is_none(), "a result is taken once");
        let item = item.take(token).expect("its own").into_result();
        assert_eq!(&*item.expect("received"), b"an item");
        assert!(queue.take(token).is_none());
        assert_eq!(queue.in_flight(), 0);
        // The slot has been given back once.
        let first = queue.submit(op::Nop::new()).expect("room");
        let second = queue.submit(op::Nop::new()).expect("room");
        assert_ne!(first.index(), second.index());
        drain(&queue);
    }
    assert_eq!(pool.available(), 4);
}

fn forgotten_close_gives_its_descriptor_back_once(factory: &Factory) {
    let queue = factory.queue();
    let file = std::fs::File::open(NULL).expect("there");
    let handle = queue.attach(file).expect("a file");
    let raw = handle.raw();
    queue.submit(op::Close::new(handle)).expect("room");
    std::mem::forget(next(&queue));
    // The number is free, and somebody else's from now on.
    let others = use_again(raw);
    assert_eq!(others.last().map(raw_of), Some(raw));
    drop(queue);
    for file in &others {
        file.try_clone().expect("it is still open");
    }
}

fn chain_that_has_lost_an_operation_leaves_its_slot_alone(factory: &Factory) {
    let queue = factory.queue();
    for submitted in [false, true] {
        for cancelled in 0..3 {
            let mut chain = queue.chain();
            let tokens: Vec<_> = (0..3)
                .map(|_| chain.then(op::Nop::new()).expect("room"))
                .collect();
            assert!(queue.cancel(tokens[cancelled]));
            for _ in cancelled..3 {
                let completion = next(&queue);
                let outcome = completion.take_as::<op::Nop>().expect("one of them");
                assert!(outcome.is_cancelled());
            }
            // These get the slots that the chain has had.
            let others: Vec<_> = (0..3)
                .map(|_| queue.submit(op::Timer::after(Duration::MAX)).expect("room"))
                .collect();
            let mut second = queue.chain();
            let held = second.then(op::Nop::new()).expect("room");
            if submitted {
                chain.submit();
                for _ in 0..cancelled {
                    let completion = next(&queue);
                    let outcome = completion.take_as::<op::Nop>().expect("one of them");
                    outcome.into_result().expect("it was before");
                }
            } else {
                drop(chain);
            }
            assert_eq!(queue.wait(Duration::ZERO).expect("works").count(), 0);
            second.submit();
            finish(&queue, held)
                .into_result()
                .expect("nothing can fail");
            for other in others {
                assert!(queue.cancel(other), "it waits undisturbed");
                assert!(finish(&queue, other).is_cancelled());
            }
            drain(&queue);
        }
    }
}

fn operation_added_to_a_broken_chain_is_cancelled(factory: &Factory) {
    let queue = factory.queue();
    for taken in [false, true] {
        let mut chain = queue.chain();
        let first = chain.then(op::Nop::new()).expect("room");
        assert!(queue.cancel(first));
        if taken {
            assert!(finish(&queue, first).is_cancelled());
        }
        let second = chain.then(op::Nop::new()).expect("room");
        let third = chain.then(op::Nop::new()).expect("room");
        chain.submit();
        assert!(finish_keeping(&queue, second).is_cancelled());
        assert!(finish_keeping(&queue, third).is_cancelled());
        // The slots bear no mark of the chain: what comes next follows nothing.
        for _ in 0..4 {
            let nop = queue.submit(op::Nop::new()).expect("room");
            finish_keeping(&queue, nop)
                .into_result()
                .expect("nothing can fail");
        }
        if !taken {
            assert!(finish_keeping(&queue, first).is_cancelled());
        }
        assert_eq!(queue.in_flight(), 0);
    }
}
