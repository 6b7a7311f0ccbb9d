//! How a datagram and its sender lie in a buffer of a pool.
//!
//! ```text
//! | namelen u32 | payloadlen u32 | truncated u32 | unused u32 | address, ROOM bytes | payload ... |
//! ```

use std::ops::Range;

use super::{Address, RawAddress};

/// Room for an address.
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
    let (name, payload, truncated) = (number(0), number(4), number(8));
    let from = Address::parse(&record[FIXED..FIXED + name.min(ADDRESS_ROOM)]);
    let end = (HEADER_LEN + payload).min(record.len());
    (from, HEADER_LEN..end, truncated != 0)
}

/// Writes the header before a payload of `payload` bytes that is already in its place. Returns the
/// length of the whole record.
pub(crate) fn write_header(
    record: &mut [u8],
    from: &[u8],
    payload: usize,
    truncated: bool,
) -> usize {
    let name = from.len().min(ADDRESS_ROOM);
    for (at, number) in [(0, name as u32), (4, payload as u32), (8, truncated.into())] {
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
        let len = write_header(&mut record, raw.bytes(), 7, true);
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
