//! Fullness, refusals, and extreme arguments (C8, C10, C12).

use std::time::Duration;

use wharf_queue::{SubmitError, op};

use crate::peer::pair;
use crate::{Factory, next};

super::cases!(
    "C10" more_operations_than_the_ring_holds_all_complete,
    "C10" full_queue_gives_the_operation_back,
    "C8" foreign_handle_is_refused,
    "C8" datagrams_need_a_pool_of_their_kind,
    "C12" extreme_durations_do_no_harm,
    "C12" offset_above_the_limit_is_refused,
);

fn more_operations_than_the_ring_holds_all_complete(factory: &Factory) {
    let queue = factory.builder().ring_entries(8).build().expect("a queue");
    for _ in 0..1000 {
        queue.submit(op::Nop::new()).expect("room");
    }
    for _ in 0..1000 {
        next(&queue);
    }
    assert_eq!(queue.in_flight(), 0);
    assert_eq!(queue.stats().completed, 1000);
}

fn full_queue_gives_the_operation_back(factory: &Factory) {
    let queue = factory.builder().max_in_flight(2).build().expect("a queue");
    let (socket, _peer) = pair(&queue);
    for _ in 0..2 {
        queue
            .submit(op::Recv::new(&socket, vec![0; 4]))
            .expect("room");
    }
    match queue.submit(op::Recv::new(&socket, vec![0; 77])) {
        Err(SubmitError::Full(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.cancel_all(&socket), 2);
    next(&queue);
    queue.submit(op::Nop::new()).expect("room again");
}

fn foreign_handle_is_refused(factory: &Factory) {
    let (queue, other) = (factory.queue(), factory.queue());
    let (socket, _peer) = pair(&other);
    let refused = queue.submit(op::Recv::new(&socket, vec![0; 4]));
    assert!(matches!(refused, Err(SubmitError::Foreign(_))));
    let pool = other.buf_pool().buffers(1).build().expect("a pool");
    let (socket, _peer) = pair(&queue);
    let refused = queue.submit(op::RecvMulti::new(&socket, &pool));
    assert!(matches!(refused, Err(SubmitError::Foreign(_))));
}

fn datagrams_need_a_pool_of_their_kind(factory: &Factory) {
    let queue = factory.queue();
    let (socket, _peer) = pair(&queue);
    let pool = queue.buf_pool().buffers(1).build().expect("a pool");
    let refused = queue.submit(op::RecvFromMulti::new(&socket, &pool));
    assert!(matches!(refused, Err(SubmitError::Invalid(..))));
}

fn extreme_durations_do_no_harm(factory: &Factory) {
    use wharf_queue::Prepare;
    let queue = factory.queue();
    let never = queue.submit(op::Timer::after(Duration::MAX)).expect("room");
    let nop = queue
        .submit(op::Nop::new().timeout(Duration::MAX))
        .expect("room");
    let first = queue
        .wait(Duration::MAX)
        .expect("works")
        .next()
        .expect("the nop");
    assert_eq!(first.token(), nop.erase());
    assert!(queue.cancel(never));
    assert!(next(&queue).take(never).expect("it").is_cancelled());
}

fn offset_above_the_limit_is_refused(factory: &Factory) {
    let queue = factory.queue();
    let file = std::fs::File::open("/dev/zero").expect("there");
    let file = queue.attach(file).expect("a file");
    let refused = queue.submit(op::ReadAt::new(&file, vec![0; 1], u64::MAX));
    assert!(matches!(refused, Err(SubmitError::Invalid(..))));
}
