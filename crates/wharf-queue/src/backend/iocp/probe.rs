//! Whether a completion port is to be had, and on what it stands.

use std::collections::BTreeMap;
use std::io;

use super::Iocp;
use crate::backend::{BackendKind, BackendReport, Config};
use crate::sys::{self, RawError};

/// Says what could not be made.
pub(super) fn explain(what: &str, error: RawError) -> io::Error {
    let error = sys::error_from_raw(error);
    let message = format!("IOCP is not to be had: {what} failed: {error}");
    io::Error::new(error.kind(), message)
}

/// Tries whether a port can be made and woken, and what is there besides.
pub(in crate::backend) fn probe() -> BackendReport {
    let kind = BackendKind::Iocp;
    match Iocp::new(Config { ring_entries: 0 }) {
        Ok(iocp) => BackendReport {
            kind,
            available: true,
            reason: "a completion port works".to_owned(),
            features: BTreeMap::from([
                ("afd_poll", iocp.can_poll()),
                ("skip_on_success", iocp.skip_streams),
            ]),
        },
        Err(error) => BackendReport {
            kind,
            available: false,
            reason: error.to_string(),
            features: BTreeMap::new(),
        },
    }
}
