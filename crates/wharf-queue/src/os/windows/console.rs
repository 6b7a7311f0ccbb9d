//! The console's events: Ctrl-C and its like, and the end of the session.

#![expect(unsafe_code)]
// UNSAFETY: a function is registered that the system calls on a thread of its own.

use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT,
    SetConsoleCtrlHandler,
};
use windows_sys::core::BOOL;

/// What a console, or the system, tells a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ControlEvent {
    /// Ctrl-C was typed.
    C,
    /// Ctrl-Break was typed.
    Break,
    /// The console's window is closed; the process ends some seconds later.
    Close,
    /// The user logs off; the process, a service, ends some seconds later.
    LogOff,
    /// The system shuts down; the process, a service, ends some seconds later.
    ShutDown,
}

impl ControlEvent {
    fn of(event: u32) -> Option<ControlEvent> {
        Some(match event {
            CTRL_C_EVENT => ControlEvent::C,
            CTRL_BREAK_EVENT => ControlEvent::Break,
            CTRL_CLOSE_EVENT => ControlEvent::Close,
            CTRL_LOGOFF_EVENT => ControlEvent::LogOff,
            CTRL_SHUTDOWN_EVENT => ControlEvent::ShutDown,
            _ => return None,
        })
    }

    /// Whether the process ends when the event has been handled.
    fn is_final(self) -> bool {
        match self {
            ControlEvent::C | ControlEvent::Break => false,
            ControlEvent::Close | ControlEvent::LogOff | ControlEvent::ShutDown => true,
        }
    }
}

/// What is called for an event, as a pointer; null for nothing.
static TELL: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
/// The events that are wanted, as bits.
static WANTED: AtomicU32 = AtomicU32::new(0);

unsafe extern "system" fn handle(event: u32) -> BOOL {
    let tell = TELL.load(Ordering::Acquire);
    let Some(known) = ControlEvent::of(event) else {
        return 0;
    };
    if tell.is_null() || WANTED.load(Ordering::Acquire) & 1 << event == 0 {
        return 0;
    }
    // SAFETY: only such functions are stored there.
    let tell = unsafe { std::mem::transmute::<*mut (), fn(ControlEvent)>(tell) };
    tell(known);
    if known.is_final() {
        // The process ends when this returns, or when the system has waited for long enough
        // (HandlerRoutine): the program is given that time.
        loop {
            std::thread::park();
        }
    }
    1
}

/// Calls `tell` for each event of this kind from now on, on a thread of the system's; what the event
/// would do of itself, ending the process, is not done. There is one such function in a process: a
/// later one takes the place of an earlier one for all events.
///
/// A notifier reaches a queue from there.
///
/// # Errors
/// That of the system (`SetConsoleCtrlHandler`).
pub fn on_control_event(event: ControlEvent, tell: fn(ControlEvent)) -> io::Result<()> {
    let number = match event {
        ControlEvent::C => CTRL_C_EVENT,
        ControlEvent::Break => CTRL_BREAK_EVENT,
        ControlEvent::Close => CTRL_CLOSE_EVENT,
        ControlEvent::LogOff => CTRL_LOGOFF_EVENT,
        ControlEvent::ShutDown => CTRL_SHUTDOWN_EVENT,
    };
    let before = TELL.swap(tell as *mut (), Ordering::AcqRel);
    WANTED.fetch_or(1 << number, Ordering::AcqRel);
    if !before.is_null() {
        return Ok(());
    }
    // SAFETY: the function stays; it touches nothing but the two values above.
    if unsafe { SetConsoleCtrlHandler(Some(handle), 1) } == 0 {
        TELL.store(std::ptr::null_mut(), Ordering::Release);
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn wanted_events_are_told_and_others_are_left_to_the_system() {
        static TOLD: AtomicUsize = AtomicUsize::new(0);
        let tell = |event| {
            assert_eq!(event, ControlEvent::Break);
            TOLD.fetch_add(1, Ordering::SeqCst);
        };
        on_control_event(ControlEvent::Break, tell).expect("registered");
        // SAFETY: as the system calls it.
        assert_eq!(unsafe { handle(CTRL_BREAK_EVENT) }, 1);
        // SAFETY: as the system calls it.
        assert_eq!(unsafe { handle(CTRL_C_EVENT) }, 0);
        // SAFETY: as the system calls it.
        assert_eq!(unsafe { handle(99) }, 0);
        assert_eq!(TOLD.load(Ordering::SeqCst), 1);
    }
}
