//! What a cancel does: abort, the end of the runtime, and fibers that go on in spite of it.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use wharf_fiber as fiber;

use crate::{backends, on_each_backend, runtime};

/// Sets a flag when it is dropped.
struct Flag(Rc<Cell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn abort_unwinds_the_fiber_and_drops_what_is_on_its_stack() {
    on_each_backend(|| {
        let dropped = Rc::new(Cell::new(false));
        let flag = Flag(dropped.clone());
        let sleeper = fiber::spawn(move || {
            let _flag = flag;
            fiber::wait(pending::<()>());
        });
        fiber::yield_now();
        assert!(!dropped.get());
        sleeper.abort();
        assert!(!dropped.get(), "an abort is a request");
        assert!(sleeper.join().unwrap_err().is_cancelled());
        assert!(dropped.get());
    });
}

#[test]
fn abort_of_a_fiber_that_has_not_begun_drops_its_closure() {
    on_each_backend(|| {
        let dropped = Rc::new(Cell::new(false));
        let flag = Flag(dropped.clone());
        let fiber = fiber::spawn(move || {
            let _flag = flag;
            unreachable!("it was aborted before");
        });
        fiber.abort();
        assert!(fiber.join().unwrap_err().is_cancelled());
        assert!(dropped.get());
    });
}

#[test]
fn abort_of_a_fiber_that_has_ended_is_a_no_op() {
    on_each_backend(|| {
        let fiber = fiber::spawn(|| 3);
        fiber::yield_now();
        fiber::yield_now();
        assert!(fiber.is_finished());
        fiber.abort();
        assert_eq!(fiber.join().unwrap(), 3);
    });
}

#[test]
fn abort_by_itself_takes_effect_at_the_next_wait() {
    on_each_backend(|| {
        let handle = Rc::new(RefCell::new(None::<wharf::task::AbortHandle>));
        let own = handle.clone();
        let reached = Rc::new(Cell::new(0));
        let progress = reached.clone();
        let fiber = fiber::spawn(move || {
            own.borrow().as_ref().unwrap().abort();
            progress.set(1);
            fiber::wait(async {});
            progress.set(2);
            fiber::wait(pending::<()>());
            progress.set(3);
        });
        *handle.borrow_mut() = Some(fiber.abort_handle());
        assert!(fiber.join().unwrap_err().is_cancelled());
        assert_eq!(reached.get(), 2);
    });
}

#[test]
fn fiber_that_returns_in_spite_of_its_cancel_gives_its_output() {
    on_each_backend(|| {
        let fiber = fiber::spawn(|| {
            let first = fiber::try_wait(pending::<()>()).is_err();
            assert!(fiber::is_cancelled());
            // What is ready is still done; what is not fails at once.
            let ready = fiber::try_wait(async { 1 });
            let second = fiber::try_wait(wharf::time::sleep(Duration::from_secs(3600))).is_err();
            (first, ready, second)
        });
        fiber::yield_now();
        fiber.abort();
        assert_eq!(fiber.join().unwrap(), (true, Ok(1), true));
    });
}

#[test]
fn fiber_that_catches_its_unwinding_is_unwound_by_each_later_wait() {
    on_each_backend(|| {
        let unwound = Rc::new(Cell::new(0));
        let counter = unwound.clone();
        let fiber = fiber::spawn(move || {
            for _ in 0..100 {
                let caught = catch_unwind(AssertUnwindSafe(|| fiber::wait(pending::<()>())));
                assert!(caught.is_err());
                counter.set(counter.get() + 1);
            }
            "stubborn"
        });
        fiber::yield_now();
        fiber.abort();
        assert_eq!(fiber.join().unwrap(), "stubborn");
        assert_eq!(unwound.get(), 100);
    });
}

#[test]
fn wait_that_is_ready_when_the_cancel_comes_gives_its_output() {
    on_each_backend(|| {
        let (sender, receiver) = wharf::sync::channel::bounded::<u8>(1);
        let fiber = fiber::spawn(move || fiber::try_wait(receiver.recv()));
        fiber::yield_now();
        fiber.abort();
        sender.try_send(9).unwrap();
        assert_eq!(fiber.join().unwrap(), Ok(Ok(9)));
    });
}

#[test]
fn destructor_may_try_to_wait_while_a_panic_unwinds_the_fiber() {
    struct Waits(Rc<RefCell<Vec<bool>>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let ready = fiber::try_wait(async {}).is_ok();
            let pending = fiber::try_wait(pending::<()>()).is_ok();
            self.0.borrow_mut().extend([ready, pending]);
        }
    }
    on_each_backend(|| {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let waits = Waits(seen.clone());
        let fiber = fiber::spawn(move || -> () {
            let _waits = waits;
            fiber::yield_now();
            panic!("with a destructor that waits")
        });
        assert!(fiber.join().unwrap_err().is_panic());
        assert_eq!(*seen.borrow(), [true, false]);
    });
}

#[test]
fn drop_of_the_runtime_unwinds_every_fiber() {
    for backend in backends() {
        let runtime = runtime(backend);
        let dropped: Vec<_> = (0..100).map(|_| Rc::new(Cell::new(false))).collect();
        let flags: Vec<_> = dropped.iter().cloned().map(Flag).collect();
        fiber::block_on(&runtime, move || {
            for (number, flag) in flags.into_iter().enumerate() {
                drop(fiber::spawn(move || {
                    let _flag = flag;
                    match number % 3 {
                        0 => fiber::wait(pending::<()>()),
                        1 => fiber::sleep(Duration::from_secs(3600)),
                        _ => loop {
                            fiber::yield_now();
                        },
                    }
                }));
            }
            fiber::yield_now();
        });
        assert!(dropped.iter().all(|dropped| !dropped.get()));
        drop(runtime);
        assert!(dropped.iter().all(|dropped| dropped.get()));
        assert_eq!(fiber::stats().alive, 0);
    }
}

#[test]
fn drop_of_the_runtime_while_the_thread_panics_unwinds_every_fiber() {
    for backend in backends() {
        let dropped = Rc::new(Cell::new(false));
        let flag = Flag(dropped.clone());
        let poisoned = Rc::new(Cell::new(None));
        let seen = poisoned.clone();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let runtime = runtime(backend);
            fiber::block_on(&runtime, move || {
                drop(fiber::spawn(move || {
                    let _flag = flag;
                    let cancelled = fiber::try_wait(pending::<()>()).is_err();
                    // A panic of its own, caught within it, while the thread unwinds.
                    let inner = catch_unwind(|| panic!("inner")).is_err();
                    seen.set(Some((cancelled, inner)));
                }));
                fiber::yield_now();
            });
            panic!("outer");
        }));
        assert!(panicked.is_err());
        assert_eq!(poisoned.get(), Some((true, true)));
        assert!(dropped.get());
    }
}

#[test]
fn abort_from_another_thread_reaches_the_fiber() {
    on_each_backend(|| {
        let fiber = fiber::spawn(|| fiber::try_wait(pending::<()>()).is_err());
        let abort = fiber.abort_handle();
        fiber::yield_now();
        std::thread::spawn(move || abort.abort()).join().unwrap();
        assert!(fiber.join().unwrap());
    });
}
