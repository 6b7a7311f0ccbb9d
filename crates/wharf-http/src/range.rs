//! The Range header: which bytes of a file a client asks for.
//!
//! Owns parsing and the limits against abuse. It knows nothing of conditions or bodies.

use std::ops::Range;

/// More parts than this are not worth the framing around them.
const PARTS_LIMIT: usize = 16;

/// Which bytes to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Selection {
    /// All: no range was asked for, or none that is to be honoured.
    Whole,
    /// These, none of them empty: one part, or several in the client's order.
    Parts(Vec<Range<u64>>),
    /// All that was asked for lies behind the end: 416.
    Unsatisfiable,
}

/// What a Range header selects from `len` bytes.
///
/// A header that does not follow the grammar of RFC 9110, section 14, or is in another unit than
/// bytes, is ignored, as that says. So is one with more than 16 parts, or with parts that overlap
/// or come to more than the file: they would only make the answer larger. Of an empty file no
/// range can be named, and the whole of it is sent.
pub(crate) fn select(header: &[u8], len: u64) -> Selection {
    let Some(parts) = parse(header, len) else {
        return Selection::Whole;
    };
    if len == 0 {
        return Selection::Whole;
    }
    if parts.is_empty() {
        return Selection::Unsatisfiable;
    }
    if overlap(&parts) {
        return Selection::Whole;
    }
    Selection::Parts(parts)
}

/// The parts that are not wholly behind the end; `None` if the header is to be ignored.
fn parse(header: &[u8], len: u64) -> Option<Vec<Range<u64>>> {
    let text = std::str::from_utf8(header).ok()?;
    let (unit, list) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut parts = Vec::new();
    let mut count = 0;
    for spec in list.split(',') {
        let spec = spec.trim_matches([' ', '\t']);
        // Lists may have empty elements (RFC 9110, section 5.6.1.2).
        if spec.is_empty() {
            continue;
        }
        count += 1;
        if count > PARTS_LIMIT {
            return None;
        }
        let (first, last) = spec.split_once('-')?;
        let part = if first.is_empty() {
            len.saturating_sub(number(last)?)..len
        } else {
            let first = number(first)?;
            let last = if last.is_empty() {
                u64::MAX
            } else {
                number(last)?
            };
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(len)
        };
        if part.start < part.end {
            parts.push(part);
        }
    }
    (count > 0).then_some(parts)
}

/// A number of digits; one that is too large is as good as the largest.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

fn overlap(parts: &[Range<u64>]) -> bool {
    let mut sorted: Vec<&Range<u64>> = parts.iter().collect();
    sorted.sort_unstable_by_key(|part| part.start);
    sorted.windows(2).any(|pair| pair[0].end > pair[1].start)
}

#[cfg(test)]
mod tests {
    use super::{PARTS_LIMIT, Selection, select};
    use std::ops::Range;

    fn parts(header: &str, len: u64) -> Vec<Range<u64>> {
        match select(header.as_bytes(), len) {
            Selection::Parts(parts) => parts,
            other => panic!("{header}: {other:?}"),
        }
    }

    fn one(header: &str, len: u64) -> Range<u64> {
        let parts = parts(header, len);
        assert_eq!(parts.len(), 1, "{header}: {parts:?}");
        parts[0].clone()
    }

    #[test]
    fn single_ranges_are_cut_at_the_end() {
        assert_eq!(one("bytes=0-0", 10), 0..1);
        assert_eq!(one("bytes=0-9", 10), 0..10);
        assert_eq!(one("bytes=5-", 10), 5..10);
        assert_eq!(one("bytes=5-100", 10), 5..10);
        assert_eq!(one("bytes=-3", 10), 7..10);
        assert_eq!(one("bytes=-100", 10), 0..10);
        assert_eq!(one("BYTES = 2-3", 10), 2..4);
        assert_eq!(one("bytes=0-18446744073709551615", 10), 0..10);
        assert_eq!(one("bytes=1-99999999999999999999999", 10), 1..10);
        assert_eq!(one("bytes=-99999999999999999999999", 10), 0..10);
        assert_eq!(
            one("bytes=18446744073709551613-", u64::MAX),
            u64::MAX - 2..u64::MAX
        );
    }

    #[test]
    fn several_ranges_keep_the_order_of_the_client() {
        assert_eq!(parts("bytes=8-9, 0-1 ,\t4-5", 10), [8..10, 0..2, 4..6]);
        assert_eq!(parts("bytes=,0-0,,-1,", 10), [0..1, 9..10]);
        assert_eq!(parts("bytes=0-1,50-60,-1", 10), [0..2, 9..10]);
        assert_eq!(parts("bytes=0-4,5-9", 10), [0..5, 5..10]);
    }

    #[test]
    fn ranges_behind_the_end_are_unsatisfiable() {
        for header in [
            "bytes=10-",
            "bytes=10-20,30-",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            assert_eq!(
                select(header.as_bytes(), 10),
                Selection::Unsatisfiable,
                "{header}"
            );
        }
    }

    #[test]
    fn what_is_no_range_of_bytes_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=1 -2",
            "bytes=0x1-2",
            "lines=1-2",
            "bytes:1-2",
            "bytes=0-1;2-3",
            "bytes=0-1,x",
            "bytes=--1",
            "bytes=\u{661}-2",
        ] {
            assert_eq!(select(header.as_bytes(), 10), Selection::Whole, "{header}");
        }
        assert_eq!(select(b"bytes=\xff-", 10), Selection::Whole);
    }

    #[test]
    fn abuse_gets_the_whole_file() {
        assert_eq!(select(b"bytes=0-,0-,0-", 10), Selection::Whole);
        assert_eq!(select(b"bytes=0-5,5-9", 10), Selection::Whole);
        assert_eq!(select(b"bytes=-5,-6", 10), Selection::Whole);
        let many = |count: usize| {
            let specs: Vec<String> = (0..count).map(|at| format!("{0}-{0}", at * 2)).collect();
            format!("bytes={}", specs.join(","))
        };
        assert_eq!(parts(&many(PARTS_LIMIT), 1000).len(), PARTS_LIMIT);
        assert_eq!(
            select(many(PARTS_LIMIT + 1).as_bytes(), 1000),
            Selection::Whole
        );
    }

    #[test]
    fn empty_file_is_sent_whole() {
        for header in ["bytes=0-", "bytes=-5", "bytes=0-0,1-1"] {
            assert_eq!(select(header.as_bytes(), 0), Selection::Whole, "{header}");
        }
    }
}
