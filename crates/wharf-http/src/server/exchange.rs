//! One request and its answer, fenced in: limits, panics, counts and the access log.
//!
//! Owns what stands between hyper and a service. How long things may take is decided in
//! `patience`; this file only reports to it what moves and what waits.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::clock::{Clock, Sleep};
use super::parts::{self, Parts};
use super::patience::Patience;
use super::stats::{Access, Asked, Stats};
use super::{Limits, Log};
use crate::body::FileBody;
use crate::page;

type BoxError = Box<dyn Error + Send + Sync>;

/// What is known of one connection, shared by all that goes on there.
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    /// The same for the log; empty if there is none.
    peer_text: Box<str>,
    pub(crate) limits: Limits,
    pub(crate) patience: Patience,
    clock: Clock,
    /// The time when this connection's task last began to run, in nanoseconds of the clock. What
    /// happens in one run happens at one time: the clock is asked once, not at each step.
    now_ns: AtomicU64,
    pub(crate) stats: Arc<Stats>,
    pub(crate) log: Option<Log>,
    /// The task of the connection, with the watch in it.
    task: AtomicWaker,
    /// Whether part of a request's body was left where it is.
    left_unread: AtomicBool,
}

impl Connection {
    pub(crate) fn new(
        peer: SocketAddr,
        limits: Limits,
        clock: Clock,
        stats: Arc<Stats>,
        log: Option<Log>,
    ) -> Connection {
        let peer_text = log.as_ref().map(|_| peer.to_string()).unwrap_or_default();
        Connection {
            peer,
            peer_text: peer_text.into(),
            limits,
            patience: Patience::new(Clock::ms(clock.now())),
            now_ns: AtomicU64::new(Clock::ns(clock.now())),
            clock,
            stats,
            log,
            task: AtomicWaker::new(),
            left_unread: AtomicBool::new(false),
        }
    }

    /// The connection's task begins to run.
    pub(crate) fn runs(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        self.tick();
    }

    /// Asks the clock.
    pub(crate) fn tick(&self) {
        self.now_ns.store(Clock::ns(self.clock.now()), Relaxed);
    }

    /// What it last said.
    fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns.load(Relaxed))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        Clock::ms(self.now())
    }

    pub(crate) fn sleep_until(&self, at_ms: u64) -> Sleep {
        self.clock.sleep_until(at_ms)
    }

    pub(crate) fn was_read(&self) {
        self.patience.was_read(self.now_ms());
    }

    pub(crate) fn write_waits(&self) {
        self.patience.write_waits(self.now_ms());
    }

    pub(crate) fn write_moves(&self) {
        self.patience.write_moves(self.now_ms());
    }

    pub(crate) fn lingers(&self) {
        self.patience.lingers(self.now_ms());
    }

    /// Whether the client may be sending something that nobody is going to read.
    pub(crate) fn has_unread(&self) -> bool {
        self.left_unread.load(Relaxed) || self.patience.has_partial_head()
    }

    /// Counts and logs a request that never became one.
    pub(crate) fn refused(&self, status: StatusCode) {
        self.stats.exchange(Some(status), 0);
        self.tell(&Access {
            peer: self.peer,
            peer_text: &self.peer_text,
            request: None,
            status: Some(status),
            bytes: 0,
            is_complete: true,
            took: Duration::ZERO,
        });
    }

    fn tell(&self, access: &Access<'_>) {
        if let Some(log) = &self.log {
            log(access);
        }
    }
}

/// The account of one exchange; it is settled when this is dropped.
struct Exchange {
    connection: Arc<Connection>,
    method: Method,
    uri: Uri,
    version: Version,
    began: Duration,
    status: Option<StatusCode>,
    bytes: u64,
    is_complete: bool,
}

impl Exchange {
    /// The streams of HTTP/2 have tasks of their own, which the connection's does not run in.
    fn tick(&self) {
        if self.version >= Version::HTTP_2 {
            self.connection.tick();
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let connection = &self.connection;
        // The clock may not be asked in a drop, which can come after its worker.
        connection.patience.exchange_ended(connection.now_ms());
        connection.stats.exchange(self.status, self.bytes);
        connection.tell(&Access {
            peer: connection.peer,
            peer_text: &connection.peer_text,
            request: Some(Asked {
                method: &self.method,
                uri: &self.uri,
                version: self.version,
            }),
            status: self.status,
            bytes: self.bytes,
            is_complete: self.is_complete,
            took: connection.now().saturating_sub(self.began),
        });
    }
}

/// A service, fenced in.
pub(crate) struct Guard<S> {
    service: S,
    connection: Arc<Connection>,
    /// Where parts of files are noted that the stream sends by itself; it cannot with HTTP/2, whose
    /// frames are hyper's.
    parts: Option<Rc<Parts>>,
}

impl<S> Guard<S> {
    pub(crate) fn new(
        service: S,
        connection: Arc<Connection>,
        parts: Option<Rc<Parts>>,
    ) -> Guard<S> {
        Guard {
            service,
            connection,
            parts,
        }
    }
}

impl<S, B> Service<Request<Incoming>> for Guard<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
    S::Error: fmt::Display,
    B: Body + 'static,
{
    type Response = Response<ResponseBody<B>>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let connection = &self.connection;
        connection.patience.exchange_began();
        let began = connection.now();
        let exchange = Exchange {
            connection: Arc::clone(connection),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            began,
            status: None,
            bytes: 0,
            is_complete: false,
        };
        if request.body().size_hint().lower() > connection.limits.body_bytes {
            connection.left_unread.store(true, Relaxed);
            return Answer::Refused {
                exchange: Some(exchange),
                status: StatusCode::PAYLOAD_TOO_LARGE,
            };
        }
        let request = request.map(|inner| RequestBody {
            inner,
            left_bytes: connection.limits.body_bytes,
            connection: Arc::clone(connection),
        });
        match catch_unwind(AssertUnwindSafe(|| self.service.call(request))) {
            Ok(future) => Answer::Served {
                future,
                exchange: Some(exchange),
                parts: self.parts.clone(),
            },
            Err(panic) => {
                connection.panicked(panic);
                Answer::Refused {
                    exchange: Some(exchange),
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                }
            }
        }
    }
}

impl Connection {
    fn panicked(&self, payload: Box<dyn Any + Send>) {
        self.stats.panic();
        // The panic hook has said what there is to say. A payload can panic again when it is
        // dropped; whatever that leaves is let go of.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(another);
        }
    }
}

pin_project! {
    /// The answer of a service, or ours in its place.
    #[project = AnswerProj]
    pub(crate) enum Answer<F> {
        Served { #[pin] future: F, exchange: Option<Exchange>, parts: Option<Rc<Parts>> },
        Refused { exchange: Option<Exchange>, status: StatusCode },
    }
}

impl<F, B, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: fmt::Display,
    B: Body + 'static,
{
    type Output = Result<Response<ResponseBody<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (exchange, parts, result) = match self.as_mut().project() {
            AnswerProj::Served {
                future,
                exchange,
                parts,
            } => {
                exchange.iter().for_each(Exchange::tick);
                let poll = catch_unwind(AssertUnwindSafe(|| future.poll(cx)));
                let result = match poll {
                    Ok(poll) => ready!(poll).map_err(drop),
                    Err(panic) => {
                        if let Some(exchange) = exchange {
                            exchange.connection.panicked(panic);
                        }
                        Err(())
                    }
                };
                let failure = StatusCode::INTERNAL_SERVER_ERROR;
                (exchange.take(), parts.take(), result.map_err(|()| failure))
            }
            AnswerProj::Refused { exchange, status } => (exchange.take(), None, Err(*status)),
        };
        // It is there until this has been ready once; futures are not polled after that.
        let Some(exchange) = exchange else {
            return Poll::Pending;
        };
        Poll::Ready(Ok(match result {
            Ok(response) => {
                let status = response.status();
                response.map(|body| ResponseBody::new(Inner::of(body, parts), exchange, status))
            }
            Err(status) => own_answer(exchange, status),
        }))
    }
}

/// An answer that is not the service's.
fn own_answer<B: Body>(exchange: Exchange, status: StatusCode) -> Response<ResponseBody<B>> {
    let bytes = page::error(status);
    let len = bytes.len();
    let is_http1 = exchange.version < Version::HTTP_2;
    let inner = Inner::Own { bytes: Some(bytes) };
    let mut response = Response::new(ResponseBody::new(inner, exchange, status));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page::TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    if is_http1 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The body of a request, no longer than the server allows.
///
/// A body whose length is announced as above the limit never gets here; one that turns out to be
/// gives [`BodyTooLarge`]. Dropping it leaves the rest unread, and the connection ends after the
/// answer.
pub struct RequestBody {
    inner: Incoming,
    left_bytes: u64,
    connection: Arc<Connection>,
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("inner", &self.inner)
            .field("left_bytes", &self.left_bytes)
            .finish_non_exhaustive()
    }
}

/// A request's body is longer than [`Limits::body_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BodyTooLarge;

impl fmt::Display for BodyTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the request is longer than this server allows")
    }
}

impl Error for BodyTooLarge {}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            if this.connection.patience.body_waits() {
                // The watch has to learn of it, and with HTTP/2 it may run in another task.
                this.connection.task.wake();
            }
            return Poll::Pending;
        };
        this.connection.patience.body_moves();
        if let Some(Ok(frame)) = &frame {
            let len = frame.data_ref().map_or(0, Bytes::len) as u64;
            match this.left_bytes.checked_sub(len) {
                Some(left) => this.left_bytes = left,
                None => return Poll::Ready(Some(Err(Box::new(BodyTooLarge)))),
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.connection.patience.body_moves();
        if !self.inner.is_end_stream() {
            self.connection.left_unread.store(true, Relaxed);
        }
    }
}

pin_project! {
    #[project = InnerProj]
    enum Inner<B> {
        Service { #[pin] body: B },
        /// A body of ours, whose files the stream may send.
        Files { body: FileBody, parts: Rc<Parts> },
        Own { bytes: Option<Bytes> },
    }
}

impl<B: Body + 'static> Inner<B> {
    /// A body that something else is wrapped around is the service's, whatever is in it: what looks
    /// at the bytes has to get them.
    fn of(body: B, parts: Option<Rc<Parts>>) -> Inner<B> {
        let mut body = Some(body);
        if let (Some(parts), Some(files)) = (parts, (&mut body as &mut dyn Any).downcast_mut()) {
            if let Some(body) = Option::<FileBody>::take(files) {
                return Inner::Files { body, parts };
            }
        }
        match body {
            Some(body) => Inner::Service { body },
            None => Inner::Own { bytes: None },
        }
    }
}

pin_project! {
    /// The body of an answer, with the account of its exchange.
    pub(crate) struct ResponseBody<B: Body> {
        #[pin]
        inner: Inner<B>,
        exchange: Exchange,
        is_starved: bool,
        is_open: bool,
    }

    impl<B: Body> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let is_at_end = this.is_at_end();
            let this = this.project();
            this.exchange.is_complete |= is_at_end;
            close(this.exchange, this.is_starved, this.is_open);
        }
    }
}

/// Takes a body out of the account, once.
fn close(exchange: &Exchange, is_starved: &mut bool, is_open: &mut bool) {
    let patience = &exchange.connection.patience;
    if std::mem::take(is_starved) {
        patience.response_starves(false);
    }
    if std::mem::take(is_open) {
        patience.response_closes();
    }
}

impl<B: Body> ResponseBody<B> {
    fn new(inner: Inner<B>, mut exchange: Exchange, status: StatusCode) -> ResponseBody<B> {
        exchange.status = Some(status);
        let connection = &exchange.connection;
        connection.patience.response_opens(connection.now_ms());
        ResponseBody {
            inner,
            exchange,
            is_starved: false,
            is_open: true,
        }
    }

    /// Whether there is nothing more to send, or nothing is sent in any case.
    fn is_at_end(&self) -> bool {
        let is_bodiless = matches!(
            self.exchange.status,
            Some(StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        );
        self.exchange.method == Method::HEAD || is_bodiless || self.is_end_stream()
    }
}

/// What a body of `Data` gives, or what we put in its place.
pub(crate) enum Piece<D> {
    Service(D),
    Own(Bytes),
    /// So many bytes of a file, which the stream sends.
    Part(usize),
}

impl<D: Buf> Buf for Piece<D> {
    fn remaining(&self) -> usize {
        match self {
            Piece::Service(data) => data.remaining(),
            Piece::Own(bytes) => bytes.remaining(),
            Piece::Part(len) => *len,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Piece::Service(data) => data.chunk(),
            Piece::Own(bytes) => bytes.chunk(),
            Piece::Part(len) => parts::stand_in(*len),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        match self {
            Piece::Service(data) => data.chunks_vectored(slices),
            Piece::Own(bytes) => bytes.chunks_vectored(slices),
            Piece::Part(len) => {
                let Some(first) = slices.first_mut().filter(|_| *len > 0) else {
                    return 0;
                };
                *first = std::io::IoSlice::new(parts::stand_in(*len));
                1
            }
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Piece::Service(data) => data.advance(count),
            Piece::Own(bytes) => bytes.advance(count),
            Piece::Part(len) => *len -= count,
        }
    }
}

/// A body of an answer that panicked; the connection ends.
#[derive(Debug)]
struct BodyPanicked;

impl fmt::Display for BodyPanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the answer panicked")
    }
}

impl Error for BodyPanicked {}

/// What hyper is given of a body's frame.
fn framed<D, D2: Buf, E: Into<BoxError>>(
    frame: Option<Result<Frame<D2>, E>>,
    wrap: impl FnOnce(D2) -> Piece<D>,
) -> Option<Result<Frame<Piece<D>>, BoxError>> {
    frame.map(|frame| frame.map(|frame| frame.map_data(wrap)).map_err(Into::into))
}

/// The next of a body of ours: a part that the stream will send, or bytes.
fn poll_files<D>(
    cx: &mut Context<'_>,
    body: &mut FileBody,
    parts: &Parts,
) -> Poll<Option<Result<Frame<Piece<D>>, BoxError>>> {
    if let Some(part) = body.next_part() {
        // A part is no longer than what stands for it.
        let len = (part.range.end - part.range.start) as usize;
        parts.push(part);
        return Poll::Ready(Some(Ok(Frame::data(Piece::Part(len)))));
    }
    let frame = ready!(Pin::new(body).poll_frame(cx));
    Poll::Ready(framed(frame, Piece::Own))
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Piece<B::Data>;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BoxError>>> {
        let this = self.project();
        let exchange = this.exchange;
        exchange.tick();
        let poll = match this.inner.project() {
            InnerProj::Service { body } => {
                let poll = catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx)));
                poll.map(|poll| poll.map(|frame| framed(frame, Piece::Service)))
            }
            InnerProj::Files { body, parts } => Ok(poll_files(cx, body, parts)),
            InnerProj::Own { bytes } => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty());
                exchange.bytes += bytes.as_ref().map_or(0, Bytes::len) as u64;
                exchange.is_complete = true;
                close(exchange, this.is_starved, this.is_open);
                return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(Piece::Own(bytes)))));
            }
        };
        let patience = &exchange.connection.patience;
        let is_starved = matches!(poll, Ok(Poll::Pending));
        if *this.is_starved != is_starved {
            *this.is_starved = is_starved;
            patience.response_starves(is_starved);
        }
        let frame = match poll {
            Ok(poll) => ready!(poll),
            Err(panic) => {
                exchange.connection.panicked(panic);
                return Poll::Ready(Some(Err(Box::new(BodyPanicked))));
            }
        };
        patience.response_moves(exchange.connection.now_ms());
        match &frame {
            Some(Ok(frame)) => {
                exchange.bytes += frame.data_ref().map_or(0, Buf::remaining) as u64;
            }
            Some(Err(_)) => {}
            None => {
                exchange.is_complete = true;
                close(exchange, this.is_starved, this.is_open);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        ResponseBody::is_end_stream(self)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Service { body } => body.size_hint(),
            Inner::Files { body, .. } => body.size_hint(),
            Inner::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
        }
    }
}

impl<B: Body> ResponseBody<B> {
    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Service { body } => body.is_end_stream(),
            Inner::Files { body, .. } => body.is_end_stream(),
            Inner::Own { bytes } => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }
}
