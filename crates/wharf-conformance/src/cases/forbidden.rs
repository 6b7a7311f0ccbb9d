//! Where io_uring is forbidden, or the process may have little: `auto` falls back and says why, a
//! backend asked for by name fails with one clear sentence, and nothing is killed (issue of the
//! queue, item 4). Real seccomp filters and real limits, each in a process of its own.

use std::io::Write;
use std::time::Duration;

use wharf_queue::{BackendKind, Queue, op, probe};

use crate::fixture::host::NULL;
use crate::fixture::limit::{self, Limit};
use crate::fixture::seccomp::{Answer, Call, forbid};
use crate::peer::pair;
use crate::{Factory, TEARDOWN, finish, next};

super::cases!(
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] io_uring_refused_by_a_filter_falls_back,
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] io_uring_unknown_to_a_filter_falls_back,
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] io_uring_that_kills_falls_back,
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] entering_refused_by_a_filter_falls_back,
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] entering_that_kills_falls_back,
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] registering_refused_by_a_filter_falls_back,
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] registering_that_kills_falls_back,
    "C9" [alone] [linux "filters and limits of this kind are Linux's"] entering_forbidden_later_is_an_error_of_the_wait,
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] filter_that_kills_is_survived_without_descriptors,
    "C8" [alone] [linux "filters and limits of this kind are Linux's"] io_uring_disabled_by_sysctl_falls_back,
    "C12" [alone] [linux "filters and limits of this kind are Linux's"] little_locked_memory_is_enough_or_explained,
    "C12" [alone] [linux "filters and limits of this kind are Linux's"] few_descriptors_are_enough_or_explained,
);

/// A queue that does a little of everything.
fn works(queue: &Queue) {
    let nop = queue.submit(op::Nop::new()).expect("room");
    finish(queue, nop).into_result().expect("nothing");
    let timer = queue.submit(op::Timer::after(Duration::from_millis(1)));
    finish(queue, timer.expect("room"))
        .into_result()
        .expect("due");
    let closure = queue.submit(op::Blocking::new(|| 7)).expect("room");
    assert_eq!(finish(queue, closure).into_result().expect("ran"), 7);
    let open = queue.submit(op::Open::new("/proc/self/exe")).expect("room");
    let file = finish(queue, open).into_result().expect("opened");
    let read = op::ReadAt::new(&file, vec![0; 4], 0);
    let read = queue.submit(read).expect("room");
    assert_eq!(finish(queue, read).1, b"\x7fELF");
    let (socket, mut peer) = pair(queue);
    let pool = queue.buf_pool().buffers(2).size(64).build();
    let pool = pool.expect("a pool");
    let multi = queue.submit(op::RecvMulti::new(&socket, &pool));
    let multi = multi.expect("room");
    peer.write_all(b"hello").expect("connected");
    let item = next(queue).take(multi).expect("it");
    assert_eq!(&*item.into_result().expect("received"), b"hello");
    queue.discard(multi);
    let notifier = queue.notifier();
    std::thread::spawn(move || notifier.notify());
    assert!(queue.wait(None).expect("works").notified());
}

/// One clear sentence: short, on one line, that names the backend and what is in the way.
fn is_a_sentence(text: &str, about: &str) {
    assert!(text.len() < 300 && !text.contains('\n'), "{text}");
    assert!(text.contains(about), "no word of {about}: {text}");
}

fn falls_back(factory: &Factory, about: &str) {
    if factory.kind == BackendKind::IoUring {
        let error = factory.builder().build().expect_err("it is forbidden");
        is_a_sentence(&error.to_string(), about);
        is_a_sentence(&error.to_string(), "io_uring");
    } else {
        works(&factory.queue());
    }
    let queue = Queue::new().expect("there is another");
    assert_eq!(queue.backend(), BackendKind::Epoll);
    is_a_sentence(queue.backend_reason(), about);
    works(&queue);
    for report in probe() {
        assert_eq!(report.available, report.kind == BackendKind::Epoll);
        if !report.available {
            is_a_sentence(&report.reason, about);
        }
    }
}

// The numbers of errno(3) that filters answer with.
const EPERM: i32 = 1;
const ENOSYS: i32 = 38;

fn io_uring_refused_by_a_filter_falls_back(factory: &Factory) {
    forbid(Call::Setup, Answer::Error(EPERM));
    falls_back(factory, "seccomp");
}

fn io_uring_unknown_to_a_filter_falls_back(factory: &Factory) {
    forbid(Call::Setup, Answer::Error(ENOSYS));
    falls_back(factory, "seccomp");
}

fn io_uring_that_kills_falls_back(factory: &Factory) {
    forbid(Call::Setup, Answer::KillProcess);
    falls_back(factory, "seccomp");
}

fn entering_refused_by_a_filter_falls_back(factory: &Factory) {
    forbid(Call::Enter, Answer::Error(EPERM));
    falls_back(factory, "seccomp");
}

fn entering_that_kills_falls_back(factory: &Factory) {
    forbid(Call::Enter, Answer::KillProcess);
    falls_back(factory, "seccomp");
}

fn registering_refused_by_a_filter_falls_back(factory: &Factory) {
    forbid(Call::Register, Answer::Error(EPERM));
    falls_back(factory, "seccomp");
}

fn registering_that_kills_falls_back(factory: &Factory) {
    forbid(Call::Register, Answer::KillProcess);
    falls_back(factory, "seccomp");
}

fn entering_forbidden_later_is_an_error_of_the_wait(factory: &Factory) {
    let queue = factory.queue();
    works(&queue);
    forbid(Call::Enter, Answer::Error(EPERM));
    queue.submit(op::Nop::new()).expect("room");
    let waited = queue.wait(Duration::from_secs(5)).map(Iterator::count);
    match factory.kind {
        BackendKind::IoUring => {
            let error = waited.expect_err("the backend itself fails");
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        }
        _ => assert_eq!(waited.expect("works"), 1),
    }
    let begin = std::time::Instant::now();
    drop(queue);
    assert!(begin.elapsed() < TEARDOWN);
}

fn filter_that_kills_is_survived_without_descriptors(factory: &Factory) {
    // Without a descriptor, what the system tells of the process cannot be read.
    let fillers = limit::leave_descriptors(0).expect("a limit");
    forbid(Call::Setup, Answer::KillProcess);
    drop(factory.builder().build().expect_err("nothing is left"));
    drop(Queue::new().expect_err("nothing is left"));
    drop(fillers);
    falls_back(factory, "seccomp");
}

fn io_uring_disabled_by_sysctl_falls_back(factory: &Factory) {
    const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";
    /// It is the whole machine's, other cases' too, so that it is not changed unasked.
    const ASKED: &str = "WHARF_CONFORMANCE_SYSCTL";
    struct Restore(String);
    impl Drop for Restore {
        fn drop(&mut self) {
            std::fs::write(SYSCTL, &self.0).expect("it was written before");
        }
    }
    // Two that restore what they found would restore each other's change: the run for io_uring alone
    // makes it, and tries the other backend with it.
    if factory.kind != BackendKind::IoUring {
        return;
    }
    if std::env::var_os(ASKED).is_none() {
        let why =
            format!("kernel.io_uring_disabled: the machine's; {ASKED}=1 sets and restores it");
        return crate::note_not_run(why);
    }
    let before = std::fs::read_to_string(SYSCTL).expect("a kernel that has it");
    if let Err(error) = std::fs::write(SYSCTL, "2") {
        return crate::note_not_run(format!("kernel.io_uring_disabled: {error}"));
    }
    let _restore = Restore(before);
    falls_back(factory, "kernel.io_uring_disabled");
}

fn little_locked_memory_is_enough_or_explained(factory: &Factory) {
    if limit::is_root() {
        limit::give_up_root().expect("root may");
    }
    limit::set(Limit::LockedMemory, 0).expect("less is allowed");
    for entries in [8, 256, 32768] {
        match factory.builder().ring_entries(entries).build() {
            Ok(queue) => works(&queue),
            Err(error) => is_a_sentence(&error.to_string(), "ulimit -l"),
        }
    }
    works(&Queue::new().expect("there is always one"));
}

fn few_descriptors_are_enough_or_explained(factory: &Factory) {
    const MOST: u64 = 8;
    let _fillers = limit::leave_descriptors(MOST).expect("a limit");
    let few = |queue: &Queue| {
        let nop = queue.submit(op::Nop::new()).expect("room");
        finish(queue, nop).into_result().expect("nothing");
        let timer = queue.submit(op::Timer::after(Duration::from_millis(1)));
        finish(queue, timer.expect("room"))
            .into_result()
            .expect("due");
        let open = queue.submit(op::Open::new(NULL)).expect("room");
        finish(queue, open).into_result().is_ok()
    };
    let mut enough = None;
    for free in 0..=MOST {
        let taken: Vec<_> = (free..MOST)
            .map(|_| std::fs::File::open(NULL).expect("free still"))
            .collect();
        match factory.builder().build() {
            Ok(queue) => {
                enough.get_or_insert(free);
                let opened = few(&queue);
                assert!(opened || free < MOST);
            }
            Err(error) => {
                assert!(enough.is_none(), "{free} are not enough: {error}");
                is_a_sentence(&error.to_string(), "ulimit -n");
            }
        }
        match Queue::new() {
            Ok(queue) => drop(few(&queue)),
            Err(error) => is_a_sentence(&error.to_string(), "ulimit -n"),
        }
        drop(taken);
    }
    assert!(enough.is_some_and(|free| free <= 3), "{enough:?}");
}
