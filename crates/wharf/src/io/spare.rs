//! Buffers between two uses: for reads and writes that copy.
//!
//! Owns a short list of them for each thread, so that copying in steady state allocates nothing and
//! an idle handle holds none.

use std::cell::RefCell;

/// How many are kept, and the largest that is.
const KEPT: usize = 16;
const LARGEST: usize = 256 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for at least `room` bytes.
pub(crate) fn take(room: usize) -> Vec<u8> {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
    let mut buf = spare.ok().flatten().unwrap_or_default();
    buf.reserve_exact(room);
    buf
}

/// Keeps a buffer for the next use, if it is worth that.
pub(crate) fn give(mut buf: Vec<u8>) {
    if buf.capacity() == 0 || buf.capacity() > LARGEST {
        return;
    }
    buf.clear();
    // On a thread that ends there is no next use.
    let _gone = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push(buf);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_that_was_given_is_taken_again() {
        let mut buf = take(1000);
        buf.push(1);
        let at = buf.as_ptr();
        give(buf);
        let again = take(10);
        assert!(again.is_empty() && again.capacity() >= 1000);
        assert_eq!(again.as_ptr(), at);
        give(Vec::with_capacity(LARGEST + 1));
        assert_eq!(take(1).capacity(), 1);
    }
}
