//! One connection from its first byte to its last.
//!
//! Owns the choice of HTTP version, and the watch beside it that ends what takes too long and what
//! is asked to stop. What is done with a request is `exchange`'s business.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use event_listener::EventListener;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use wharf::net::TcpStream;

use super::clock::Sleep;
use super::exchange::{Connection, Guard, RequestBody};
use super::patience::Wait;
use super::stop::Stop;
use super::stream::{Stream, Version};

/// Body bytes that hyper gathers before it waits for the socket: two pieces of a file, so that one
/// is read while the other is sent.
const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// Serves one connection until it ends; how it ended is in the counts and the log.
pub(crate) async fn serve<S, B>(io: TcpStream, service: S, connection: Arc<Connection>, stop: Stop)
where
    S: Service<Request<RequestBody>, Response = Response<B>> + 'static,
    S::Future: 'static,
    S::Error: fmt::Display,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut watch = Watch::new(Arc::clone(&connection), stop);
    let mut stream = Stream::new(io, Arc::clone(&connection));
    let version = {
        let mut version = pin!(stream.version());
        // There is nothing under way that a stop would have to spare.
        let outcome = poll_fn(|cx| {
            connection.runs(cx);
            match version.as_mut().poll(cx) {
                Poll::Ready(version) => Poll::Ready(version.map_err(|_| ())),
                Poll::Pending => watch.poll(cx).map(|_| Err(())),
            }
        });
        outcome.await
    };
    let parts = match version {
        Ok(Version::Http1) => stream.parts(),
        _ => None,
    };
    let guard = Guard::new(service, Arc::clone(&connection), parts);
    let limits = &connection.limits;
    match version {
        Err(()) => {}
        Ok(Version::Http1) => {
            let mut builder = http1::Builder::new();
            builder
                .half_close(true)
                // Our watch tells an idle connection from a slow head, theirs does not.
                .header_read_timeout(None)
                .max_header_size(limits.head_bytes)
                .max_headers(limits.headers)
                .max_buf_size(WRITE_BUFFER_BYTES.max(limits.head_bytes));
            let served = pin!(builder.serve_connection(stream, guard));
            let outcome = attend(served, &mut watch, |served| served.graceful_shutdown()).await;
            if let Some(status) = outcome.err().and_then(|error| refusal(&error)) {
                connection.refused(status);
            }
        }
        Ok(Version::Http2) => {
            let mut builder = http2::Builder::new(Local);
            builder
                .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
                .max_concurrent_streams(limits.streams)
                .max_send_buf_size(WRITE_BUFFER_BYTES);
            let served = pin!(builder.serve_connection(stream, guard));
            // What goes wrong with HTTP/2 is told to the client by a frame.
            drop(attend(served, &mut watch, |served| served.graceful_shutdown()).await);
        }
    }
}

/// What hyper answered to a head that it could not read.
fn refusal(error: &hyper::Error) -> Option<StatusCode> {
    if !error.is_parse() {
        return None;
    }
    Some(if error.is_parse_too_large() {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    })
}

/// Runs the tasks of HTTP/2 on this worker.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F> Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(wharf::spawn(future));
    }
}

/// Polls a connection and the watch beside it.
async fn attend<C>(
    mut served: Pin<&mut C>,
    watch: &mut Watch,
    mut drain: impl FnMut(Pin<&mut C>),
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    poll_fn(|cx| {
        watch.connection.runs(cx);
        loop {
            if let Poll::Ready(outcome) = served.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            match watch.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Sign::Drain) => drain(served.as_mut()),
                Poll::Ready(Sign::End) => return Poll::Ready(Ok(())),
            }
        }
    })
    .await
}

/// What the watch has to say.
enum Sign {
    /// End with the exchange that is under way. It is said once.
    Drain,
    /// End now.
    End,
}

/// Looks for the end of patience, and for a stop.
///
/// The timer is armed for the first deadline that was known when it was armed. Deadlines that move
/// away are noticed when it fires, so that a busy connection touches no timer; one that moves
/// closer arms it anew.
struct Watch {
    connection: Arc<Connection>,
    stop: Stop,
    listener: Option<EventListener>,
    has_drained: bool,
    sleep: Option<(u64, Sleep)>,
}

impl Watch {
    fn new(connection: Arc<Connection>, stop: Stop) -> Watch {
        Watch {
            connection,
            stop,
            listener: None,
            has_drained: false,
            sleep: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Sign> {
        loop {
            let listener = self.listener.get_or_insert_with(|| self.stop.listen());
            if self.stop.is_ending() {
                return Poll::Ready(Sign::End);
            }
            if self.stop.is_asked() && !self.has_drained {
                self.has_drained = true;
                return Poll::Ready(Sign::Drain);
            }
            match Pin::new(listener).poll(cx) {
                Poll::Ready(()) => self.listener = None,
                Poll::Pending => break,
            }
        }
        self.connection.patience.look(self.connection.now_ms());
        loop {
            let Some((at_ms, wait)) = self
                .connection
                .patience
                .deadline_ms(&self.connection.limits)
            else {
                return Poll::Pending;
            };
            if at_ms <= self.connection.now_ms() {
                if wait != Wait::Linger && wait != Wait::Idle {
                    self.connection.stats.timed_out();
                }
                return Poll::Ready(Sign::End);
            }
            match &mut self.sleep {
                Some((armed_ms, sleep)) if *armed_ms <= at_ms => match Pin::new(sleep).poll(cx) {
                    Poll::Ready(()) => {
                        self.sleep = None;
                        // Its moment has passed, perhaps since this run began; by the time of
                        // then, it would have to be slept for again, without end.
                        self.connection.tick();
                    }
                    Poll::Pending => return Poll::Pending,
                },
                sleep => *sleep = Some((at_ms, self.connection.sleep_until(at_ms))),
            }
        }
    }
}
