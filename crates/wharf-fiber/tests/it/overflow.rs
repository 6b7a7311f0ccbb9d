//! An overflow ends the process with a line that names the fiber, and nothing else.

#![expect(unsafe_code)]
// UNSAFETY: one test does what only unsafe code can: it writes below the end of its stack.

use wharf_fiber as fiber;

use crate::child::{child, is_child};

#[inline(never)]
fn endless(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    match depth {
        u64::MAX => 0,
        _ => endless(depth + 1).wrapping_add(frame[1]),
    }
}

#[test]
fn overflow_of_a_fiber_names_it_and_its_stack() {
    if is_child() {
        let runtime = wharf::Runtime::new().unwrap();
        fiber::block_on(&runtime, || {
            let neighbour = fiber::spawn(|| fiber::sleep(std::time::Duration::from_secs(60)));
            let deep = fiber::Builder::new().name("deep").stack_size(128 * 1024);
            let deep = deep.spawn(|| endless(0)).unwrap();
            drop((deep.join(), neighbour));
        });
        unreachable!("the process has ended");
    }
    let (status, text) = child("overflow::overflow_of_a_fiber_names_it_and_its_stack");
    assert!(!status.success());
    let line = "wharf: fiber 'deep' has overflowed its stack of 128 KiB";
    assert!(text.contains(line), "{status}: {text}");
    assert!(!text.contains("unreachable"), "{text}");
}

#[test]
fn overflow_into_several_guard_pages_names_the_fiber() {
    if is_child() {
        let runtime = wharf::Runtime::new().unwrap();
        fiber::block_on(&runtime, || {
            let careful = fiber::Builder::new().name("careful").guard_size(60_000);
            let careful = careful.stack_size(100_000);
            drop(careful.spawn(|| endless(0)).unwrap().join());
        });
        unreachable!("the process has ended");
    }
    let (status, text) = child("overflow::overflow_into_several_guard_pages_names_the_fiber");
    assert!(!status.success());
    // The stack is rounded up to pages, whose size is the system's.
    let line = "wharf: fiber 'careful' has overflowed its stack of ";
    assert!(text.contains(line), "{status}: {text}");
}

/// C code's large frame: its first access is far below the last one before.
#[test]
fn access_that_skips_guard_pages_is_an_overflow_if_there_are_more() {
    if is_child() {
        let runtime = wharf::Runtime::new().unwrap();
        fiber::block_on(&runtime, || {
            let skips = fiber::Builder::new().name("skips").guard_size(1 << 20);
            let skips = skips.spawn(|| {
                let here = 0u8;
                let below = fiber::stack_left().unwrap() + (1 << 19);
                let address = std::ptr::from_ref(&here).cast_mut().wrapping_sub(below);
                // SAFETY: the memory there is a guard page: this ends the process.
                unsafe { address.write_volatile(1) };
            });
            drop(skips.unwrap().join());
        });
        unreachable!("the process has ended");
    }
    let (status, text) =
        child("overflow::access_that_skips_guard_pages_is_an_overflow_if_there_are_more");
    assert!(!status.success());
    let line = "wharf: fiber 'skips' has overflowed its stack of 256 KiB";
    assert!(text.contains(line), "{status}: {text}");
}

#[test]
fn overflow_of_a_thread_is_reported_as_ever() {
    if is_child() {
        let runtime = wharf::Runtime::new().unwrap();
        fiber::block_on(&runtime, || ());
        let thread = std::thread::Builder::new().name("plain".into());
        drop(thread.spawn(|| endless(0)).unwrap().join());
        unreachable!("the process has ended");
    }
    let (status, text) = child("overflow::overflow_of_a_thread_is_reported_as_ever");
    assert!(!status.success());
    assert!(text.contains("thread 'plain'"), "{status}: {text}");
    assert!(!text.contains("wharf: fiber"), "{text}");
}

#[test]
fn deep_recursion_within_the_stack_is_no_overflow() {
    fn sum(number: u64) -> u64 {
        let frame = std::hint::black_box([number; 8]);
        match number {
            0 => 0,
            more => sum(more - 1) + frame[3],
        }
    }
    crate::on_each_backend(|| {
        let deep = fiber::Builder::new().stack_size(64 << 20);
        let total = deep.spawn(|| {
            let total = sum(50_000);
            fiber::yield_now();
            total
        });
        assert_eq!(total.unwrap().join().unwrap(), 50_000 * 50_001 / 2);
    });
}
