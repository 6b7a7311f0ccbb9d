//! Buffers of the runtime: what `recv` gives, and what streams send.
//!
//! Owns the choice between a piece of the worker's pool and memory of its own. The pool itself is the
//! queue's.

use std::any::Any;
use std::fmt;
use std::ops::{Deref, DerefMut};

use wharf_queue::IoBuf;

/// Received bytes: a piece of the worker's receive buffers, not copied, or memory of its own.
///
/// A piece goes back when it is dropped, on any thread. It holds the whole buffer that it is a piece
/// of, so do not keep it for long: copy what is to stay. When the worker runs short of buffers,
/// `recv` copies by itself, and what you get is memory of its own.
///
/// It can be sent as it is, with `send` or `write_owned`.
pub struct PoolBuf {
    inner: Inner,
    begin: usize,
}

enum Inner {
    Pool(wharf_queue::PoolBuf),
    Own(Vec<u8>),
}

impl PoolBuf {
    /// Whether it is a piece of the worker's buffers.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        matches!(self.inner, Inner::Pool(_))
    }

    /// Drops the first `count` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advanced beyond the end");
        self.begin += count;
    }

    /// Copies the bytes into memory of its own, if they are not there already, so that the worker's
    /// buffer is free.
    #[must_use]
    pub fn into_own(self) -> PoolBuf {
        if self.is_pooled() {
            PoolBuf::from(self.to_vec())
        } else {
            self
        }
    }
}

impl PoolBuf {
    /// The memory of its own, for another use; empty if it is a piece of the worker's buffers.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self.inner {
            Inner::Own(bytes) => bytes,
            Inner::Pool(_) => Vec::new(),
        }
    }
}

impl From<wharf_queue::PoolBuf> for PoolBuf {
    fn from(piece: wharf_queue::PoolBuf) -> PoolBuf {
        PoolBuf {
            inner: Inner::Pool(piece),
            begin: 0,
        }
    }
}

impl From<Vec<u8>> for PoolBuf {
    fn from(bytes: Vec<u8>) -> PoolBuf {
        PoolBuf {
            inner: Inner::Own(bytes),
            begin: 0,
        }
    }
}

impl Deref for PoolBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.inner {
            Inner::Pool(piece) => &piece[self.begin..],
            Inner::Own(bytes) => &bytes[self.begin..],
        }
    }
}

impl DerefMut for PoolBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.inner {
            Inner::Pool(piece) => &mut piece[self.begin..],
            Inner::Own(bytes) => &mut bytes[self.begin..],
        }
    }
}

impl AsRef<[u8]> for PoolBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl IoBuf for PoolBuf {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for PoolBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_pooled() { "pooled" } else { "own" };
        write!(f, "PoolBuf({} bytes, {kind})", self.len())
    }
}

/// What a stream has in flight, or waits to send.
pub(crate) enum OutBuf {
    /// Bytes that borrowed writes brought; the memory goes back to the worker's list.
    Gathered(Vec<u8>),
    Pool(PoolBuf),
    /// A vector that was lent by an owned write: the commonest, and spared the box.
    Lent(Vec<u8>),
    /// Any other buffer that was lent.
    Boxed(Box<dyn Lent>),
}

/// A buffer whose type is forgotten while it is sent.
pub(crate) trait Lent: Send {
    fn bytes(&self) -> &[u8];
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<B: IoBuf + Send> Lent for B {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl IoBuf for OutBuf {
    fn as_bytes(&self) -> &[u8] {
        match self {
            OutBuf::Gathered(bytes) | OutBuf::Lent(bytes) => bytes,
            OutBuf::Pool(piece) => piece,
            OutBuf::Boxed(lent) => lent.bytes(),
        }
    }
}

impl OutBuf {
    pub(crate) fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Takes a lent buffer, of any type.
    pub(crate) fn lend<B: IoBuf + Send>(buf: B) -> OutBuf {
        match cast::<B, Vec<u8>>(buf) {
            Ok(bytes) => OutBuf::Lent(bytes),
            Err(buf) => match cast::<B, PoolBuf>(buf) {
                Ok(piece) => OutBuf::Pool(piece),
                Err(buf) => OutBuf::Boxed(Box::new(buf)),
            },
        }
    }

    /// Gives the lent buffer back; `None` if it is of another type.
    pub(crate) fn give_back<B: IoBuf + Send>(self) -> Option<B> {
        match self {
            OutBuf::Gathered(bytes) | OutBuf::Lent(bytes) => cast::<Vec<u8>, B>(bytes).ok(),
            OutBuf::Pool(piece) => cast::<PoolBuf, B>(piece).ok(),
            OutBuf::Boxed(lent) => lent.into_any().downcast().ok().map(|buf| *buf),
        }
    }
}

/// The value itself, if the two types are the same one. This costs nothing at run time.
fn cast<A: 'static, B: 'static>(value: A) -> Result<B, A> {
    let mut value = Some(value);
    let any: &mut dyn Any = &mut value;
    if let Some(same) = any.downcast_mut::<Option<B>>() {
        if let Some(same) = same.take() {
            return Ok(same);
        }
    }
    Err(value.expect("it was not taken"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lent_buffer_of_any_type_comes_back() {
        let out = OutBuf::lend(vec![1u8, 2, 3]);
        assert!(matches!(out, OutBuf::Lent(_)));
        assert_eq!(out.give_back::<Vec<u8>>(), Some(vec![1, 2, 3]));
        let out = OutBuf::lend([7u8; 4]);
        assert_eq!(out.len(), 4);
        assert_eq!(out.give_back::<[u8; 4]>(), Some([7; 4]));
        let out = OutBuf::lend("text");
        assert_eq!(out.give_back::<Vec<u8>>(), None);
    }

    #[test]
    fn advanced_buffer_begins_later() {
        let mut buf = PoolBuf::from(vec![1, 2, 3]);
        buf.advance(2);
        assert_eq!(*buf, [3]);
        buf.advance(1);
        assert!(buf.is_empty());
    }
}
