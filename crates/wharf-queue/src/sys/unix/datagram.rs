//! How a datagram and its sender lie in a buffer of a pool.
//!
//! It is the layout of io_uring_prep_recvmsg_multishot(3): a header of four numbers, room for the
//! address, the payload. The emulation writes the same.
//!
//! ```text
//! | namelen u32 | controllen u32 | payloadlen u32 | flags u32 | address, ROOM bytes | payload ... |
//! ```

use std::ops::Range;

use super::{Address, RawAddress};

/// Room for an address: the header that the receive is submitted with says as much.
const ADDRESS_ROOM: usize = RawAddress::CAPACITY as usize;
const FIXED: usize = 16;

/// What precedes the payload.
pub(crate) const HEADER_LEN: usize = FIXED + ADDRESS_ROOM;

/// Takes a record apart: the sender, where the payload lies, whether it was truncated.
pub(crate) fn parse(record: &[u8]) -> (Address, Range<usize>, bool) {
    if record.len() < HEADER_LEN {
        return (Address::Unnamed, 0..0, false);
    }
    let number =
        |at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().expect("four bytes")) as usize;
    let (name, payload, flags) = (number(0), number(8), number(12));
    let from = Address::parse(&record[FIXED..FIXED + name.min(ADDRESS_ROOM)]);
    let end = (HEADER_LEN + payload).min(record.len());
    let truncated = flags & libc::MSG_TRUNC as usize != 0;
    (from, HEADER_LEN..end, truncated)
}

/// Writes the header before a payload of `payload` bytes that is already in its place. Returns the
/// length of the whole record.
pub(crate) fn write_header(
    record: &mut [u8],
    from: &[u8],
    payload: usize,
    truncated: bool,
) -> usize {
    let flags = if truncated { libc::MSG_TRUNC as u32 } else { 0 };
    let name = from.len().min(ADDRESS_ROOM);
    for (at, number) in [(0, name as u32), (4, 0), (8, payload as u32), (12, flags)] {
        record[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    record[FIXED..FIXED + name].copy_from_slice(&from[..name]);
    HEADER_LEN + payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn what_is_written_is_parsed() {
        let address = Address::from("127.0.0.1:9".parse::<SocketAddr>().expect("valid"));
        let mut raw = RawAddress::empty();
        raw.set(&address).expect("valid");
        let mut record = vec![0; HEADER_LEN + 10];
        let mut name = vec![0; raw.len as usize];
        let family = (libc::AF_INET as libc::sa_family_t).to_ne_bytes();
        let at = std::mem::offset_of!(libc::sockaddr, sa_family);
        name[at..at + family.len()].copy_from_slice(&family);
        name[2..4].copy_from_slice(&9u16.to_be_bytes());
        name[4..8].copy_from_slice(&[127, 0, 0, 1]);
        let len = write_header(&mut record, &name, 7, true);
        let (from, payload, truncated) = parse(&record[..len]);
        assert_eq!(
            (from, payload, truncated),
            (address, HEADER_LEN..HEADER_LEN + 7, true)
        );
    }

    #[test]
    fn a_record_that_is_too_short_is_empty() {
        assert_eq!(parse(&[0; 10]), (Address::Unnamed, 0..0, false));
    }
}
