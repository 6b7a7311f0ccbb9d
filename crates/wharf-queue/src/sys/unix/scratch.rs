//! The message header of an operation in flight: buffers, address, flags.

#![expect(unsafe_code)]
// UNSAFETY: the kernel reads and writes this record by pointers into it; see `Slot::scratch`.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::{Address, RawAddress, RawError};
use crate::buf::{RawBuf, RawBufMut};

/// The most buffers of one vectored call (`IOV_MAX`, readv(2)).
const MAX_BUFFERS: usize = 1024;

/// Kept with a slot and reused, so that its vector is allocated once. It does not move while the
/// slot lives, so the header may point to its neighbours.
pub(crate) struct Scratch {
    header: libc::msghdr,
    buffers: Vec<libc::iovec>,
    address: RawAddress,
}

impl Default for Scratch {
    fn default() -> Scratch {
        // SAFETY: all zeros is a header without buffers, address or control data.
        let header = unsafe { MaybeUninit::zeroed().assume_init() };
        Scratch {
            header,
            buffers: Vec::new(),
            address: RawAddress::empty(),
        }
    }
}

/// The functions take a pointer, because the header keeps pointers into the record, which a unique
/// reference to the whole would invalidate.
impl Scratch {
    fn begin<'a>(this: NonNull<Scratch>) -> &'a mut Scratch {
        // SAFETY: the slot's record lives as long as the slot, and no operation is in flight that
        // would use it: it is being prepared.
        let scratch = unsafe { &mut *this.as_ptr() };
        scratch.buffers.clear();
        scratch.header.msg_name = std::ptr::null_mut();
        scratch.header.msg_namelen = 0;
        scratch.header.msg_flags = 0;
        scratch
    }

    fn end(&mut self) -> usize {
        self.header.msg_iov = self.buffers.as_mut_ptr();
        self.header.msg_iovlen = self.buffers.len() as _;
        Scratch::total(self)
    }

    fn add(&mut self, pointer: *mut u8, len: usize) {
        // Those beyond the limit are left out: a short count, not an error.
        if self.buffers.len() < MAX_BUFFERS && len > 0 {
            self.buffers.push(libc::iovec {
                iov_base: pointer.cast(),
                iov_len: len,
            });
        }
    }

    /// Forgets what the record held and sets the regions to fill. Returns their total length.
    pub(crate) fn set_regions(
        this: NonNull<Scratch>,
        regions: impl FnOnce(&mut dyn FnMut(RawBufMut)),
    ) -> usize {
        let scratch = Scratch::begin(this);
        regions(&mut |region| scratch.add(region.pointer, region.len));
        scratch.end()
    }

    /// Forgets what the record held and sets the bytes to send. Returns their total length.
    pub(crate) fn set_bytes(
        this: NonNull<Scratch>,
        buffers: impl FnOnce(&mut dyn FnMut(RawBuf)),
    ) -> usize {
        let scratch = Scratch::begin(this);
        buffers(&mut |bytes| scratch.add(bytes.pointer.cast_mut(), bytes.len));
        scratch.end()
    }

    /// Sets the address to connect or send to.
    pub(crate) fn set_address(this: NonNull<Scratch>, to: &Address) -> Result<(), RawError> {
        // SAFETY: as in `begin`.
        let scratch = unsafe { &mut *this.as_ptr() };
        scratch.address.set(to)?;
        scratch.header.msg_name = (&raw mut scratch.address.storage).cast();
        scratch.header.msg_namelen = scratch.address.len;
        Ok(())
    }

    /// Makes room for the address of the sender.
    pub(crate) fn expect_address(this: NonNull<Scratch>) {
        // SAFETY: as in `begin`.
        let scratch = unsafe { &mut *this.as_ptr() };
        scratch.address = RawAddress::empty();
        scratch.header.msg_name = (&raw mut scratch.address.storage).cast();
        scratch.header.msg_namelen = RawAddress::CAPACITY;
    }

    /// The sender's address, after the operation.
    pub(crate) fn received_address(this: NonNull<Scratch>) -> Address {
        // SAFETY: the operation is finished, so nobody else uses the record.
        let scratch = unsafe { &*this.as_ptr() };
        RawAddress {
            storage: scratch.address.storage,
            len: scratch.header.msg_namelen,
        }
        .get()
    }

    /// Whether the datagram was longer than the buffers, after the operation.
    pub(crate) fn was_truncated(this: NonNull<Scratch>) -> bool {
        // SAFETY: the operation is finished, so nobody else uses the record.
        let flags = unsafe { (*this.as_ptr()).header.msg_flags };
        flags & libc::MSG_TRUNC != 0
    }

    /// The header, for recvmsg(2) and sendmsg(2) and their ring operations.
    pub(crate) fn header(this: *mut Scratch) -> *mut libc::msghdr {
        // SAFETY: only an address is computed, of a record that lives as long as its slot.
        unsafe { &raw mut (*this).header }
    }

    /// The buffers, for readv(2) and its like: the first, and how many.
    pub(crate) fn buffers(this: *mut Scratch) -> (*const libc::iovec, u32) {
        // SAFETY: the slot's record lives as long as the slot and is not being changed.
        let scratch = unsafe { &*this };
        (scratch.buffers.as_ptr(), scratch.buffers.len() as u32)
    }

    /// How many bytes all buffers have together.
    pub(crate) fn total(this: *mut Scratch) -> usize {
        // SAFETY: the slot's record lives as long as the slot and is not being changed.
        let scratch = unsafe { &*this };
        scratch
            .buffers
            .iter()
            .fold(0, |sum, buffer| sum.saturating_add(buffer.iov_len))
    }

    /// The address to connect to.
    pub(crate) fn address(this: *mut Scratch) -> (*const libc::sockaddr, libc::socklen_t) {
        // SAFETY: the slot's record lives as long as the slot and is not being changed.
        let scratch = unsafe { &*this };
        (
            (&raw const scratch.address.storage).cast(),
            scratch.address.len,
        )
    }

    /// Leaves out the first `count` bytes, which have been sent. Returns how many are left.
    pub(crate) fn advance(this: *mut Scratch, mut count: usize) -> usize {
        // SAFETY: between two calls of a sending operation nobody else uses the record.
        let scratch = unsafe { &mut *this };
        let whole = scratch.buffers.iter().take_while(|buffer| {
            let done = count >= buffer.iov_len;
            count -= if done { buffer.iov_len } else { 0 };
            done
        });
        let whole = whole.count();
        scratch.buffers.drain(..whole);
        if let Some(first) = scratch.buffers.first_mut() {
            first.iov_base = first.iov_base.cast::<u8>().wrapping_add(count).cast();
            first.iov_len -= count;
        }
        scratch.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advance_leaves_out_what_was_sent() {
        let mut scratch = Scratch::default();
        let this = NonNull::from(&mut scratch);
        let (first, second) = ([0u8; 5], [0u8; 7]);
        let total = Scratch::set_bytes(this, |add| {
            add(RawBuf::new(&first));
            add(RawBuf::new(&[]));
            add(RawBuf::new(&second));
        });
        assert_eq!(total, 12);
        assert_eq!(Scratch::advance(this.as_ptr(), 3), 9);
        assert_eq!(Scratch::advance(this.as_ptr(), 2), 7);
        let (pointer, count) = Scratch::buffers(this.as_ptr());
        assert_eq!(count, 1);
        // SAFETY: there is one buffer, as was just seen.
        let base = unsafe { (*pointer).iov_base };
        assert_eq!(base, second.as_ptr().cast_mut().cast());
        assert_eq!(Scratch::advance(this.as_ptr(), 7), 0);
    }
}
