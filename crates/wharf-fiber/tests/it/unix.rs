//! What only Unix has: stacks of fibers in what it does with memory (forks, mappings, guard pages that are
//! used again), and sockets for datagrams with names.

#![expect(unsafe_code)]
// UNSAFETY: fork(2) has no safe wrapper.

use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use wharf::net::Address;
use wharf_fiber as fiber;
use wharf_fiber::net::UnixDatagram;

use crate::child::{child, is_child};
use crate::{on_each_backend, runtime};

/// Uses up the stack until so many bytes are left of it; how many frames it took.
#[inline(never)]
fn dig(left: usize) -> usize {
    let frame = std::hint::black_box([1u8; 512]);
    match fiber::stack_left() > Some(left) {
        true => dig(left) + usize::from(frame[17]),
        false => 0,
    }
}

/// Uses up the stack, and ends the process.
#[inline(never)]
fn overflow(depth: usize) -> usize {
    let frame = std::hint::black_box([depth; 64]);
    match depth {
        usize::MAX => 0,
        _ => overflow(depth + 1).wrapping_add(frame[1]),
    }
}

/// How many mappings the process has, where the system tells.
fn mappings() -> Option<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    Some(maps.lines().count())
}

#[test]
fn command_is_started_from_a_fiber_with_either_library() {
    on_each_backend(|| {
        for _ in 0..8 {
            let status = fiber::spawn(|| Command::new("true").status().unwrap());
            let ours = fiber::spawn(|| {
                fiber::wait(async { wharf::process::Command::new("true").status().await }).unwrap()
            });
            assert!(status.join().unwrap().success());
            assert!(ours.join().unwrap().success());
        }
    });
}

#[test]
fn fork_in_a_fiber_has_the_stack_and_its_guard() {
    if is_child() {
        let runtime = wharf::Runtime::new().unwrap();
        fiber::block_on(&runtime, || {
            let kept = 4711;
            let forked = fiber::Builder::new().name("forked").stack_size(256 * 1024);
            let forked = forked.spawn(move || {
                for overflows in [false, true] {
                    // SAFETY: the child looks at its own stack alone, and ends without a destructor.
                    let process = unsafe { libc::fork() };
                    if process == 0 {
                        let dug = dig(30_000);
                        if overflows {
                            overflow(0);
                        }
                        let is_right = dug > 40 && kept == 4711;
                        // SAFETY: it ends the process.
                        unsafe { libc::_exit(if is_right { 7 } else { 1 }) };
                    }
                    let mut status = 0;
                    // SAFETY: the status is valid for writing.
                    let waited = unsafe { libc::waitpid(process, &raw mut status, 0) };
                    assert_eq!(waited, process);
                    match overflows {
                        false => assert_eq!(libc::WEXITSTATUS(status), 7),
                        true => assert!(libc::WIFSIGNALED(status), "{status}"),
                    }
                }
                // The parent's stack is as it was.
                dig(30_000)
            });
            assert!(forked.unwrap().join().unwrap() > 40);
        });
        return;
    }
    let (status, text) = child("unix::fork_in_a_fiber_has_the_stack_and_its_guard");
    assert!(status.success(), "{status}: {text}");
    assert!(text.contains("fiber 'forked' has overflowed"), "{text}");
}

#[test]
fn stack_that_is_used_again_has_its_guard() {
    if is_child() {
        let runtime = wharf::Runtime::new().unwrap();
        fiber::block_on(&runtime, || {
            let first = fiber::Builder::new().stack_size(128 * 1024);
            for left in [100_000, 20_000, 100_000] {
                let first = first.clone().spawn(move || dig(left)).unwrap();
                first.join().unwrap();
                assert!(fiber::stats().stack_high_water > Some(0));
            }
            let pooled = fiber::stats().pooled;
            let again = first.name("again").spawn(|| overflow(0)).unwrap();
            assert_eq!(fiber::stats().pooled, pooled - 1);
            drop(again.join());
        });
        unreachable!("the process has ended");
    }
    let (status, text) = child("unix::stack_that_is_used_again_has_its_guard");
    assert!(!status.success());
    let line = "wharf: fiber 'again' has overflowed its stack of 128 KiB";
    assert!(text.contains(line), "{status}: {text}");
}

#[test]
fn stacks_of_all_sizes_share_a_pool_and_stay_what_they_are() {
    const SIZES: [usize; 4] = [16 * 1024, 64 * 1024, 256 * 1024, 1 << 20];
    on_each_backend(|| {
        fiber::set_pool_limit(5);
        for round in 0..40 {
            let fibers: Vec<_> = (0..12)
                .map(|number| {
                    let size = SIZES[(round * 7 + number * 3) % SIZES.len()];
                    let sized = fiber::Builder::new().stack_size(size);
                    let sized = sized.spawn(move || {
                        let left = fiber::stack_left().unwrap();
                        assert!(left <= size && left > size - 12_000, "{left} of {size}");
                        fiber::yield_now();
                        dig(8000)
                    });
                    sized.unwrap()
                })
                .collect();
            for one in fibers {
                one.join().unwrap();
            }
            assert!(fiber::stats().pooled <= 5);
        }
        fiber::set_pool_limit(0);
        assert_eq!(fiber::stats().pooled, 0);
    });
}

#[test]
fn waves_of_fibers_leave_no_more_mappings_than_the_pool_keeps() {
    /// How many stacks are kept.
    const KEPT: usize = 100;
    /// What has nothing to do with stacks: the heap grows.
    const OTHERS: usize = 40;
    if is_child() {
        for backend in crate::backends() {
            fiber::block_on(&runtime(backend), move || {
                fiber::set_pool_limit(KEPT);
                fiber::spawn(|| ()).join().unwrap();
                let Some(before) = mappings() else { return };
                for wave in [5000, 10, 5000, 10] {
                    let fibers: Vec<_> = (0..wave)
                        .map(|_| fiber::spawn(|| fiber::yield_now()))
                        .collect();
                    fiber::yield_now();
                    // A stack is two mappings at most: itself, and its guard.
                    let most = before + 2 * (wave + KEPT) + OTHERS;
                    assert!(mappings().unwrap() <= most);
                    for one in fibers {
                        one.join().unwrap();
                    }
                    assert!(fiber::stats().pooled <= KEPT);
                    let kept = mappings().unwrap();
                    eprintln!("{backend}: {before} mappings, {kept} after {wave}");
                    assert!(kept <= before + 2 * KEPT + OTHERS, "{kept}");
                }
                fiber::set_pool_limit(0);
                let left = mappings().unwrap();
                assert!(left <= before + OTHERS, "{left} after {before}");
            });
        }
        return;
    }
    let test = "unix::waves_of_fibers_leave_no_more_mappings_than_the_pool_keeps";
    let (status, text) = child(test);
    assert!(status.success(), "{status}: {text}");
    eprintln!("{text}");
}

#[test]
fn datagrams_go_by_name_in_order_and_none_is_lost_by_a_timeout_or_an_abort() {
    on_each_backend(|| {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        let server = UnixDatagram::bind(&here).unwrap();
        let client = UnixDatagram::bind(&there).unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let mut buf = [0; 8];
        let late = server.recv(&mut buf).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        server.set_read_timeout(None).unwrap();
        let again = server.try_clone().unwrap();
        let aborted = fiber::spawn(move || again.recv(&mut [0; 8]));
        fiber::yield_now();
        aborted.abort();
        assert!(!matches!(aborted.join(), Ok(Ok(_))));
        client.connect(&here).unwrap();
        for number in 0..100_u8 {
            client.send(&[number; 3]).unwrap();
            let (len, from) = server.recv_from(&mut buf).unwrap();
            assert_eq!(buf[..len], [number; 3]);
            let by_name = matches!(&from, Address::Unix(from) if from.path() == Some(&there));
            assert!(by_name, "{from:?}");
            // What does not fit is gone.
            server.send_to(&[number; 20], &there).unwrap();
            assert_eq!(client.recv(&mut buf).unwrap(), 8);
        }
        let nobody = UnixDatagram::unbound().unwrap();
        nobody.send_to(b"x", &here).unwrap();
        assert_eq!(server.recv(&mut buf).unwrap(), 1);
    });
}
