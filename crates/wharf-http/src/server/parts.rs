//! Parts of files that go from the disk to the socket without passing through this program.
//!
//! Owns the agreement between the two ends of hyper: the body above it and the stream below. hyper
//! moves bytes, and knows nothing of files. So the body hands it bytes that *stand* for a part of a
//! file, and notes here which part; hyper hands them, uncopied, to the stream, which knows them by
//! where they lie, and has the system send the part that is first here.
//!
//! ```text
//! body: next part ---push---> [part, part] ---first---> stream: send_file
//!          \                                             /
//!           STAND_IN[..len] ---> hyper, in order ------>
//! ```
//!
//! **Invariant:** bytes of `STAND_IN` never reach a client. Only `ResponseBody` gives them out, to a
//! connection of HTTP/1 whose stream is ours and writes vectored: such a stream is given what the body
//! gave, and never a copy of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use crate::lookup::SeenFile;

/// What one part has at most: how much a slow client has to take within the time limit of a write,
/// and how long others wait while the system copies.
pub(crate) const LONGEST: usize = 256 * 1024;

/// Never read, so that it takes no memory but addresses.
static STAND_IN: [u8; LONGEST] = [0; LONGEST];

/// A part of a file that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct FilePart {
    pub(crate) file: Rc<SeenFile>,
    pub(crate) range: Range<u64>,
}

/// Bytes that stand for as many of a file.
pub(crate) fn stand_in(len: usize) -> &'static [u8] {
    &STAND_IN[..len.min(LONGEST)]
}

/// Whether these bytes stand for a file's.
pub(crate) fn is_stand_in(bytes: &[u8]) -> bool {
    STAND_IN.as_ptr_range().contains(&bytes.as_ptr())
}

/// The parts that one connection is to send, in order.
#[derive(Debug, Default)]
pub(crate) struct Parts(RefCell<VecDeque<FilePart>>);

impl Parts {
    pub(crate) fn push(&self, part: FilePart) {
        self.0.borrow_mut().push_back(part);
    }

    /// The first of them, no more than `len` bytes of it.
    pub(crate) fn first(&self, len: usize) -> Option<FilePart> {
        let parts = self.0.borrow();
        let FilePart { file, range } = parts.front()?;
        let end = range.end.min(range.start.saturating_add(len as u64));
        Some(FilePart {
            file: Rc::clone(file),
            range: range.start..end,
        })
    }

    /// So many bytes of the first have been sent.
    pub(crate) fn sent(&self, len: u64) {
        let mut parts = self.0.borrow_mut();
        let Some(first) = parts.front_mut() else {
            return;
        };
        first.range.start = first.range.start.saturating_add(len);
        if first.range.start >= first.range.end {
            let done = parts.pop_front();
            drop(parts);
            // It may be the last to hold the file.
            drop(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, is_stand_in, stand_in};

    #[test]
    fn bytes_that_stand_for_others_are_known_by_where_they_lie() {
        assert_eq!(stand_in(10).len(), 10);
        assert_eq!(stand_in(usize::MAX).len(), LONGEST);
        assert!(is_stand_in(stand_in(1)));
        assert!(is_stand_in(&stand_in(LONGEST)[LONGEST - 1..]));
        assert!(!is_stand_in(&[0; 16]));
        assert!(!is_stand_in(&[]));
    }
}
