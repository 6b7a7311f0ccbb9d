//! Where fibers end or begin in odd places: in destructors, on stacks that are nearly used up, before
//! they have run, in very great numbers.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use wharf_fiber as fiber;

use crate::child::{child, is_child};
use crate::{backends, on_each_backend, pair};

/// Calls a function when it is dropped.
struct AtDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_hundred_thousand_fibers_end_with_their_runtime() {
    // Before Linux 6.13 they use up the memory mappings of their process.
    if !is_child() {
        let (status, text) = child("edges::a_hundred_thousand_fibers_end_with_their_runtime");
        assert!(status.success(), "{status}: {text}");
        return;
    }
    // Windows commits the pages that a stack keeps for handlers of an overflow.
    let wanted = if cfg!(windows) { 5_000 } else { 100_000 };
    for backend in backends() {
        let builder = wharf::Runtime::builder().backend(backend);
        // Of a machine that has other work to do.
        let builder = builder.teardown_timeout(Duration::from_secs(60));
        let runtime = builder.build().unwrap();
        let unwound = Rc::new(Cell::new(0));
        let counter = unwound.clone();
        let spawned = fiber::block_on(&runtime, move || {
            let mut spawned = 0;
            while spawned < wanted {
                let counter = counter.clone();
                let small = fiber::Builder::new().stack_size(8 * 1024);
                let fiber = small.spawn(move || {
                    let _count = AtDrop(|| counter.set(counter.get() + 1));
                    fiber::wait(pending::<()>());
                });
                if fiber.is_err() {
                    break;
                }
                spawned += 1;
                if spawned % 1000 == 0 {
                    fiber::yield_now();
                }
            }
            fiber::yield_now();
            spawned
        });
        assert!(spawned >= wanted.min(20_000), "{spawned}");
        assert_eq!(unwound.get(), 0);
        drop(runtime);
        assert_eq!(unwound.get(), spawned);
    }
}

#[test]
fn destructor_spawns_fibers_while_its_own_unwinds() {
    on_each_backend(|| {
        for panics in [false, true] {
            let (sender, receiver) = wharf::sync::channel::unbounded();
            let victim = fiber::spawn(move || {
                let _spawns = AtDrop(|| {
                    let sender = sender.clone();
                    drop(fiber::spawn(move || {
                        fiber::yield_now();
                        sender.try_send("by a destructor").unwrap();
                    }));
                });
                fiber::yield_now();
                match panics {
                    true => panic!("with a destructor that spawns"),
                    false => fiber::wait(pending::<()>()),
                }
            });
            (0..3).for_each(|_| fiber::yield_now());
            victim.abort();
            assert_eq!(victim.join().unwrap_err().is_panic(), panics);
            assert_eq!(fiber::wait(receiver.recv()).unwrap(), "by a destructor");
        }
    });
}

#[test]
fn scope_in_a_destructor_spawns_nothing_while_the_fiber_unwinds() {
    on_each_backend(|| {
        let refused = Rc::new(Cell::new(None));
        let seen = refused.clone();
        let victim = fiber::spawn(move || {
            let _scope = AtDrop(|| {
                let text = String::from("borrowed");
                let kind = fiber::scope(|s| {
                    let spawned = s.spawn_with(fiber::Builder::new(), || text.len());
                    spawned.map(|_| ()).map_err(|error| error.kind())
                });
                seen.set(Some(kind.is_err()));
            });
            fiber::yield_now();
            panic!("with a scope in a destructor");
        });
        assert!(victim.join().unwrap_err().is_panic());
        assert_eq!(refused.get(), Some(true));
    });
}

/// Calls `f` when less than `left` bytes of the stack are left.
#[inline(never)]
fn descend<R>(left: usize, f: &mut dyn FnMut() -> R) -> R {
    let frame = std::hint::black_box([1u8; 256]);
    if fiber::stack_left().unwrap() < left {
        return f();
    }
    let result = descend(left, f);
    std::hint::black_box(&frame);
    result
}

#[test]
fn fiber_waits_and_unwinds_close_to_the_end_of_its_stack() {
    on_each_backend(|| {
        // Room for the message of a panic, which the standard library formats on this stack.
        const LEFT: usize = 48 * 1024;
        let (client, mut server) = pair();
        let deep = fiber::spawn(move || {
            let mut rounds = 0;
            let caught = catch_unwind(AssertUnwindSafe(|| {
                descend(LEFT, &mut || {
                    rounds += 1;
                    fiber::sleep(Duration::from_millis(1));
                    (&client).write_all(b"from the depth").unwrap();
                    assert_eq!(fiber::spawn(|| 7).join().unwrap(), 7);
                    panic!("at the end of the stack");
                })
            }));
            assert!(caught.is_err());
            // Now a cancel comes there.
            descend(LEFT, &mut || fiber::wait(pending::<()>()));
            rounds
        });
        let mut bytes = [0; 14];
        server.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"from the depth");
        (0..20).for_each(|_| fiber::yield_now());
        assert!(!deep.is_finished());
        deep.abort();
        assert!(deep.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn what_is_dropped_outside_of_fibers_writes_what_it_has_kept() {
    on_each_backend(|| {
        // A fiber that has not begun is aborted: its closure is dropped, and with it the writer.
        let (client, mut server) = pair();
        let mut kept = BufWriter::new(client);
        kept.write_all(b"not begun").unwrap();
        let fiber = fiber::spawn(move || drop(kept));
        fiber.abort();
        assert!(fiber.join().unwrap_err().is_cancelled());
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "not begun");
        // A fiber returns a writer, and nobody takes it.
        let (client, mut server) = pair();
        drop(fiber::spawn(move || {
            let mut kept = BufWriter::new(client);
            kept.write_all(b"not taken").unwrap();
            kept
        }));
        text.clear();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "not taken");
    });
}

#[test]
fn destructor_writes_although_the_budget_of_its_fiber_is_used_up() {
    on_each_backend(|| {
        // Somewhere between these the budget ends.
        for reads in 100..150 {
            let (client, mut server) = pair();
            server.write_all(&[1; 200]).unwrap();
            let panics = fiber::spawn(move || {
                let mut kept = BufWriter::new(&client);
                kept.write_all(b"kept").unwrap();
                for _ in 0..reads {
                    (&client).read_exact(&mut [0]).unwrap();
                }
                panic!("with something to write");
            });
            assert!(panics.join().unwrap_err().is_panic());
            let mut text = String::new();
            server.read_to_string(&mut text).unwrap();
            assert_eq!(text, "kept", "after {reads} reads");
        }
    });
}

#[test]
fn closure_that_panics_when_it_is_dropped_ends_its_fiber_alone() {
    on_each_backend(|| {
        let bad = AtDrop(|| panic!("in the drop of a closure"));
        let fiber = fiber::spawn(move || drop(bad));
        fiber.abort();
        assert!(fiber.join().unwrap_err().is_panic());
        assert_eq!(fiber::spawn(|| 1).join().unwrap(), 1);
    });
}

#[test]
fn fibers_of_a_scope_abort_their_parent_and_each_other() {
    on_each_backend(|| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let seen = log.clone();
        let parent_abort = Rc::new(RefCell::new(None::<wharf::task::AbortHandle>));
        let to_abort = parent_abort.clone();
        let parent = fiber::spawn(move || {
            let frame = String::from("frame");
            let (frame, seen, to_abort) = (&frame, &seen, &to_abort);
            fiber::scope(|s| {
                let sibling = s.spawn(|| {
                    let cancelled = fiber::try_wait(pending::<()>()).is_err();
                    seen.borrow_mut().push((frame.len(), "sibling", cancelled));
                    panic!("after its cancel");
                });
                let stubborn = s.spawn(|| {
                    let cancelled = fiber::try_wait(pending::<()>()).is_err();
                    seen.borrow_mut().push((frame.len(), "stubborn", cancelled));
                });
                s.spawn(move || {
                    fiber::yield_now();
                    sibling.abort();
                    to_abort.borrow().as_ref().unwrap().abort();
                    seen.borrow_mut().push((frame.len(), "aborts", false));
                });
                stubborn.join()
            })
            .map_err(|error| error.is_panic())
        });
        *parent_abort.borrow_mut() = Some(parent.abort_handle());
        let ended = parent.join();
        let mut log = log.borrow().clone();
        log.sort_unstable();
        let expected = [
            (5, "aborts", false),
            (5, "sibling", true),
            (5, "stubborn", true),
        ];
        assert_eq!(log, expected);
        assert!(ended.is_err());
    });
}
