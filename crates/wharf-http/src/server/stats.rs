//! Counts of what a server did, and the record of one exchange.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::{Method, StatusCode, Uri, Version};

/// Counts over the life of one or more servers, safe to read at any time from any thread.
#[derive(Debug, Default)]
pub struct Stats {
    connections: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    panics: AtomicU64,
    timed_out: AtomicU64,
    accept_errors: AtomicU64,
    /// By the first digit of the status; what has none of 1 to 5 is in the place of 0.
    by_class: [AtomicU64; 6],
}

/// [`Stats`] at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections that were accepted.
    pub connections: u64,
    /// Requests that were answered, those included whose answer broke off.
    pub requests: u64,
    /// Bytes of answers' bodies that were handed over for sending.
    pub bytes: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Connections that were closed because the client was too slow.
    pub timed_out: u64,
    /// Attempts to accept that failed, for want of descriptors for example.
    pub accept_errors: u64,
    /// Answers by the first digit of their status. Index 0 has the requests that ended before there
    /// was an answer, because the client went away for example.
    pub by_class: [u64; 6],
}

impl Stats {
    /// What has been counted so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut by_class = [0; 6];
        for (total, count) in by_class.iter_mut().zip(&self.by_class) {
            *total = count.load(Relaxed);
        }
        Totals {
            connections: self.connections.load(Relaxed),
            requests: self.requests.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            panics: self.panics.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            by_class,
        }
    }

    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    pub(crate) fn panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn timed_out(&self) {
        self.timed_out.fetch_add(1, Relaxed);
    }

    pub(crate) fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }

    pub(crate) fn exchange(&self, status: Option<StatusCode>, bytes: u64) {
        self.requests.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        let class = status.map_or(0, |status| usize::from(status.as_u16() / 100));
        self.by_class[if class < 6 { class } else { 0 }].fetch_add(1, Relaxed);
    }
}

impl fmt::Display for Totals {
    /// `12 requests (10 2xx, 2 4xx) on 3 connections, 4096 bytes sent`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.requests)?;
        let mut mark = " (";
        for (class, count) in self.by_class.iter().enumerate().skip(1) {
            if *count > 0 {
                write!(f, "{mark}{count} {class}xx")?;
                mark = ", ";
            }
        }
        if mark == ", " {
            f.write_str(")")?;
        }
        write!(
            f,
            " on {} connections, {} bytes sent",
            self.connections, self.bytes
        )?;
        for (count, what) in [
            (self.timed_out, "connections timed out"),
            (self.panics, "handlers panicked"),
            (self.accept_errors, "accepts failed"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

/// One exchange that is over, for an access log.
#[derive(Debug)]
#[non_exhaustive]
pub struct Access<'a> {
    /// Who asked.
    pub peer: SocketAddr,
    /// The same as text, made once for a connection.
    pub(crate) peer_text: &'a str,
    /// What was asked for; `None` if the request could not be read.
    pub request: Option<Asked<'a>>,
    /// What was answered; `None` if it ended before there was an answer.
    pub status: Option<StatusCode>,
    /// How many bytes of the body were handed over for sending.
    pub bytes: u64,
    /// Whether that was all of it.
    pub is_complete: bool,
    /// From the end of the request's head to the end of the answer.
    pub took: Duration,
}

/// The line of a request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target, as it was sent.
    pub uri: &'a Uri,
    /// Its version.
    pub version: Version,
}

impl fmt::Display for Access<'_> {
    /// `127.0.0.1:40000 "GET /a HTTP/1.1" 200 4096 0.213ms`, and `broken off` where that is so.
    ///
    /// It is one line whatever a client sends: a request's line has no control characters, or it
    /// would not have been read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Piece by piece: a busy server writes a line for each request, and a format string costs
        // several times as much.
        f.write_str(self.peer_text)?;
        f.write_str(" \"")?;
        match &self.request {
            Some(Asked {
                method,
                uri,
                version,
            }) => {
                f.write_str(method.as_str())?;
                f.write_str(" ")?;
                // HTTP/2 has the host in the target, HTTP/1 elsewhere; a log has it nowhere.
                match uri.path_and_query() {
                    Some(target) => f.write_str(target.as_str())?,
                    None => write!(f, "{uri}")?,
                }
                f.write_str(" ")?;
                fmt::Debug::fmt(version, f)?;
            }
            None => f.write_str("-")?,
        }
        f.write_str("\" ")?;
        match &self.status {
            Some(status) => f.write_str(status.as_str())?,
            None => f.write_str("-")?,
        }
        let mut digits = itoa::Buffer::new();
        f.write_str(" ")?;
        f.write_str(digits.format(self.bytes))?;
        f.write_str(" ")?;
        let took_us = self.took.as_micros();
        f.write_str(digits.format(took_us / 1000))?;
        f.write_str(".")?;
        // Three digits, whatever they are.
        f.write_str(&digits.format(1000 + took_us % 1000)[1..])?;
        f.write_str("ms")?;
        if !self.is_complete {
            f.write_str(" broken off")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, Asked, Stats};
    use http::{Method, StatusCode, Uri, Version};
    use std::time::Duration;

    #[test]
    fn totals_say_what_there_was_and_nothing_else() {
        let stats = Stats::default();
        assert_eq!(
            stats.totals().to_string(),
            "0 requests on 0 connections, 0 bytes sent"
        );
        stats.connection();
        stats.exchange(Some(StatusCode::OK), 10);
        stats.exchange(Some(StatusCode::NOT_FOUND), 5);
        stats.exchange(Some(StatusCode::OK), 10);
        let expected = "3 requests (2 2xx, 1 4xx) on 1 connections, 25 bytes sent";
        assert_eq!(stats.totals().to_string(), expected);
        stats.exchange(None, 0);
        stats.panic();
        stats.timed_out();
        stats.accept_error();
        assert!(stats.totals().to_string().ends_with(
            "25 bytes sent, 1 connections timed out, 1 handlers panicked, 1 accepts failed"
        ));
    }

    #[test]
    fn access_is_one_line() {
        let uri: Uri = "/a%0Ab?x".parse().unwrap();
        let mut access = Access {
            peer: "127.0.0.1:4000".parse().unwrap(),
            peer_text: "127.0.0.1:4000",
            request: Some(Asked {
                method: &Method::GET,
                uri: &uri,
                version: Version::HTTP_11,
            }),
            status: Some(StatusCode::OK),
            bytes: 4096,
            is_complete: true,
            took: Duration::from_micros(1213),
        };
        let line = access.to_string();
        assert_eq!(
            line,
            "127.0.0.1:4000 \"GET /a%0Ab?x HTTP/1.1\" 200 4096 1.213ms"
        );
        access.request = None;
        access.is_complete = false;
        access.status = None;
        assert_eq!(
            access.to_string(),
            "127.0.0.1:4000 \"-\" - 4096 1.213ms broken off"
        );
    }
}
