//! Fibers that borrow from the one that spawned them.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use wharf_fiber as fiber;

use crate::on_each_backend;

#[test]
fn scope_waits_for_fibers_that_borrow_and_change_its_surroundings() {
    on_each_backend(|| {
        let mut parts = [1u32, 2, 3, 4];
        let sum = Cell::new(0);
        fiber::scope(|s| {
            for part in &mut parts {
                s.spawn(|| {
                    fiber::yield_now();
                    *part *= 10;
                    sum.set(sum.get() + *part);
                });
            }
        });
        assert_eq!((parts, sum.get()), ([10, 20, 30, 40], 100));
    });
}

#[test]
fn fiber_of_a_scope_spawns_in_the_same_scope() {
    on_each_backend(|| {
        let count = Cell::new(0);
        fiber::scope(|s| {
            s.spawn(|| {
                fiber::yield_now();
                for _ in 0..3 {
                    s.spawn(|| {
                        fiber::yield_now();
                        count.set(count.get() + 1);
                    });
                }
            });
        });
        assert_eq!(count.get(), 3);
    });
}

#[test]
fn panic_of_the_scope_waits_for_its_fibers() {
    on_each_backend(|| {
        let finished = Cell::new(false);
        let result = catch_unwind(AssertUnwindSafe(|| {
            fiber::scope(|s| {
                s.spawn(|| {
                    (0..5).for_each(|_| fiber::yield_now());
                    finished.set(true);
                });
                panic!("of the scope");
            })
        }));
        let payload = result.unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"of the scope"));
        assert!(finished.get());
    });
}

#[test]
fn panic_of_a_fiber_that_nobody_joins_is_the_scopes() {
    on_each_backend(|| {
        let other = Cell::new(false);
        let result = catch_unwind(AssertUnwindSafe(|| {
            fiber::scope(|s| {
                drop(s.spawn(|| panic!("unheard")));
                s.spawn(|| {
                    fiber::yield_now();
                    fiber::yield_now();
                    other.set(true);
                });
            });
        }));
        assert!(result.is_err() && other.get());
        // The handle lives longer than the fiber, and is not joined either.
        let result = catch_unwind(AssertUnwindSafe(|| {
            fiber::scope(|s| {
                let unjoined = s.spawn(|| panic!("unheard"));
                while !unjoined.is_finished() {
                    fiber::yield_now();
                }
            });
        }));
        assert!(result.is_err());
    });
}

#[test]
fn panic_of_a_fiber_that_is_joined_is_not_the_scopes() {
    on_each_backend(|| {
        let text = String::from("borrowed");
        let message = fiber::scope(|s| {
            let failed = s.spawn(|| panic!("about what is {text}"));
            let error = failed.join().unwrap_err();
            error.to_string()
        });
        assert_eq!(message, "the task panicked: about what is borrowed");
    });
}

#[test]
fn cancel_of_the_fiber_cancels_those_of_its_scope_and_waits_for_them() {
    on_each_backend(|| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let seen = order.clone();
        let parent = fiber::spawn(move || {
            let borrowed = String::from("frame of the parent");
            struct AtEnd<'a>(&'a RefCell<Vec<String>>);
            impl Drop for AtEnd<'_> {
                fn drop(&mut self) {
                    self.0.borrow_mut().push("parent".into());
                }
            }
            let _at_end = AtEnd(&seen);
            fiber::scope(|s| {
                for _ in 0..2 {
                    s.spawn(|| {
                        let cancelled = fiber::try_wait(pending::<()>()).is_err();
                        seen.borrow_mut().push(format!("{borrowed} {cancelled}"));
                    });
                }
            });
        });
        (0..3).for_each(|_| fiber::yield_now());
        parent.abort();
        // The scope itself had nothing more to wait for than its fibers, and they have ended.
        assert!(parent.join().is_ok());
        assert_eq!(
            *order.borrow(),
            [
                "frame of the parent true",
                "frame of the parent true",
                "parent"
            ]
        );
    });
}

#[test]
fn cancel_within_the_scopes_closure_cancels_its_fibers() {
    on_each_backend(|| {
        let count = Rc::new(Cell::new(0));
        let counter = count.clone();
        let parent = fiber::spawn(move || {
            fiber::scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        assert!(fiber::try_wait(pending::<()>()).is_err());
                        counter.set(counter.get() + 1);
                    });
                }
                fiber::wait(pending::<()>());
            });
        });
        fiber::yield_now();
        parent.abort();
        assert!(parent.join().unwrap_err().is_cancelled());
        assert_eq!(count.get(), 3);
    });
}

#[test]
fn runtime_that_ends_waits_for_nested_scopes() {
    for backend in crate::backends() {
        let runtime = crate::runtime(backend);
        let log = Rc::new(RefCell::new(Vec::new()));
        let inner = log.clone();
        fiber::block_on(&runtime, move || {
            drop(fiber::spawn(move || {
                fiber::scope(|outer| {
                    outer.spawn(|| {
                        fiber::scope(|s| {
                            s.spawn(|| {
                                assert!(fiber::try_wait(pending::<()>()).is_err());
                                inner.borrow_mut().push("innermost");
                            });
                        });
                        inner.borrow_mut().push("inner");
                    });
                });
                inner.borrow_mut().push("outer");
            }));
            (0..5).for_each(|_| fiber::yield_now());
        });
        drop(runtime);
        assert_eq!(*log.borrow(), ["innermost", "inner", "outer"]);
    }
}
