//! Buffers that an operation may own: `IoBuf`, `IoBufMut`, slices of them and aligned memory.
//!
//! Owns the traits and the conversion to raw pointers. It does not own the memory of the receive
//! pool (`bufpool`), nor the time a buffer is lent for (`slot`).

#![expect(unsafe_code)]
// UNSAFETY: `IoBufMut` implementations promise where the kernel may write; `AlignedBuf` owns
// memory whose alignment `Vec` cannot express.

use std::alloc::{self, Layout};
use std::mem::MaybeUninit;
use std::ops::{Bound, Deref, DerefMut, RangeBounds};
use std::ptr::NonNull;

/// A buffer that can be written *from*: sent, or written to a file.
///
/// The queue keeps the value at one address from submission to the final completion and does not
/// touch it in between, as if it held a shared borrow all that time. So the bytes may be stored
/// inline: an array is as good as a `Vec`.
pub trait IoBuf: 'static {
    /// The bytes to send or write.
    fn as_bytes(&self) -> &[u8];

    /// A part of this buffer, which can be used as a buffer itself and gives the whole one back.
    ///
    /// # Panics
    /// If the range does not lie within the buffer's capacity for an [`IoBufMut`] use; the check
    /// for reading is made when the bytes are looked at.
    ///
    /// ```
    /// use wharf_queue::IoBuf;
    /// let part = vec![1, 2, 3, 4].slice(1..3);
    /// assert_eq!(part.as_bytes(), [2, 3]);
    /// assert_eq!(part.into_inner(), [1, 2, 3, 4]);
    /// ```
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        let begin = match range.start_bound() {
            Bound::Included(&n) => n,
            Bound::Excluded(&n) => n.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&n) => Some(n.saturating_add(1)),
            Bound::Excluded(&n) => Some(n),
            Bound::Unbounded => None,
        };
        assert!(
            end.is_none_or(|end| begin <= end),
            "slice begins after its end"
        );
        assert!(
            begin <= self.as_bytes().len(),
            "slice begins after the initialised bytes"
        );
        Slice {
            inner: self,
            begin,
            end,
        }
    }
}

/// A buffer that can be written *into*: received into, or read into from a file.
///
/// # Safety
/// Between calls that change it through `&mut self`, [`IoBufMut::as_uninit`] gives the same region
/// each time, and its first `as_bytes().len()` bytes are the bytes of [`IoBuf::as_bytes`].
pub unsafe trait IoBufMut: IoBuf {
    /// The whole region that may be filled, from its beginning. For a `Vec` this is its capacity.
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>];

    /// Records that the first `filled` bytes of [`IoBufMut::as_uninit`] have been filled. A growable
    /// buffer takes this as its new length; one of fixed size does nothing.
    ///
    /// # Safety
    /// The first `filled` bytes of the region are initialised.
    unsafe fn set_filled(&mut self, filled: usize);

    /// Copies as many of `bytes` as there is room for to the beginning of the region, records them
    /// as filled, and returns how many they are: what an operation does, done by hand.
    ///
    /// ```
    /// use wharf_queue::IoBufMut;
    /// let mut buf = Vec::with_capacity(3);
    /// let room = buf.capacity();
    /// assert_eq!(buf.fill(&vec![7; room + 1]), room);
    /// assert_eq!(buf, vec![7; room]);
    /// ```
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let region = self.as_uninit();
        let count = bytes.len().min(region.len());
        for (to, from) in region.iter_mut().zip(bytes) {
            to.write(*from);
        }
        // SAFETY: that many bytes of the region were written above.
        unsafe { self.set_filled(count) };
        count
    }
}

impl IoBuf for Vec<u8> {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

// SAFETY: the region is the vector's allocation, whose beginning holds its elements.
unsafe impl IoBufMut for Vec<u8> {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        let (pointer, capacity) = (self.as_mut_ptr(), self.capacity());
        // SAFETY: `capacity` bytes are allocated at `pointer`, and `MaybeUninit` asks nothing of
        // their contents.
        unsafe { std::slice::from_raw_parts_mut(pointer.cast(), capacity) }
    }

    unsafe fn set_filled(&mut self, filled: usize) {
        // SAFETY: the caller initialised `filled` bytes of the region, which is the capacity.
        unsafe { self.set_len(filled) }
    }
}

/// Sees initialised bytes as bytes that may be filled.
fn uninit(bytes: &mut [u8]) -> &mut [MaybeUninit<u8>] {
    let (pointer, len) = (bytes.as_mut_ptr(), bytes.len());
    // SAFETY: the region is that of `bytes`, and only the kernel or `IoBufMut`'s users write into
    // it, who initialise what they write.
    unsafe { std::slice::from_raw_parts_mut(pointer.cast(), len) }
}

macro_rules! fixed_size_buffer {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        impl<$($generics)*> IoBuf for $type {
            fn as_bytes(&self) -> &[u8] {
                &self[..]
            }
        }

        // SAFETY: the region and the bytes are the same memory, of a fixed size.
        unsafe impl<$($generics)*> IoBufMut for $type {
            fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
                uninit(&mut self[..])
            }

            unsafe fn set_filled(&mut self, _filled: usize) {}
        }
    )*};
}

fixed_size_buffer!(
    [] Box<[u8]>,
    [const N: usize] [u8; N],
    [const N: usize] Box<[u8; N]>,
    [] &'static mut [u8],
    [] AlignedBuf,
    [] crate::bufpool::PoolBuf,
);

macro_rules! shared_buffer {
    ($($type:ty),* $(,)?) => {$(
        impl IoBuf for $type {
            fn as_bytes(&self) -> &[u8] {
                self.as_ref()
            }
        }
    )*};
}

shared_buffer!(&'static [u8], std::rc::Rc<[u8]>, std::sync::Arc<[u8]>);

impl IoBuf for &'static str {
    fn as_bytes(&self) -> &[u8] {
        str::as_bytes(self)
    }
}

impl IoBuf for String {
    fn as_bytes(&self) -> &[u8] {
        str::as_bytes(self)
    }
}

#[cfg(feature = "bytes")]
impl IoBuf for bytes::Bytes {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

#[cfg(feature = "bytes")]
impl IoBuf for bytes::BytesMut {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

// SAFETY: as for `Vec`: the region is the allocation from the first byte on.
#[cfg(feature = "bytes")]
unsafe impl IoBufMut for bytes::BytesMut {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        let (pointer, capacity) = (self.as_mut_ptr(), self.capacity());
        // SAFETY: `capacity` bytes are allocated at `pointer` and exclusively owned.
        unsafe { std::slice::from_raw_parts_mut(pointer.cast(), capacity) }
    }

    unsafe fn set_filled(&mut self, filled: usize) {
        // SAFETY: the caller initialised `filled` bytes of the region, which is the capacity.
        unsafe { self.set_len(filled) }
    }
}

/// A part of a buffer, made by [`IoBuf::slice`]. Reading into it leaves the bytes before it alone.
#[derive(Clone, Debug)]
pub struct Slice<B> {
    inner: B,
    begin: usize,
    end: Option<usize>,
}

impl<B> Slice<B> {
    /// Takes the whole buffer back.
    pub fn into_inner(self) -> B {
        self.inner
    }

    /// Where the part begins within the whole buffer, in bytes.
    pub fn begin(&self) -> usize {
        self.begin
    }
}

impl<B: IoBuf> IoBuf for Slice<B> {
    fn as_bytes(&self) -> &[u8] {
        let bytes = self.inner.as_bytes();
        let end = self.end.unwrap_or(bytes.len()).min(bytes.len());
        &bytes[self.begin.min(end)..end]
    }
}

// SAFETY: a sub-range of the inner region; `begin` was checked to lie within its initialised bytes,
// and the inner buffer cannot be changed while it is inside.
unsafe impl<B: IoBufMut> IoBufMut for Slice<B> {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        let region = self.inner.as_uninit();
        let end = self.end.unwrap_or(region.len()).min(region.len());
        &mut region[self.begin.min(end)..end]
    }

    unsafe fn set_filled(&mut self, filled: usize) {
        let filled = (self.begin + filled).max(self.inner.as_bytes().len());
        // SAFETY: the bytes before `begin` were initialised when the slice was made, the caller
        // initialised `filled` more, and what lies beyond was initialised before.
        unsafe { self.inner.set_filled(filled) }
    }
}

/// Zeroed memory with a chosen alignment, for direct file I/O (`O_DIRECT`), whose buffers, offsets
/// and lengths must be multiples of the device's block size.
///
/// ```
/// let buf = wharf_queue::AlignedBuf::new(8192, 4096);
/// assert_eq!(buf.len(), 8192);
/// assert_eq!(buf.as_ptr() as usize % 4096, 0);
/// ```
pub struct AlignedBuf {
    pointer: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned and plain bytes.
unsafe impl Send for AlignedBuf {}
// SAFETY: a shared reference only reads plain bytes.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Allocates `len` zeroed bytes whose address is a multiple of `align`.
    ///
    /// # Panics
    /// If `align` is not a power of two, or the size exceeds `isize::MAX`.
    #[must_use]
    pub fn new(len: usize, align: usize) -> AlignedBuf {
        let layout =
            Layout::from_size_align(len.max(1), align).expect("size and alignment in range");
        // SAFETY: the layout's size is not zero.
        let pointer = unsafe { alloc::alloc_zeroed(layout) };
        let pointer = NonNull::new(pointer).unwrap_or_else(|| alloc::handle_alloc_error(layout));
        let layout = Layout::from_size_align(len, align).expect("smaller than the one above");
        AlignedBuf { pointer, layout }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` allocated and zeroed this many bytes.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: `new` allocated and zeroed this many bytes, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        let size = self.layout.size().max(1);
        let layout = Layout::from_size_align(size, self.layout.align()).expect("as in `new`");
        // SAFETY: allocated in `new` with this very layout.
        unsafe { alloc::dealloc(self.pointer.as_ptr(), layout) }
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "AlignedBuf({} bytes, aligned to {})",
            self.len(),
            self.layout.align()
        )
    }
}

/// Several buffers that one vectored operation sends or writes from, in order.
///
/// What is lent are the buffers themselves, for as long as the operation is in flight: bytes that
/// are made only for the call are none of them.
///
/// ```compile_fail
/// struct Temporary;
/// impl wharf_queue::IoVec for Temporary {
///     fn for_each<'a>(&'a self, f: &mut dyn FnMut(&'a [u8])) {
///         let bytes = vec![1, 2, 3];
///         f(&bytes);
///     }
/// }
/// ```
pub trait IoVec: 'static {
    /// Calls `f` with the bytes of each buffer.
    fn for_each<'a>(&'a self, f: &mut dyn FnMut(&'a [u8]));
}

/// Several buffers that one vectored operation fills, in order. As with [`IoVec`], they are parts
/// of `self`, or live for ever.
pub trait IoVecMut: 'static {
    /// Calls `f` with the region of each buffer.
    fn for_each_mut<'a>(&'a mut self, f: &mut dyn FnMut(&'a mut [MaybeUninit<u8>]));

    /// Records that the first `filled` bytes of the buffers, taken as one sequence, were filled.
    ///
    /// # Safety
    /// They are initialised.
    unsafe fn set_filled(&mut self, filled: usize);

    /// Copies as many of `bytes` as there is room for, records them as filled, and returns how many
    /// they are: what an operation does, done by hand.
    ///
    /// ```
    /// use wharf_queue::IoVecMut;
    /// let mut bufs = [[0; 2], [0; 2]];
    /// assert_eq!(bufs.fill(&[1, 2, 3]), 3);
    /// assert_eq!(bufs, [[1, 2], [3, 0]]);
    /// ```
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let mut filled = 0;
        self.for_each_mut(&mut |region| {
            let rest = &bytes[filled..];
            let count = rest.len().min(region.len());
            for (to, from) in region.iter_mut().zip(rest) {
                to.write(*from);
            }
            filled += count;
        });
        // SAFETY: the first `filled` bytes of the sequence were written above.
        unsafe { self.set_filled(filled) };
        filled
    }
}

macro_rules! vectored {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        impl<B: IoBuf, $($generics)*> IoVec for $type {
            fn for_each<'a>(&'a self, f: &mut dyn FnMut(&'a [u8])) {
                self.iter().for_each(|buf| f(buf.as_bytes()));
            }
        }

        impl<B: IoBufMut, $($generics)*> IoVecMut for $type {
            fn for_each_mut<'a>(&'a mut self, f: &mut dyn FnMut(&'a mut [MaybeUninit<u8>])) {
                self.iter_mut().for_each(|buf| f(buf.as_uninit()));
            }

            unsafe fn set_filled(&mut self, mut filled: usize) {
                for buf in self.iter_mut() {
                    let here = filled.min(buf.as_uninit().len());
                    // SAFETY: the sequence is filled in order, so this buffer got `here` bytes.
                    unsafe { buf.set_filled(here) };
                    filled -= here;
                }
            }
        }
    )*};
}

vectored!([] Vec<B>, [const N: usize] [B; N]);

/// Memory that the kernel reads from while an operation is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawBuf {
    pub(crate) pointer: *const u8,
    pub(crate) len: usize,
}

impl RawBuf {
    /// What follows the first `count` bytes.
    pub(crate) fn after(self, count: usize) -> RawBuf {
        let count = count.min(self.len);
        RawBuf {
            pointer: self.pointer.wrapping_add(count),
            len: self.len - count,
        }
    }

    pub(crate) fn new(bytes: &[u8]) -> RawBuf {
        RawBuf {
            pointer: bytes.as_ptr(),
            len: bytes.len(),
        }
    }
}

/// Memory that the kernel writes into while an operation is in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawBufMut {
    pub(crate) pointer: *mut u8,
    pub(crate) len: usize,
}

impl RawBufMut {
    pub(crate) fn new(region: &mut [MaybeUninit<u8>]) -> RawBufMut {
        RawBufMut {
            pointer: region.as_mut_ptr().cast(),
            len: region.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slice_of_vec_fills_from_its_begin_and_keeps_what_is_before() {
        let mut vec = Vec::with_capacity(8);
        vec.extend_from_slice(b"abc");
        let mut slice = vec.slice(2..6);
        let region = slice.as_uninit();
        assert_eq!(region.len(), 4);
        region[0].write(b'X');
        region[1].write(b'Y');
        // SAFETY: the two first bytes were written above.
        unsafe { slice.set_filled(2) };
        assert_eq!(slice.into_inner(), b"abXY");
    }

    #[test]
    fn aligned_buf_of_length_zero_is_empty() {
        assert!(AlignedBuf::new(0, 512).is_empty());
    }

    #[test]
    fn vectored_fill_is_spread_in_order() {
        let mut bufs = vec![Vec::with_capacity(3), Vec::with_capacity(3)];
        let mut next = b'a';
        bufs.for_each_mut(&mut |region| {
            for byte in region {
                byte.write(next);
                next += 1;
            }
        });
        // SAFETY: all bytes of both regions were written above.
        unsafe { IoVecMut::set_filled(&mut bufs, 4) };
        assert_eq!(bufs, [b"abc".to_vec(), b"d".to_vec()]);
    }
}
