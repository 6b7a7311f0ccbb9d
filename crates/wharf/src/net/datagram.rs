//! A socket for datagrams, as it lives on its worker: a multishot receive and the datagrams that
//! nobody has taken, and those on their way out.
//!
//! A datagram that was sent is copied and on its way when `send` returns; what goes wrong with it is
//! told to the next call. Several are in flight at once, except on Unix sockets, whose datagrams keep
//! their order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use wharf_queue::{Address, Handle, Outcome, Prepare, SocketOption, SubmitError, Token, op};

use super::outbox::{Outbox, Outgoing};
use super::place::{self, Place, register, wake_all};
use super::sources::Tag;
use crate::buf::PoolBuf;
use crate::engine;
use crate::runtime::home::{Home, Message, gone};
use crate::runtime::worker::{self, Worker};
use crate::slab::Key;
use crate::task::{self, coop};

/// Datagrams that wait in the process before the rest waits in the system.
const WAITING: usize = 32;
/// Datagrams on their way out.
const SENDING: usize = 64;

/// A datagram as it was received.
#[derive(Debug)]
pub struct Datagram {
    /// Its bytes.
    pub data: PoolBuf,
    /// Its sender.
    pub from: Address,
    /// Whether it was longer than 65,536 bytes; the rest of it is gone.
    pub truncated: bool,
}

#[derive(Clone, Copy, PartialEq, Default)]
enum State {
    #[default]
    Resting,
    Armed(Token<op::RecvFromMulti>),
    Ending,
}

#[derive(Default)]
struct Receive {
    state: State,
    waiting: VecDeque<io::Result<Datagram>>,
    wakers: Vec<Waker>,
}

#[derive(Default)]
struct SendSide {
    in_flight: usize,
    queue: VecDeque<Outgoing>,
    error: Option<io::Error>,
    wakers: Vec<Waker>,
}

pub(crate) struct Datagrams {
    pub(super) socket: Handle,
    key: Cell<Option<Key>>,
    /// How many sends may be in flight at once.
    at_once: usize,
    receive: RefCell<Receive>,
    send: RefCell<SendSide>,
    is_dropped: Cell<bool>,
    /// What other threads send, from the first time on.
    outbox: RefCell<Option<Arc<Outbox>>>,
}

impl Datagrams {
    fn key(&self) -> Key {
        self.key.get().expect("set when it was inserted")
    }

    fn poll_recv(&self, worker: &Rc<Worker>, cx: &mut Context<'_>) -> Poll<io::Result<Datagram>> {
        if coop::proceed(cx).is_pending() {
            return Poll::Pending;
        }
        let mut receive = self.receive.borrow_mut();
        let received = receive.waiting.pop_front();
        if received.is_none() {
            register(&mut receive.wakers, cx);
        }
        if receive.waiting.len() <= WAITING / 2 {
            if let Err(error) = self.arm(&mut receive, worker) {
                receive.waiting.push_back(Err(error));
                cx.waker().wake_by_ref();
            }
        }
        received.map_or(Poll::Pending, Poll::Ready)
    }

    fn arm(&self, receive: &mut Receive, worker: &Rc<Worker>) -> io::Result<()> {
        if receive.state != State::Resting {
            return Ok(());
        }
        let pool = worker.datagram_pool()?;
        let user_data = Tag::DatagramReceive.user_data(self.key());
        let submission = op::RecvFromMulti::new(&self.socket, &pool).user_data(user_data);
        match worker.queue.submit(submission) {
            Ok(token) => receive.state = State::Armed(token),
            // The limit of operations is reached: those who wait look again each turn.
            Err(SubmitError::Full(_)) => worker.sources.wake_next_turn(&mut receive.wakers),
            Err(refused) => return Err(refused.into()),
        }
        Ok(())
    }

    pub(super) fn received(
        &self,
        worker: &Rc<Worker>,
        outcome: Outcome<op::PoolDatagram>,
        more: bool,
    ) {
        let mut receive = self.receive.borrow_mut();
        if !more {
            receive.state = State::Resting;
        }
        match outcome {
            Outcome::Completed(Ok(datagram)) => receive.waiting.push_back(Ok(Datagram {
                data: worker.sources.keep_datagram(datagram.data),
                from: datagram.from,
                truncated: datagram.truncated,
            })),
            Outcome::Completed(Err(error)) => receive.waiting.push_back(Err(error)),
            Outcome::Cancelled { .. } | Outcome::TimedOut { .. } => {}
        }
        if let State::Armed(token) = receive.state {
            if receive.waiting.len() >= WAITING {
                worker.queue.cancel(token);
                receive.state = State::Ending;
            }
        }
        if receive.waiting.is_empty() && receive.state != State::Resting {
            return;
        }
        drop(receive);
        wake_all(&self.receive, |receive| &mut receive.wakers);
    }

    fn poll_send(
        &self,
        worker: &Rc<Worker>,
        cx: &mut Context<'_>,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Poll<io::Result<usize>> {
        if coop::proceed(cx).is_pending() {
            return Poll::Pending;
        }
        // What was sent elsewhere before comes first.
        self.take_outbox(usize::MAX);
        let mut send = self.send.borrow_mut();
        if let Some(error) = self.take_error(&mut send) {
            return Poll::Ready(Err(error));
        }
        if send.in_flight + send.queue.len() >= SENDING {
            register(&mut send.wakers, cx);
            return Poll::Pending;
        }
        let mut buf = worker.sources.take_buffer();
        buf.extend_from_slice(bytes);
        send.queue.push_back((buf, to.cloned()));
        drop(send);
        self.pump(worker);
        Poll::Ready(Ok(bytes.len()))
    }

    fn take_error(&self, send: &mut SendSide) -> Option<io::Error> {
        let elsewhere = || self.outbox.borrow().as_ref()?.take_error();
        send.error.take().or_else(elsewhere)
    }

    /// Another thread sends: what it does is known from now on.
    fn set_outbox(&self, outbox: &Arc<Outbox>) {
        self.outbox
            .borrow_mut()
            .get_or_insert_with(|| outbox.clone());
    }

    /// Takes datagrams that other threads have sent.
    fn take_outbox(&self, count: usize) {
        if let Some(outbox) = self.outbox.borrow().as_ref() {
            self.send.borrow_mut().queue.append(&mut outbox.take(count));
        }
    }

    /// Takes as many of them as there is room for.
    fn fill_from_outbox(&self) {
        let send = self.send.borrow();
        let room = SENDING.saturating_sub(send.in_flight + send.queue.len());
        drop(send);
        if room > 0 {
            self.take_outbox(room);
        }
    }

    fn pump(&self, worker: &Rc<Worker>) {
        let mut send = self.send.borrow_mut();
        while send.in_flight < self.at_once {
            let Some((buf, to)) = send.queue.pop_front() else {
                return;
            };
            let key = self.key();
            let refused = match to {
                None => {
                    let operation = op::Send::new(&self.socket, buf);
                    let user_data = Tag::DatagramSend.user_data(key);
                    let submitted = worker.queue.submit(operation.user_data(user_data));
                    submitted
                        .map(drop)
                        .map_err(|refused| refused.map(|op| (op.into_buf(), None)))
                }
                Some(to) => {
                    let operation = op::SendTo::new(&self.socket, buf, to);
                    let user_data = Tag::DatagramSendTo.user_data(key);
                    let submitted = worker.queue.submit(operation.user_data(user_data));
                    submitted.map(drop).map_err(|refused| {
                        refused.map(|op| {
                            let (buf, to) = op.into_parts();
                            (buf, Some(to))
                        })
                    })
                }
            };
            match refused {
                Ok(()) => send.in_flight += 1,
                Err(SubmitError::Full(again)) => {
                    send.queue.push_front(again);
                    // If nothing is in flight, nothing would come to try again by.
                    if send.in_flight == 0 {
                        worker.sources.pump_next_turn(key);
                    }
                    return;
                }
                Err(refused) => send.error = Some(refused.into()),
            }
        }
    }

    pub(super) fn hand_over(&self, worker: &Rc<Worker>) {
        self.fill_from_outbox();
        self.pump(worker);
    }

    pub(super) fn sent(&self, worker: &Rc<Worker>, outcome: Outcome<usize>, buf: Vec<u8>) {
        worker.sources.give_buffer(buf);
        let mut send = self.send.borrow_mut();
        send.in_flight -= 1;
        if let Err(error) = outcome.into_result() {
            match self.outbox.borrow().as_ref() {
                Some(outbox) => outbox.put_error(error),
                None => drop(send.error.get_or_insert(error)),
            }
        }
        drop(send);
        self.fill_from_outbox();
        self.pump(worker);
        wake_all(&self.send, |send| &mut send.wakers);
        if self.is_dropped.get() && self.is_all_sent() {
            self.close(worker);
        }
    }

    fn poll_flush(&self, worker: &Rc<Worker>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.take_outbox(usize::MAX);
        self.pump(worker);
        let mut send = self.send.borrow_mut();
        if let Some(error) = self.take_error(&mut send) {
            return Poll::Ready(Err(error));
        }
        if send.in_flight == 0 && send.queue.is_empty() {
            return Poll::Ready(Ok(()));
        }
        register(&mut send.wakers, cx);
        Poll::Pending
    }

    pub(super) fn is_all_sent(&self) -> bool {
        let is_taken = |outbox: &Arc<Outbox>| outbox.is_empty();
        let send = self.send.borrow();
        send.in_flight == 0
            && send.queue.is_empty()
            && self.outbox.borrow().as_ref().is_none_or(is_taken)
    }

    /// Takes and sends what other threads have sent until now.
    pub(super) fn send_outbox(&self, worker: &Rc<Worker>) {
        self.take_outbox(usize::MAX);
        self.pump(worker);
    }

    fn dropped(&self, worker: &Rc<Worker>) {
        self.is_dropped.set(true);
        self.send_outbox(worker);
        if self.is_all_sent() {
            self.close(worker);
        }
    }

    pub(super) fn close(&self, worker: &Rc<Worker>) {
        if let Some(socket) = self.give_up(worker) {
            engine::close_in_background(worker, socket);
        }
    }

    /// Takes it out of the table, to be closed; `None` if that was done before.
    fn give_up(&self, worker: &Worker) -> Option<Handle> {
        worker.sources.datagrams.borrow_mut().remove(self.key())?;
        if let Some(outbox) = self.outbox.borrow().as_ref() {
            outbox.close();
        }
        let mut receive = self.receive.borrow_mut();
        let waiting = std::mem::take(&mut receive.waiting);
        let mut wakers = std::mem::take(&mut receive.wakers);
        wakers.append(&mut self.send.borrow_mut().wakers);
        drop(receive);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
        Some(self.socket.clone())
    }
}

/// What users' socket types hold.
pub(super) struct DatagramRef {
    home: Arc<Home>,
    key: Key,
    abroad: Arc<Place<Datagram>>,
    outbox: OnceLock<Arc<Outbox>>,
}

impl DatagramRef {
    pub(super) fn new(worker: &Worker, socket: Handle, keeps_order: bool) -> DatagramRef {
        let datagrams = Rc::new(Datagrams {
            socket,
            key: Cell::new(None),
            at_once: if keeps_order { 1 } else { SENDING },
            receive: RefCell::default(),
            send: RefCell::default(),
            is_dropped: Cell::new(false),
            outbox: RefCell::default(),
        });
        let key = worker
            .sources
            .datagrams
            .borrow_mut()
            .insert(datagrams.clone());
        datagrams.key.set(Some(key));
        DatagramRef {
            home: worker.home.clone(),
            key,
            abroad: Arc::default(),
            outbox: OnceLock::new(),
        }
    }

    /// The socket, if this is its thread.
    fn local(&self) -> io::Result<Option<(Rc<Worker>, Rc<Datagrams>)>> {
        let Some(worker) = worker::here(self.home.id) else {
            return Ok(None);
        };
        let socket = worker.sources.datagram_socket(self.key).ok_or_else(gone)?;
        if let Some(outbox) = self.outbox.get() {
            socket.set_outbox(outbox);
        }
        Ok(Some((worker, socket)))
    }

    pub(super) async fn recv(&self) -> io::Result<Datagram> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    pub(super) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Datagram>> {
        if let Some((worker, socket)) = self.local()? {
            return match self.abroad.poll_here(cx) {
                Some(received) => Poll::Ready(received),
                None => socket.poll_recv(&worker, cx),
            };
        }
        let (polled, asks) = place::ready(self.abroad.poll_abroad(cx));
        if asks && self.ask().is_err() {
            return Poll::Ready(Err(gone()));
        }
        polled
    }

    /// Has the home worker receive one for another thread.
    fn ask(&self) -> Result<(), Message> {
        let (key, place) = (self.key, self.abroad.clone());
        self.home.send(Message::Call(Box::new(move |worker| {
            let inner = worker.clone();
            drop(task::spawn_in(worker, None, async move {
                let received = poll_fn(|cx| {
                    let socket = inner.sources.datagram_socket(key).ok_or_else(gone)?;
                    socket.poll_recv(&inner, cx)
                });
                place.put(received.await);
            }));
        })))
    }

    pub(super) async fn send(&self, bytes: &[u8], to: Option<Address>) -> io::Result<usize> {
        poll_fn(|cx| match self.local() {
            Ok(Some((worker, socket))) => socket.poll_send(&worker, cx, bytes, to.as_ref()),
            Ok(None) => self.poll_send_elsewhere(cx, bytes, to.as_ref()),
            Err(error) => Poll::Ready(Err(error)),
        })
        .await
    }

    fn poll_send_elsewhere(
        &self,
        cx: &Context<'_>,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Poll<io::Result<usize>> {
        if self.home.is_closed() {
            return Poll::Ready(Err(gone()));
        }
        let outbox = self.outbox.get_or_init(Arc::default);
        if ready!(outbox.poll_put(cx, bytes, to, SENDING))? {
            let (key, outbox) = (self.key, outbox.clone());
            let message = Message::Call(Box::new(move |worker| {
                if let Some(socket) = worker.sources.datagram_socket(key) {
                    socket.set_outbox(&outbox);
                    socket.hand_over(worker);
                }
            }));
            self.home.send(message).map_err(|_| gone())?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    pub(super) async fn flush(&self) -> io::Result<()> {
        let here = poll_fn(|cx| match self.local() {
            Ok(Some((worker, socket))) => socket.poll_flush(&worker, cx).map_ok(Some),
            Ok(None) => Poll::Ready(Ok(None)),
            Err(error) => Poll::Ready(Err(error)),
        });
        if here.await?.is_some() {
            return Ok(());
        }
        let key = self.key;
        let flushed = self.home.call(move || async move {
            poll_fn(|cx| {
                let worker = worker::expect_current();
                let socket = worker.sources.datagram_socket(key).ok_or_else(gone)?;
                socket.poll_flush(&worker, cx)
            })
            .await
        });
        flushed.await?
    }

    pub(super) async fn connect(&self, to: Address) -> io::Result<()> {
        if let Some((worker, socket)) = self.local()? {
            let connecting = engine::submit_to(&worker, op::Connect::new(&socket.socket, to))?;
            drop((worker, socket));
            return connecting.await.into_result();
        }
        let key = self.key;
        let connected = self.home.call(move || async move {
            let connecting = {
                let worker = worker::expect_current();
                let socket = worker.sources.datagram_socket(key).ok_or_else(gone)?;
                engine::submit_to(&worker, op::Connect::new(&socket.socket, to))?
            };
            connecting.await.into_result()
        });
        connected.await?
    }

    /// Sends what was accepted for sending, closes the socket, and waits until that is done.
    pub(super) async fn close(self) -> io::Result<()> {
        let flushed = self.flush().await;
        let key = self.key;
        let closed = engine::close_at(&self.home, move |worker| {
            let socket = worker.sources.datagram_socket(key)?;
            socket.give_up(worker)
        });
        flushed.and(closed.await)
    }

    /// Sets an option: at once on the home worker; elsewhere it is told to, and an error is not heard
    /// of.
    pub(super) fn set_option(&self, option: SocketOption) -> io::Result<()> {
        if let Some((_, socket)) = self.local()? {
            return socket.socket.set_option(option);
        }
        let key = self.key;
        let message = Message::Call(Box::new(move |worker| {
            if let Some(socket) = worker.sources.datagram_socket(key) {
                let _unheard = socket.socket.set_option(option);
            }
        }));
        self.home.send(message).map_err(|_| gone())
    }
}

impl Drop for DatagramRef {
    fn drop(&mut self) {
        let key = self.key;
        let outbox = self.outbox.take();
        self.home.run(move |worker| {
            if let Some(socket) = worker.sources.datagram_socket(key) {
                if let Some(outbox) = &outbox {
                    socket.set_outbox(outbox);
                }
                socket.dropped(worker);
            }
        });
    }
}

impl fmt::Debug for DatagramRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on {:?}", self.home)
    }
}
