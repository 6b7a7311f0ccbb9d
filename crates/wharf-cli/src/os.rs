//! How each system asks a program to end.

use std::io;

/// The exit code of a program that Ctrl-C has ended: 128 and the number of the signal.
const INTERRUPTED: i32 = 128 + 2;

/// Lets SIGINT and SIGTERM ask for an end. A second signal ends the program at once.
#[cfg(unix)]
pub(crate) fn on_signal(ask: impl FnOnce() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut signals = signals.forever();
            if signals.next().is_some() {
                ask();
            }
            if signals.next().is_some() {
                std::process::exit(INTERRUPTED);
            }
        })?;
    Ok(())
}

/// Lets Ctrl-C, Ctrl-Break and the end of the console ask for an end. A second one ends the program
/// at once.
#[cfg(windows)]
pub(crate) fn on_signal(ask: impl FnOnce() + Send + 'static) -> io::Result<()> {
    use std::sync::{Mutex, PoisonError};
    use wharf_queue::os::windows::{ControlEvent, on_control_event};

    type Ask = Box<dyn FnOnce() + Send>;
    static ASK: Mutex<Option<Ask>> = Mutex::new(None);

    fn asked(_: ControlEvent) {
        let ask = ASK.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ask {
            Some(ask) => ask(),
            None => std::process::exit(INTERRUPTED),
        }
    }

    *ASK.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(ask));
    for event in [ControlEvent::C, ControlEvent::Break, ControlEvent::Close] {
        on_control_event(event, asked)?;
    }
    Ok(())
}
