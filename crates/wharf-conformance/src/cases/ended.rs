//! Every kind of operation that can wait, ended before its time in every way: by a cancel, a close,
//! a deadline, a discard, the end of the queue (C3, C5, C6, C11, R8).

use std::time::{Duration, Instant};

use wharf_queue::{Handle, OpKind, op};

use crate::Factory;
use crate::cases::table::{Ended, make, moved};
use crate::fixture::host::{is_open, raw_of};
use crate::peer::{Dir, descriptors};
use crate::{TEARDOWN, drain, finish, look, next};

super::cases!(
    "C3" every_kind_that_waits_can_be_cancelled_and_loses_nothing,
    "C3" cancel_in_the_moment_of_the_start_is_a_cancel_whatever_the_kind,
    "R8" [alone] close_ends_every_kind_that_waits_and_consumes_nothing_later,
    "R8" close_waits_for_file_operations_and_tells_the_truth,
    "C11" deadline_ends_every_kind_that_waits_and_never_early,
    "C11" deadline_that_has_passed_ends_every_kind_at_once,
    "C6" queue_dropped_with_every_kind_in_flight_loses_nothing,
    "C1" discard_of_every_kind_leaves_the_queue_empty,
    "R17" [alone] descriptor_is_kept_while_an_operation_is_on_it,
    "R17" [alone] stale_token_does_nothing_to_a_reused_descriptor,
);

fn every_kind_that_waits_can_be_cancelled_and_loses_nothing(factory: &Factory) {
    let queue = factory.queue();
    for kind in OpKind::ALL {
        let Some(waiting) = make(kind, &queue, None) else {
            continue;
        };
        look(&queue);
        assert!(queue.cancel(waiting.token), "{kind:?}");
        let completion = next(&queue);
        assert_eq!(completion.kind(), Some(kind));
        let ended = (waiting.end)(completion);
        assert!(matches!(ended, Ended::Cancelled(_)), "{kind:?}: {ended:?}");
        (waiting.check)(moved(ended));
        assert!(!queue.cancel(waiting.token));
        assert_eq!(queue.in_flight(), 0, "{kind:?}");
    }
}

fn cancel_in_the_moment_of_the_start_is_a_cancel_whatever_the_kind(factory: &Factory) {
    let queue = factory.queue();
    for kind in OpKind::ALL {
        for round in 0..20 {
            let Some(waiting) = make(kind, &queue, None) else {
                break;
            };
            // What starts on a thread of the kernel's or the pool's has not slept yet, or just now.
            if round % 3 > 0 {
                assert_eq!(queue.wait(Duration::ZERO).expect("works").count(), 0);
            }
            (0..round).for_each(|_| std::hint::spin_loop());
            assert!(queue.cancel(waiting.token), "{kind:?}");
            let ended = (waiting.end)(next(&queue));
            assert!(matches!(ended, Ended::Cancelled(_)), "{kind:?}: {ended:?}");
            (waiting.check)(moved(ended));
        }
    }
}

fn close_ends_every_kind_that_waits_and_consumes_nothing_later(factory: &Factory) {
    let queue = factory.queue();
    for kind in OpKind::ALL {
        // A second handle can be closed under an operation as well as the first.
        for which in 0..2 {
            let Some(mut waiting) = make(kind, &queue, None) else {
                continue;
            };
            if waiting.handles.len() <= which {
                queue.discard(waiting.token);
                drain(&queue);
                continue;
            }
            look(&queue);
            let handle = waiting.handles.swap_remove(which);
            let raw = handle.raw();
            let close = queue.submit(op::Close::new(handle)).expect("room");
            let completion = next(&queue);
            assert_eq!(completion.kind(), Some(kind), "the close comes last");
            let ended = (waiting.end)(completion);
            assert!(matches!(ended, Ended::Cancelled(_)), "{kind:?}: {ended:?}");
            finish(&queue, close).into_result().expect("closed");
            assert!(!is_open(raw), "{kind:?}");
            drop(waiting.handles);
            (waiting.check)(moved(ended));
            assert_eq!(queue.in_flight(), 0, "{kind:?}");
        }
    }
}

fn close_waits_for_file_operations_and_tells_the_truth(factory: &Factory) {
    const COUNT: usize = 64;
    const LEN: usize = 16 << 10;
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("file");
    for _ in 0..20 {
        std::fs::write(&path, vec![0u8; COUNT * LEN]).expect("written");
        let mut open = std::fs::OpenOptions::new();
        let file = open.read(true).write(true).open(&path).expect("there");
        let file = queue.attach(file).expect("a file");
        let writes: Vec<_> = (0..COUNT)
            .map(|number| {
                let write = op::WriteAt::new(&file, vec![1; LEN], (number * LEN) as u64);
                queue.submit(write).expect("room")
            })
            .collect();
        for _ in 0..8 {
            let read = op::ReadAt::new(&file, vec![0; LEN], 0);
            queue.submit(read).expect("room");
            queue.submit(op::Stat::handle(&file)).expect("room");
            queue.submit(op::Sync::data(&file)).expect("room");
        }
        let close = queue.submit(op::Close::new(file)).expect("room");
        let mut written = [false; COUNT];
        loop {
            let completion = next(&queue);
            if completion.token() == close.erase() {
                break;
            }
            let token = completion.token();
            let place = writes.iter().position(|write| write.erase() == token);
            let Some(place) = place else { continue };
            let (outcome, _) = completion.take(writes[place]).expect("it");
            written[place] = match Ended::of(&outcome) {
                Ended::Completed => outcome.into_result().expect("written") == LEN,
                other => {
                    assert_eq!(moved(other), 0);
                    false
                }
            };
        }
        assert_eq!(queue.in_flight(), 0, "the close came last");
        let bytes = std::fs::read(&path).expect("there");
        for (place, &written) in written.iter().enumerate() {
            let part = &bytes[place * LEN..][..LEN];
            assert!(part.iter().all(|&byte| byte == u8::from(written)));
        }
    }
}

fn deadline_ends_every_kind_that_waits_and_never_early(factory: &Factory) {
    let queue = factory.queue();
    let timeout = Duration::from_millis(3);
    for kind in OpKind::ALL {
        if kind == OpKind::Timer {
            continue;
        }
        let before = Instant::now();
        let Some(waiting) = make(kind, &queue, Some(timeout)) else {
            continue;
        };
        let completion = next(&queue);
        assert_eq!(completion.kind(), Some(kind));
        let ended = (waiting.end)(completion);
        assert!(before.elapsed() >= timeout, "{kind:?} was early");
        assert!(matches!(ended, Ended::TimedOut(_)), "{kind:?}: {ended:?}");
        (waiting.check)(moved(ended));
    }
}

fn deadline_that_has_passed_ends_every_kind_at_once(factory: &Factory) {
    let queue = factory.queue();
    for kind in OpKind::ALL {
        if kind == OpKind::Timer {
            continue;
        }
        let Some(waiting) = make(kind, &queue, Some(Duration::ZERO)) else {
            continue;
        };
        let ended = (waiting.end)(next(&queue));
        assert!(matches!(ended, Ended::TimedOut(_)), "{kind:?}: {ended:?}");
        (waiting.check)(moved(ended));
    }
}

fn queue_dropped_with_every_kind_in_flight_loses_nothing(factory: &Factory) {
    let queue = factory.queue();
    let mut checks = Vec::new();
    for kind in OpKind::ALL {
        // What a send has moved is told by its completion only, which nobody gets here.
        let sends = [OpKind::Send, OpKind::SendVectored, OpKind::SendFile];
        if sends.contains(&kind) {
            continue;
        }
        if let Some(waiting) = make(kind, &queue, None) {
            checks.push((waiting.handles, waiting.check));
        }
    }
    look(&queue);
    let begin = Instant::now();
    drop(queue);
    assert!(begin.elapsed() < TEARDOWN);
    for (handles, check) in checks {
        assert!(handles.iter().all(|handle| handle.local_addr().is_err()));
        check(0);
    }
}

fn discard_of_every_kind_leaves_the_queue_empty(factory: &Factory) {
    let queue = factory.queue();
    for kind in OpKind::ALL {
        let Some(waiting) = make(kind, &queue, None) else {
            continue;
        };
        look(&queue);
        queue.discard(waiting.token);
        drain(&queue);
        assert_eq!(queue.stats().in_flight, 0, "{kind:?}");
    }
}

fn descriptor_is_kept_while_an_operation_is_on_it(factory: &Factory) {
    let queue = factory.queue();
    for kind in OpKind::ALL {
        let Some(mut waiting) = make(kind, &queue, None) else {
            continue;
        };
        look(&queue);
        // One that is on no handle is ended all the same, so that it does not end among the others.
        let raw = waiting.handles.first().map(Handle::raw);
        waiting.handles.clear();
        assert!(raw.is_none_or(is_open), "{kind:?}");
        queue.cancel(waiting.token);
        let ended = (waiting.end)(next(&queue));
        assert!(!raw.is_some_and(is_open), "{kind:?}");
        (waiting.check)(moved(ended));
    }
    assert!(descriptors() > 0);
}

fn stale_token_does_nothing_to_a_reused_descriptor(factory: &Factory) {
    use std::io::Write;
    let queue = factory.queue();
    let mut used_again = 0;
    for _ in 0..100 {
        let (reader, writer) = crate::fixture::pipe::pipe();
        let old = queue.attach(reader).expect("a pipe");
        let raw = old.raw();
        let read = op::Read::new(&old, vec![0; 8]);
        let stale = queue.submit(read).expect("room");
        look(&queue);
        let close = queue.submit(op::Close::new(old)).expect("room");
        assert!(finish(&queue, stale).0.is_cancelled());
        finish(&queue, close).into_result().expect("closed");
        drop(writer);
        let (reader, writer) = crate::fixture::pipe::pipe();
        if raw_of(&reader) != raw {
            continue;
        }
        used_again += 1;
        let new = queue.attach(reader).expect("a pipe");
        let token = queue.submit(op::Read::new(&new, vec![0; 8])).expect("room");
        look(&queue);
        assert!(!queue.cancel(stale));
        queue.discard(stale);
        look(&queue);
        assert!(queue.take(stale).is_none());
        let mut writer = std::fs::File::from(writer);
        writer.write_all(b"new").expect("open");
        assert_eq!(finish(&queue, token).1, b"new");
    }
    assert!(used_again > 0, "no number was used again");
}
