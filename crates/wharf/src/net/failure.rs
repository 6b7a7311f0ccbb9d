//! An error that is reported more than once.

use std::io;

/// What went wrong with a socket, as something that can be said again: `io::Error` cannot be cloned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    kind: io::ErrorKind,
    raw: Option<i32>,
}

impl Failure {
    pub(crate) fn of(error: &io::Error) -> Failure {
        Failure {
            kind: error.kind(),
            raw: error.raw_os_error(),
        }
    }

    /// The runtime has ended.
    pub(crate) fn gone() -> Failure {
        Failure::of(&crate::runtime::home::gone())
    }

    pub(crate) fn error(self) -> io::Error {
        match self.raw {
            Some(raw) => io::Error::from_raw_os_error(raw),
            None if self.kind == io::ErrorKind::NotConnected => crate::runtime::home::gone(),
            None => self.kind.into(),
        }
    }
}
