//! Validators of a file, and the conditions that a request makes on them.
//!
//! Owns entity tags, and the order of precedence of RFC 9110, section 13.2.2. It does not know
//! what a range is; it says whether one may be honoured.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};

/// What tells one state of a file from another.
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    etag: HeaderValue,
    /// In whole seconds, as a header says it. `None` for a moment that a header cannot say.
    modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Answer as if there were no condition.
    Proceed,
    /// The client has it already: 304.
    NotModified,
    /// What the client counts on is not so: 412.
    Failed,
}

impl Validators {
    /// The validators of a file by what its metadata say.
    ///
    /// The tag is strong: a file that is replaced has another inode, and one that is changed in
    /// place another length or time of change. Two changes within one tick of the file system's
    /// clock that leave the length alike cannot be told apart.
    pub(crate) fn new(device: u64, inode: u64, len: u64, modified: SystemTime) -> Validators {
        let (sign, since) = match modified.duration_since(UNIX_EPOCH) {
            Ok(since) => ("", since),
            Err(before) => ("-", before.duration()),
        };
        let nanos = since.as_nanos();
        let etag = format!("\"{device:x}-{inode:x}-{len:x}-{sign}{nanos:x}\"");
        let seconds = Duration::from_secs(since.as_secs());
        // The year 9999 is the last that a header can say, and httpdate panics beyond it.
        let last_seconds = 253_402_300_799;
        let is_sayable = sign.is_empty() && seconds.as_secs() <= last_seconds;
        Validators {
            // Digits, letters, dashes and quotes make a header.
            etag: HeaderValue::try_from(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
            modified: is_sayable.then(|| UNIX_EPOCH + seconds),
        }
    }

    pub(crate) fn etag(&self) -> &HeaderValue {
        &self.etag
    }

    /// The time of change as a header says it.
    pub(crate) fn last_modified(&self) -> Option<HeaderValue> {
        let text = httpdate::fmt_http_date(self.modified?);
        HeaderValue::try_from(text).ok()
    }

    /// Weighs the conditions of a GET or HEAD.
    pub(crate) fn weigh(&self, headers: &HeaderMap) -> Verdict {
        if headers.contains_key(IF_MATCH) {
            if !self.any_tag_matches(headers, IF_MATCH, Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if let Some(since) = date(headers, &IF_UNMODIFIED_SINCE) {
            if self.modified.is_none_or(|modified| modified > since) {
                return Verdict::Failed;
            }
        }
        if headers.contains_key(IF_NONE_MATCH) {
            if self.any_tag_matches(headers, IF_NONE_MATCH, Comparison::Weak) {
                return Verdict::NotModified;
            }
        } else if let Some(since) = date(headers, &IF_MODIFIED_SINCE) {
            if self.modified.is_some_and(|modified| modified <= since) {
                return Verdict::NotModified;
            }
        }
        Verdict::Proceed
    }

    /// Whether a range may be sent: there is no If-Range, or it names this state of the file.
    pub(crate) fn allow_range(&self, headers: &HeaderMap) -> bool {
        let Some(condition) = headers.get(IF_RANGE) else {
            return true;
        };
        let bytes = condition.as_bytes();
        if bytes.starts_with(b"\"") || bytes.starts_with(b"W/") {
            return condition == self.etag;
        }
        let since = date(headers, &IF_RANGE);
        // An exact match and nothing else, since a date is used as a tag here.
        since.is_some() && since == self.modified
    }

    fn any_tag_matches(&self, headers: &HeaderMap, name: HeaderName, how: Comparison) -> bool {
        headers.get_all(name).iter().any(|value| {
            let bytes = value.as_bytes().trim_ascii();
            bytes == b"*" || tags(bytes).any(|tag| self.matches(tag, how))
        })
    }

    fn matches(&self, tag: Tag<'_>, how: Comparison) -> bool {
        tag.quoted == self.etag.as_bytes() && (how == Comparison::Weak || !tag.is_weak)
    }
}

/// RFC 9110, section 8.8.3.2.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

#[derive(Clone, Copy)]
struct Tag<'h> {
    is_weak: bool,
    /// With its quotes.
    quoted: &'h [u8],
}

/// The entity tags of a list, until it ends or stops being one.
fn tags(list: &[u8]) -> impl Iterator<Item = Tag<'_>> {
    let mut rest = list;
    std::iter::from_fn(move || {
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let unmarked = rest.strip_prefix(b"W/");
        let start = unmarked.unwrap_or(rest);
        let inner = start.strip_prefix(b"\"")?;
        let len = inner.iter().position(|byte| *byte == b'"')? + 2;
        let (quoted, after) = start.split_at(len);
        rest = after;
        Some(Tag {
            is_weak: unmarked.is_some(),
            quoted,
        })
    })
}

/// The date of a header that is there once and says one; otherwise it is as if it were not there.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::{Validators, Verdict};
    use http::header::{HeaderMap, HeaderName, HeaderValue};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const TAG: &str = "\"1-2-3-ae1b981c3a4d5f4\"";

    fn modified() -> SystemTime {
        UNIX_EPOCH + Duration::new(784_111_777, 123_456_500)
    }

    fn validators() -> Validators {
        Validators::new(1, 2, 3, modified())
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn weigh(pairs: &[(&str, &str)]) -> Verdict {
        let tag = validators().etag().to_str().unwrap().to_owned();
        let filled: Vec<(&str, String)> = pairs
            .iter()
            .map(|(name, value)| (*name, value.replace("TAG", &tag)))
            .collect();
        let filled: Vec<(&str, &str)> = filled
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        validators().weigh(&headers(&filled))
    }

    #[test]
    fn etag_differs_when_anything_differs() {
        let etag = |v: Validators| v.etag().clone();
        let base = etag(validators());
        // The least that every system tells apart.
        let tick = Duration::from_nanos(100);
        for other in [
            Validators::new(9, 2, 3, modified()),
            Validators::new(1, 9, 3, modified()),
            Validators::new(1, 2, 9, modified()),
            Validators::new(1, 2, 3, modified() + tick),
            Validators::new(
                1,
                2,
                3,
                UNIX_EPOCH - (modified().duration_since(UNIX_EPOCH).unwrap()),
            ),
        ] {
            assert_ne!(etag(other), base);
        }
        assert_eq!(etag(validators()), base);
        assert_eq!(base.len(), TAG.len());
    }

    #[test]
    fn last_modified_is_whole_seconds_of_what_a_header_can_say() {
        assert_eq!(validators().last_modified().unwrap(), MODIFIED);
        let years = |years: u64| Duration::from_secs(years * 31_556_952);
        let at = |modified| Validators::new(1, 2, 3, modified).last_modified();
        assert!(at(UNIX_EPOCH - years(1)).is_none());
        assert!(at(UNIX_EPOCH + years(9000)).is_none());
        assert!(at(UNIX_EPOCH + years(8000)).is_some());
    }

    #[test]
    fn no_condition_proceeds() {
        assert_eq!(weigh(&[]), Verdict::Proceed);
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for value in [
            "TAG",
            "W/TAG",
            "*",
            " * ",
            "\"a\", TAG",
            "\"a,b\" , W/TAG",
            ",,TAG",
        ] {
            assert_eq!(
                weigh(&[("if-none-match", value)]),
                Verdict::NotModified,
                "{value}"
            );
        }
        for value in ["\"a\"", "W/\"a\"", "", "a", "\"a", "w/TAG", "xTAG"] {
            assert_eq!(
                weigh(&[("if-none-match", value)]),
                Verdict::Proceed,
                "{value}"
            );
        }
        // What follows the first tag is no list any more, but the first tag is one.
        assert_eq!(weigh(&[("if-none-match", "TAGx")]), Verdict::NotModified);
        let twice = [("if-none-match", "\"a\""), ("if-none-match", "TAG")];
        assert_eq!(weigh(&twice), Verdict::NotModified);
    }

    #[test]
    fn if_match_compares_strongly() {
        for value in ["TAG", "*", "\"a\", TAG"] {
            assert_eq!(weigh(&[("if-match", value)]), Verdict::Proceed, "{value}");
        }
        for value in ["W/TAG", "\"a\"", "", "nonsense"] {
            assert_eq!(weigh(&[("if-match", value)]), Verdict::Failed, "{value}");
        }
    }

    #[test]
    fn dates_are_compared_in_whole_seconds() {
        assert_eq!(
            weigh(&[("if-modified-since", MODIFIED)]),
            Verdict::NotModified
        );
        assert_eq!(weigh(&[("if-modified-since", LATER)]), Verdict::NotModified);
        assert_eq!(weigh(&[("if-modified-since", EARLIER)]), Verdict::Proceed);
        assert_eq!(
            weigh(&[("if-unmodified-since", MODIFIED)]),
            Verdict::Proceed
        );
        assert_eq!(weigh(&[("if-unmodified-since", LATER)]), Verdict::Proceed);
        assert_eq!(weigh(&[("if-unmodified-since", EARLIER)]), Verdict::Failed);
    }

    #[test]
    fn dates_that_are_none_or_two_are_ignored() {
        for name in ["if-modified-since", "if-unmodified-since"] {
            assert_eq!(weigh(&[(name, "yesterday")]), Verdict::Proceed);
            assert_eq!(weigh(&[(name, EARLIER), (name, LATER)]), Verdict::Proceed);
        }
    }

    #[test]
    fn tags_come_before_dates() {
        let both = |tag_name, tag, date_name, date| weigh(&[(tag_name, tag), (date_name, date)]);
        assert_eq!(
            both("if-none-match", "\"a\"", "if-modified-since", LATER),
            Verdict::Proceed
        );
        assert_eq!(
            both("if-none-match", "TAG", "if-modified-since", EARLIER),
            Verdict::NotModified
        );
        assert_eq!(
            both("if-match", "TAG", "if-unmodified-since", EARLIER),
            Verdict::Proceed
        );
        assert_eq!(
            both("if-match", "\"a\"", "if-unmodified-since", LATER),
            Verdict::Failed
        );
    }

    #[test]
    fn failure_comes_before_not_modified() {
        assert_eq!(
            weigh(&[("if-match", "\"a\""), ("if-none-match", "TAG")]),
            Verdict::Failed
        );
        assert_eq!(
            weigh(&[("if-match", "TAG"), ("if-none-match", "TAG")]),
            Verdict::NotModified
        );
        let dates = [
            ("if-unmodified-since", EARLIER),
            ("if-modified-since", LATER),
        ];
        assert_eq!(weigh(&dates), Verdict::Failed);
    }

    #[test]
    fn if_range_needs_an_exact_and_strong_match() {
        let etag = validators().etag().to_str().unwrap().to_owned();
        let allow = |value: &str| validators().allow_range(&headers(&[("if-range", value)]));
        assert!(validators().allow_range(&HeaderMap::new()));
        assert!(allow(&etag));
        assert!(allow(MODIFIED));
        let weak = format!("W/{etag}");
        for value in [weak.as_str(), "\"a\"", EARLIER, LATER, "nonsense", ""] {
            assert!(!allow(value), "{value}");
        }
        let ancient = Validators::new(1, 2, 3, UNIX_EPOCH - Duration::from_secs(1));
        assert!(!ancient.allow_range(&headers(&[("if-range", "nonsense")])));
    }
}
