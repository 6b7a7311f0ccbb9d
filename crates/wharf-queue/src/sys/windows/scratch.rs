//! The message of an operation in flight: buffers, address, whether it was truncated.

#![expect(unsafe_code)]
// UNSAFETY: the system reads and writes this record by pointers into it; see `Slot::scratch`.

use std::ptr::{self, NonNull};

use windows_sys::Win32::Networking::WinSock::{SOCKADDR, WSABUF};

use super::{Address, MAX_TRANSFER, RawAddress, RawError};
use crate::buf::{RawBuf, RawBufMut};

/// The most buffers of one vectored operation, as elsewhere.
const MAX_BUFFERS: usize = 1024;

/// Kept with a slot and reused, so that its vectors are allocated once. It does not move while the
/// slot lives, so the system may write the sender's address into it.
pub(crate) struct Scratch {
    buffers: Vec<RawBufMut>,
    /// What one call takes of the buffers.
    call: Vec<WSABUF>,
    address: RawAddress,
    /// There is an address to send to, or room for a sender's.
    has_address: bool,
    truncated: bool,
}

// SAFETY: the pointers lead to what an operation lends, which the thread that uses them may do.
unsafe impl Send for Scratch {}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            buffers: Vec::new(),
            call: Vec::new(),
            address: RawAddress::empty(),
            has_address: false,
            truncated: false,
        }
    }
}

/// The functions take a pointer, because the system keeps pointers into the record, which a unique
/// reference to the whole would invalidate.
impl Scratch {
    fn begin<'a>(this: NonNull<Scratch>) -> &'a mut Scratch {
        // SAFETY: the slot's record lives as long as the slot, and no operation is in flight that
        // would use it: it is being prepared.
        let scratch = unsafe { &mut *this.as_ptr() };
        scratch.buffers.clear();
        scratch.has_address = false;
        scratch.truncated = false;
        scratch
    }

    fn add(&mut self, pointer: *mut u8, len: usize) {
        // Those beyond the limit are left out: a short count, not an error.
        if self.buffers.len() < MAX_BUFFERS && len > 0 {
            self.buffers.push(RawBufMut { pointer, len });
        }
    }

    /// Forgets what the record held and sets the regions to fill. Returns their total length.
    pub(crate) fn set_regions(
        this: NonNull<Scratch>,
        regions: impl FnOnce(&mut dyn FnMut(RawBufMut)),
    ) -> usize {
        let scratch = Scratch::begin(this);
        regions(&mut |region| scratch.add(region.pointer, region.len));
        Scratch::total(this.as_ptr())
    }

    /// Forgets what the record held and sets the bytes to send. Returns their total length.
    pub(crate) fn set_bytes(
        this: NonNull<Scratch>,
        buffers: impl FnOnce(&mut dyn FnMut(RawBuf)),
    ) -> usize {
        let scratch = Scratch::begin(this);
        buffers(&mut |bytes| scratch.add(bytes.pointer.cast_mut(), bytes.len));
        Scratch::total(this.as_ptr())
    }

    /// Sets the address to connect or send to.
    pub(crate) fn set_address(this: NonNull<Scratch>, to: &Address) -> Result<(), RawError> {
        // SAFETY: as in `begin`.
        let scratch = unsafe { &mut *this.as_ptr() };
        scratch.has_address = true;
        scratch.address.set(to)
    }

    /// Makes room for the address of the sender.
    pub(crate) fn expect_address(this: NonNull<Scratch>) {
        // SAFETY: as in `begin`.
        let scratch = unsafe { &mut *this.as_ptr() };
        scratch.address = RawAddress::empty();
        scratch.has_address = true;
    }

    /// The sender's address, after the operation.
    pub(crate) fn received_address(this: NonNull<Scratch>) -> Address {
        // SAFETY: the operation is finished, so nobody else uses the record.
        unsafe { &*this.as_ptr() }.address.get()
    }

    /// Whether the datagram was longer than the buffers, after the operation.
    pub(crate) fn was_truncated(this: NonNull<Scratch>) -> bool {
        // SAFETY: the operation is finished, so nobody else uses the record.
        unsafe { (*this.as_ptr()).truncated }
    }

    /// Notes that the datagram was longer than the buffers.
    pub(crate) fn set_truncated(this: *mut Scratch) {
        // SAFETY: the slot's record lives as long as the slot; only one field is written.
        unsafe { (*this).truncated = true };
    }

    /// How many bytes all buffers have together.
    pub(crate) fn total(this: *mut Scratch) -> usize {
        // SAFETY: the slot's record lives as long as the slot and is not being changed.
        let buffers = unsafe { &(*this).buffers };
        buffers
            .iter()
            .fold(0, |sum, buffer| sum.saturating_add(buffer.len))
    }

    /// The buffers from their `done`-th byte on, as many as one call takes. Winsock copies the list
    /// before the call returns (WSASend, WSARecv). There is always one, of no length at the end.
    pub(crate) fn buffers(this: *mut Scratch, mut done: usize) -> (*const WSABUF, u32) {
        // SAFETY: between two calls of an operation nobody else uses the record; the address, which
        // the system may write to, is not referred to.
        let buffers = unsafe { &(*this).buffers };
        // SAFETY: as above.
        let call = unsafe { &mut (*this).call };
        call.clear();
        let mut room = MAX_TRANSFER;
        for buffer in buffers {
            let skipped = done.min(buffer.len);
            done -= skipped;
            let len = (buffer.len - skipped).min(room);
            if len > 0 {
                room -= len;
                call.push(WSABUF {
                    len: len as u32,
                    buf: buffer.pointer.wrapping_add(skipped),
                });
            }
        }
        if call.is_empty() {
            call.push(WSABUF {
                len: 0,
                buf: ptr::null_mut(),
            });
        }
        (call.as_ptr(), call.len() as u32)
    }

    /// The buffer that holds the `done`-th byte, from that byte on; `None` at the end.
    pub(crate) fn piece(this: *mut Scratch, mut done: usize) -> Option<RawBufMut> {
        // SAFETY: the slot's record lives as long as the slot and is not being changed.
        let buffers = unsafe { &(*this).buffers };
        for buffer in buffers {
            if done < buffer.len {
                return Some(RawBufMut {
                    pointer: buffer.pointer.wrapping_add(done),
                    len: buffer.len - done,
                });
            }
            done -= buffer.len;
        }
        None
    }

    /// The address to connect or send to; null if there is none.
    pub(crate) fn address(this: *mut Scratch) -> (*const SOCKADDR, i32) {
        // SAFETY: the slot's record lives as long as the slot and is not being changed.
        let scratch = unsafe { &*this };
        if !scratch.has_address {
            return (ptr::null(), 0);
        }
        let address = (&raw const scratch.address.storage).cast();
        (address, scratch.address.len)
    }

    /// The family of the address to connect to.
    pub(crate) fn family(this: *mut Scratch) -> i32 {
        // SAFETY: the slot's record lives as long as the slot and is not being changed.
        i32::from(unsafe { (*this).address.storage.ss_family })
    }

    /// Where the system may write the sender's address and its length; null if nobody asks for it.
    pub(crate) fn address_room(this: *mut Scratch) -> (*mut SOCKADDR, *mut i32) {
        // SAFETY: the slot's record lives as long as the slot.
        if !unsafe { (*this).has_address } {
            return (ptr::null_mut(), ptr::null_mut());
        }
        // SAFETY: as above; nobody else uses the record.
        unsafe { (*this).address.len = RawAddress::CAPACITY };
        // SAFETY: only an address is computed.
        let storage = unsafe { &raw mut (*this).address.storage };
        // SAFETY: only an address is computed.
        let len = unsafe { &raw mut (*this).address.len };
        (storage.cast(), len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_where_the_last_call_ended() {
        let mut scratch = Scratch::default();
        let this = NonNull::from(&mut scratch);
        let (first, second) = ([0u8; 5], [0u8; 7]);
        let total = Scratch::set_bytes(this, |add| {
            add(RawBuf::new(&first));
            add(RawBuf::new(&[]));
            add(RawBuf::new(&second));
        });
        assert_eq!(total, 12);
        assert_eq!(Scratch::buffers(this.as_ptr(), 0).1, 2);
        let (pointer, count) = Scratch::buffers(this.as_ptr(), 6);
        assert_eq!(count, 1);
        // SAFETY: there is one buffer, as was just seen.
        let buffer = unsafe { *pointer };
        assert_eq!(
            (buffer.buf.cast_const(), buffer.len),
            (&raw const second[1], 6)
        );
        let piece = Scratch::piece(this.as_ptr(), 3).expect("two are left of the first");
        assert_eq!(
            (piece.pointer.cast_const(), piece.len),
            (&raw const first[3], 2)
        );
        assert!(Scratch::piece(this.as_ptr(), 12).is_none());
    }
}
