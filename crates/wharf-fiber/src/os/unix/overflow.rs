//! The report of an overflow, on Unix: a line that names the fiber, then the end of the process.
//!
//! Owns the signal handler, and an alternate stack for threads that have none: the handler cannot run
//! on the stack that is used up. Faults that are no overflow of a fiber go to the handler that was
//! there before, which is the standard library's most often.

#![expect(unsafe_code)]
// UNSAFETY: signal handlers and their stacks have no safe interface: sigaction(2), sigaltstack(2).

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Once, OnceLock};

use crate::os::overflow_line;
use crate::switch::{self, Control};

/// An access to a guard page is one of these, depending on the system.
const SIGNALS: [libc::c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// What was done about each of [`SIGNALS`] before.
static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();

/// Bytes of an alternate stack: the handler formats one line.
const ALTERNATE_SIZE: usize = 64 * 1024;

/// An alternate stack that was made for a thread.
struct Alternate {
    memory: Cell<*mut u8>,
}

thread_local! {
    static ALTERNATE: Alternate = const { Alternate { memory: Cell::new(ptr::null_mut()) } };
}

impl Drop for Alternate {
    fn drop(&mut self) {
        let memory = self.memory.get();
        if memory.is_null() {
            return;
        }
        let disable = libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: ALTERNATE_SIZE,
        };
        // SAFETY: it disables the stack that this thread was given; the old one is not asked for.
        let disabled = unsafe { libc::sigaltstack(&disable, ptr::null_mut()) };
        if disabled == 0 {
            let slice = ptr::slice_from_raw_parts_mut(memory, ALTERNATE_SIZE);
            // SAFETY: it was made by `Box::into_raw`, and nothing runs on it any more.
            drop(unsafe { Box::from_raw(slice) });
        }
    }
}

/// Sees to it that an overflow of a fiber on this thread is reported. It costs a look into a
/// thread-local value when it was done before.
pub(crate) fn report_overflows() {
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if !DONE.replace(true) {
        install();
        give_alternate_stack();
    }
}

fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = SIGNALS.map(current_action);
        // The handler finds them there.
        let _first = PREVIOUS.set(previous);
        for signal in SIGNALS {
            // SAFETY: all zeros is a valid `sigaction`: the default action, an empty mask, no flags.
            let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                handle;
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: the handler is one of three arguments, as SA_SIGINFO asks; the mask is empty.
            // If it fails, there is no report, and the guard page still is.
            let _installed = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        }
    });
}

fn current_action(signal: libc::c_int) -> libc::sigaction {
    // SAFETY: as in `install`.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: it only asks, and writes to `action`; a failure leaves the default there.
    let _asked = unsafe { libc::sigaction(signal, ptr::null(), &mut action) };
    action
}

/// Threads of the standard library have one; those of others may not.
fn give_alternate_stack() {
    // SAFETY: all zeros is a valid `stack_t`.
    let mut current: libc::stack_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: it only asks, and writes to `current`.
    let asked = unsafe { libc::sigaltstack(ptr::null(), &mut current) };
    if asked != 0 || current.ss_flags & libc::SS_DISABLE == 0 {
        return;
    }
    let memory = Box::into_raw(vec![0u8; ALTERNATE_SIZE].into_boxed_slice()).cast::<u8>();
    let stack = libc::stack_t {
        ss_sp: memory.cast(),
        ss_flags: 0,
        ss_size: ALTERNATE_SIZE,
    };
    // SAFETY: the memory is of this size, and stays until `Alternate` has disabled it.
    let given = unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
    let kept = ALTERNATE.try_with(|alternate| alternate.memory.set(memory));
    if given != 0 && kept.is_ok() {
        ALTERNATE.with(|alternate| alternate.memory.set(ptr::null_mut()));
        let slice = ptr::slice_from_raw_parts_mut(memory, ALTERNATE_SIZE);
        // SAFETY: made by `Box::into_raw` above, and the system has refused it.
        drop(unsafe { Box::from_raw(slice) });
    }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system gives a valid record to a handler with SA_SIGINFO.
    let info_ref = unsafe { &*info };
    // SAFETY: for these signals the record has an address.
    let fault = unsafe { info_ref.si_addr() }.addr();
    switch::with_active(|control| match control {
        Some(control) if control.guard().contains(&fault) => report(control),
        _ => {}
    });
    pass_on(signal, info, context);
}

/// Prints what has happened, and ends the process: only calls that a signal handler may make.
fn report(control: &Control) -> ! {
    let line = overflow_line(control);
    // SAFETY: the bytes are those of the line. That it may fail changes nothing.
    let _written = unsafe { libc::write(2, line.bytes.as_ptr().cast(), line.len) };
    // SAFETY: it may be called in a signal handler, and ends the process.
    unsafe { libc::abort() }
}

/// Does what was done about the signal before.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = SIGNALS.iter().position(|one| *one == signal);
    let (Some(index), Some(previous)) = (index, PREVIOUS.get()) else {
        return;
    };
    let action = previous[index];
    match action.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The access is repeated when this returns, and then has its usual end.
            // SAFETY: it puts back what the system gave.
            let _restored = unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        }
        handler if action.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: with SA_SIGINFO it is a handler of three arguments.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO it is a handler of one argument.
            let handler =
                unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
            handler(signal);
        }
    }
}
