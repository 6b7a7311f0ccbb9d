//! How signals are caught: on Unix by `signal-hook`, whose handlers only set a flag and write to a
//! pipe, and a thread that reads that pipe; on Windows by the console's events.
//!
//! Owns the thread. What a signal means to whom is the registry's matter.

#[cfg(unix)]
mod unix {
    use std::io;
    use std::sync::{Mutex, PoisonError};
    use std::thread;

    use signal_hook::consts::{FORBIDDEN, signal};
    use signal_hook::iterator::{Handle, Signals};

    pub(in crate::signal) const ALARM: i32 = signal::SIGALRM;
    pub(in crate::signal) const CHILD: i32 = signal::SIGCHLD;
    pub(in crate::signal) const HANGUP: i32 = signal::SIGHUP;
    pub(in crate::signal) const INTERRUPT: i32 = signal::SIGINT;
    pub(in crate::signal) const PIPE: i32 = signal::SIGPIPE;
    pub(in crate::signal) const QUIT: i32 = signal::SIGQUIT;
    pub(in crate::signal) const TERMINATE: i32 = signal::SIGTERM;
    pub(in crate::signal) const USER_DEFINED_1: i32 = signal::SIGUSR1;
    pub(in crate::signal) const USER_DEFINED_2: i32 = signal::SIGUSR2;
    pub(in crate::signal) const WINDOW_CHANGE: i32 = signal::SIGWINCH;

    /// What `signal-hook` has places for; it panics beyond. No system has as many signals.
    const LIMIT: i32 = 128;

    static THREAD: Mutex<Option<Handle>> = Mutex::new(None);

    /// Catches a signal from now on; `tell` is called for each, on a thread of its own.
    ///
    /// # Errors
    /// `InvalidInput` if it cannot be caught; that of the system.
    pub(in crate::signal) fn catch(signal: i32, tell: fn(i32)) -> io::Result<()> {
        if FORBIDDEN.contains(&signal) || !(1..LIMIT).contains(&signal) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this signal cannot be caught",
            ));
        }
        let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = match &*thread {
            Some(handle) => handle,
            None => thread.insert(start(tell)?),
        };
        handle.add_signal(signal)
    }

    fn start(tell: fn(i32)) -> io::Result<Handle> {
        let mut signals = Signals::new::<[i32; 0], i32>([])?;
        let handle = signals.handle();
        let builder = thread::Builder::new().name("wharf-signals".to_owned());
        builder.spawn(move || signals.forever().for_each(tell))?;
        Ok(handle)
    }
}

#[cfg(windows)]
mod windows {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use wharf_queue::os::windows::{ControlEvent, on_control_event};

    pub(in crate::signal) const ALARM: i32 = 14;
    pub(in crate::signal) const CHILD: i32 = 17;
    pub(in crate::signal) const HANGUP: i32 = 1;
    pub(in crate::signal) const INTERRUPT: i32 = 2;
    pub(in crate::signal) const PIPE: i32 = 13;
    pub(in crate::signal) const QUIT: i32 = 3;
    pub(in crate::signal) const TERMINATE: i32 = 15;
    pub(in crate::signal) const USER_DEFINED_1: i32 = 10;
    pub(in crate::signal) const USER_DEFINED_2: i32 = 12;
    pub(in crate::signal) const WINDOW_CHANGE: i32 = 28;

    static TELL: Mutex<Option<fn(i32)>> = Mutex::new(None);

    /// Ctrl-C and Ctrl-Break are what an interrupt and a quit are elsewhere; a console that is closed
    /// hangs up, and the end of the session terminates.
    fn happened(event: ControlEvent) {
        let signal = match event {
            ControlEvent::C => INTERRUPT,
            ControlEvent::Break => QUIT,
            ControlEvent::Close => HANGUP,
            _ => TERMINATE,
        };
        let tell = *TELL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = tell {
            tell(signal);
        }
    }

    /// Catches what this system has of a signal from now on; `tell` is called for each, on a thread
    /// of the system's.
    ///
    /// # Errors
    /// `Unsupported` for a signal that this system does not have; that of the system.
    pub(in crate::signal) fn catch(signal: i32, tell: fn(i32)) -> io::Result<()> {
        let events: &[ControlEvent] = match signal {
            INTERRUPT => &[ControlEvent::C],
            QUIT => &[ControlEvent::Break],
            HANGUP => &[ControlEvent::Close],
            TERMINATE => &[ControlEvent::LogOff, ControlEvent::ShutDown],
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        *TELL.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
        events
            .iter()
            .try_for_each(|&event| on_control_event(event, happened))
    }
}

#[cfg(not(any(unix, windows)))]
mod none {
    use std::io;

    pub(in crate::signal) const ALARM: i32 = 14;
    pub(in crate::signal) const CHILD: i32 = 17;
    pub(in crate::signal) const HANGUP: i32 = 1;
    pub(in crate::signal) const INTERRUPT: i32 = 2;
    pub(in crate::signal) const PIPE: i32 = 13;
    pub(in crate::signal) const QUIT: i32 = 3;
    pub(in crate::signal) const TERMINATE: i32 = 15;
    pub(in crate::signal) const USER_DEFINED_1: i32 = 10;
    pub(in crate::signal) const USER_DEFINED_2: i32 = 12;
    pub(in crate::signal) const WINDOW_CHANGE: i32 = 28;

    /// # Errors
    /// `Unsupported`, always.
    pub(in crate::signal) fn catch(_: i32, _: fn(i32)) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(not(any(unix, windows)))]
pub(super) use none::*;
#[cfg(unix)]
pub(super) use unix::*;
#[cfg(windows)]
pub(super) use windows::*;
