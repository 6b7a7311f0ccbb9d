//! From a request and what is known of a file to an answer: status, header, and which bytes.
//!
//! Pure: nothing here does I/O. What it decides, `files` carries out.

use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};

use crate::conditional::{Validators, Verdict};
use crate::content_type;
use crate::page;
use crate::range::{self, Selection};

/// What the file system says of an open file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) len: u64,
    pub(crate) modified: SystemTime,
}

/// What is said of a file in every answer about it, made once.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) len: u64,
    validators: Validators,
    last_modified: Option<HeaderValue>,
    content_type: HeaderValue,
}

impl Prepared {
    /// For the file that `path` names and `facts` describe.
    pub(crate) fn new(path: &Path, facts: &Facts) -> Prepared {
        let validators = Validators::new(facts.device, facts.inode, facts.len, facts.modified);
        Prepared {
            len: facts.len,
            last_modified: validators.last_modified(),
            validators,
            content_type: content_type::of(path),
        }
    }
}

/// The body of an answer: bytes that are here, and parts of the file that it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    Empty,
    Bytes(Bytes),
    File(Range<u64>),
    Pieces(Vec<Piece>),
}

/// One piece of a body that has several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    File(Range<u64>),
}

/// What every answer of one service has in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// The Cache-Control of files and directory pages.
    pub(crate) cache_control: Option<HeaderValue>,
}

const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// The answer to a method that asks for no file; `None` for GET and HEAD.
pub(crate) fn without_file(method: &Method) -> Option<Response<Content>> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let mut answer = if *method == Method::OPTIONS {
        let mut answer = Response::new(Content::Empty);
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer
    } else {
        error(method, StatusCode::METHOD_NOT_ALLOWED)
    };
    answer.headers_mut().insert(ALLOW, ALLOWED);
    Some(answer)
}

/// An answer that is a page of our own.
pub(crate) fn error(method: &Method, status: StatusCode) -> Response<Content> {
    let mut answer = own_page(method, status, page::error(status));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

/// The answer that is the page of a directory.
pub(crate) fn listing(method: &Method, html: Bytes, manner: &Manner) -> Response<Content> {
    let mut answer = own_page(method, StatusCode::OK, html);
    manner.put(answer.headers_mut());
    answer
}

/// The answer that sends the client to `location`, which is encoded already.
pub(crate) fn redirect(method: &Method, location: &str, query: Option<&str>) -> Response<Content> {
    let location = match query {
        Some(query) => format!("{location}?{query}"),
        None => location.to_owned(),
    };
    let Ok(location) = HeaderValue::try_from(location) else {
        return error(method, StatusCode::BAD_REQUEST);
    };
    let status = StatusCode::MOVED_PERMANENTLY;
    let mut answer = own_page(method, status, page::moved());
    answer.headers_mut().insert(LOCATION, location);
    answer
}

fn own_page(method: &Method, status: StatusCode, html: Bytes) -> Response<Content> {
    let len = html.len() as u64;
    let content = match *method {
        Method::HEAD => Content::Empty,
        _ => Content::Bytes(html),
    };
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page::TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(page::POLICY),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    answer
}

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

impl Manner {
    fn put(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.cache_control {
            headers.insert(CACHE_CONTROL, value.clone());
        }
    }
}

/// How many headers the answer with a file has, or a few more.
const FILE_HEADERS: usize = 8;

/// The answer to a GET or HEAD of a file.
pub(crate) fn file(
    method: &Method,
    headers: &HeaderMap,
    prepared: &Prepared,
    manner: &Manner,
) -> Response<Content> {
    let Prepared {
        len, validators, ..
    } = prepared;
    let len = *len;
    let verdict = validators.weigh(headers);
    if verdict == Verdict::Failed {
        return error(method, StatusCode::PRECONDITION_FAILED);
    }
    let mut answer = Response::new(Content::Empty);
    let out = answer.headers_mut();
    out.reserve(FILE_HEADERS);
    manner.put(out);
    out.insert(ETAG, validators.etag().clone());
    if let Some(value) = &prepared.last_modified {
        out.insert(LAST_MODIFIED, value.clone());
    }
    if verdict == Verdict::NotModified {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return answer;
    }
    out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    let content_type = prepared.content_type.clone();
    // Ranges are defined for GET alone (RFC 9110, section 14.2).
    let selection = match headers.get(RANGE) {
        Some(range) if *method == Method::GET && headers.get_all(RANGE).iter().count() == 1 => {
            match validators.allow_range(headers) {
                true => range::select(range.as_bytes(), len),
                false => Selection::Whole,
            }
        }
        _ => Selection::Whole,
    };
    match selection {
        Selection::Unsatisfiable => {
            let mut answer = error(method, StatusCode::RANGE_NOT_SATISFIABLE);
            answer
                .headers_mut()
                .insert(CONTENT_RANGE, whole_length(len));
            return answer;
        }
        Selection::Whole => {
            out.insert(CONTENT_TYPE, content_type);
            out.insert(CONTENT_LENGTH, HeaderValue::from(len));
            if *method != Method::HEAD && len > 0 {
                *answer.body_mut() = Content::File(0..len);
            }
        }
        Selection::Parts(parts) => {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            if let [part] = parts.as_slice() {
                single_part(&mut answer, part, content_type, len);
            } else {
                several_parts(&mut answer, &parts, &content_type, len, validators);
            }
        }
    }
    answer
}

fn whole_length(len: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{len}")).unwrap_or(HeaderValue::from_static("bytes */*"))
}

fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end - 1)
}

fn single_part(
    answer: &mut Response<Content>,
    part: &Range<u64>,
    content_type: HeaderValue,
    len: u64,
) {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
    if let Ok(value) = HeaderValue::try_from(content_range(part, len)) {
        headers.insert(CONTENT_RANGE, value);
    }
    *answer.body_mut() = Content::File(part.clone());
}

/// RFC 9110, section 14.6.
fn several_parts(
    answer: &mut Response<Content>,
    parts: &[Range<u64>],
    content_type: &HeaderValue,
    len: u64,
    validators: &Validators,
) {
    let boundary = boundary(validators, parts);
    let content_type = content_type.to_str().unwrap_or("application/octet-stream");
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    let mut total_len = 0;
    for (at, part) in parts.iter().enumerate() {
        let line_end = if at == 0 { "" } else { "\r\n" };
        let range = content_range(part, len);
        let head = format!(
            "{line_end}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n"
        );
        total_len += head.len() as u64 + (part.end - part.start);
        pieces.push(Piece::Bytes(Bytes::from(head)));
        pieces.push(Piece::File(part.clone()));
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    total_len += tail.len() as u64;
    pieces.push(Piece::Bytes(Bytes::from(tail)));
    let headers = answer.headers_mut();
    let multipart = format!("multipart/byteranges; boundary={boundary}");
    if let Ok(value) = HeaderValue::try_from(multipart) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(total_len));
    *answer.body_mut() = Content::Pieces(pieces);
}

/// A line that the file will not hold by chance. It is made from the file's tag, so that the same
/// request gets the same answer.
fn boundary(validators: &Validators, parts: &[Range<u64>]) -> String {
    // FNV-1a, 64 bits, once forward and once from another basis.
    let mut hash = [0xcbf2_9ce4_8422_2325_u64, 0x8422_2325_cbf2_9ce4];
    let mut add = |byte: u8| {
        for half in &mut hash {
            *half = (*half ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    validators
        .etag()
        .as_bytes()
        .iter()
        .copied()
        .for_each(&mut add);
    for part in parts {
        part.start.to_le_bytes().into_iter().for_each(&mut add);
        part.end.to_le_bytes().into_iter().for_each(&mut add);
    }
    format!("wharf-{:016x}{:016x}", hash[0], hash[1])
}

#[cfg(test)]
mod tests {
    use super::{
        Content, Facts, Manner, Piece, Prepared, error, file, listing, redirect, without_file,
    };
    use bytes::Bytes;
    use http::header::{HeaderMap, HeaderName, HeaderValue};
    use http::{Method, Response, StatusCode};
    use std::path::Path;
    use std::time::{Duration, UNIX_EPOCH};

    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn facts(len: u64) -> Facts {
        let modified = UNIX_EPOCH + Duration::new(784_111_777, 500);
        Facts {
            device: 1,
            inode: 2,
            len,
            modified,
        }
    }

    fn ask(method: &Method, len: u64, pairs: &[(&str, &str)]) -> Response<Content> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        file(
            method,
            &headers,
            &Prepared::new(Path::new("a/b.txt"), &facts(len)),
            &Manner::default(),
        )
    }

    fn get(pairs: &[(&str, &str)]) -> Response<Content> {
        ask(&Method::GET, 1000, pairs)
    }

    fn header<'a>(answer: &'a Response<Content>, name: &str) -> &'a str {
        answer
            .headers()
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn get_sends_the_whole_file() {
        let answer = get(&[]);
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "content-type"), "text/plain; charset=utf-8");
        assert_eq!(header(&answer, "content-length"), "1000");
        assert_eq!(header(&answer, "accept-ranges"), "bytes");
        assert_eq!(
            header(&answer, "last-modified"),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(
            header(&answer, "etag"),
            format!("\"1-2-3e8-{:x}\"", 784_111_777_000_000_500_u64)
        );
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        assert_eq!(*answer.body(), Content::File(0..1000));
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let answer = ask(&Method::HEAD, 1000, &[("range", "bytes=0-1")]);
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "content-length"), "1000");
        assert_eq!(*answer.body(), Content::Empty);
        let answer = error(&Method::HEAD, StatusCode::NOT_FOUND);
        assert_ne!(header(&answer, "content-length"), "0");
        assert_eq!(*answer.body(), Content::Empty);
    }

    #[test]
    fn empty_file_has_no_body_and_no_ranges() {
        let answer = ask(&Method::GET, 0, &[("range", "bytes=0-")]);
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "content-length"), "0");
        assert_eq!(*answer.body(), Content::Empty);
    }

    #[test]
    fn one_range_is_sent_bare() {
        let answer = get(&[("range", "bytes=100-199")]);
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(header(&answer, "content-range"), "bytes 100-199/1000");
        assert_eq!(header(&answer, "content-length"), "100");
        assert_eq!(header(&answer, "content-type"), "text/plain; charset=utf-8");
        assert_eq!(*answer.body(), Content::File(100..200));
    }

    #[test]
    fn several_ranges_are_sent_with_heads_whose_lengths_add_up() {
        let answer = get(&[("range", "bytes=0-9,-5")]);
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        assert!(answer.headers().get("content-range").is_none());
        let content_type = header(&answer, "content-type");
        let boundary = content_type
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        let Content::Pieces(pieces) = answer.body() else {
            panic!("{:?}", answer.body());
        };
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => text.push_str(std::str::from_utf8(bytes).unwrap()),
                Piece::File(range) => text.extend(range.clone().map(|_| '.')),
            }
        }
        assert_eq!(header(&answer, "content-length"), text.len().to_string());
        let expected = format!(
            "--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-9/1000\r\n\r\n\
             ..........\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Range: bytes 995-999/1000\r\n\r\n.....\r\n--{boundary}--\r\n"
        );
        assert_eq!(text, expected);
        // RFC 2046 allows 70 characters.
        assert!(boundary.len() <= 70);
        let other = get(&[("range", "bytes=0-8,-5")]);
        assert!(!header(&other, "content-type").contains(boundary));
    }

    #[test]
    fn range_behind_the_end_says_the_length() {
        let answer = get(&[("range", "bytes=1000-")]);
        assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert_eq!(header(&answer, "content-range"), "bytes */1000");
        assert!(answer.headers().get("etag").is_none());
    }

    #[test]
    fn two_range_headers_are_ignored() {
        let answer = get(&[("range", "bytes=0-1"), ("range", "bytes=2-3")]);
        assert_eq!(answer.status(), StatusCode::OK);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let etag = header(&get(&[]), "etag").to_owned();
        let range = ("range", "bytes=0-1");
        let answer = get(&[range, ("if-none-match", &etag)]);
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&answer, "etag"), etag);
        assert!(answer.headers().get("content-type").is_none());
        assert!(answer.headers().get("content-length").is_none());
        assert_eq!(*answer.body(), Content::Empty);
        let answer = get(&[range, ("if-match", "\"a\"")]);
        assert_eq!(answer.status(), StatusCode::PRECONDITION_FAILED);
        let answer = get(&[("range", "bytes=5000-"), ("if-modified-since", LATER)]);
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(
            get(&[("if-modified-since", EARLIER)]).status(),
            StatusCode::OK
        );
        assert_eq!(
            get(&[range, ("if-range", &etag)]).status(),
            StatusCode::PARTIAL_CONTENT
        );
        assert_eq!(
            get(&[range, ("if-range", "\"a\"")]).status(),
            StatusCode::OK
        );
        assert_eq!(
            get(&[("range", "bytes=5000-"), ("if-range", "\"a\"")]).status(),
            StatusCode::OK
        );
    }

    #[test]
    fn other_methods_are_told_what_is_allowed() {
        assert!(without_file(&Method::GET).is_none());
        assert!(without_file(&Method::HEAD).is_none());
        let answer = without_file(&Method::OPTIONS).unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(header(&answer, "allow"), "GET, HEAD, OPTIONS");
        for method in [Method::POST, Method::DELETE, Method::CONNECT, Method::TRACE] {
            let answer = without_file(&method).unwrap();
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(header(&answer, "allow"), "GET, HEAD, OPTIONS");
            assert!(matches!(answer.body(), Content::Bytes(_)));
        }
    }

    #[test]
    fn redirect_keeps_the_query() {
        let answer = redirect(&Method::GET, "/a%20b/", Some("x=1"));
        assert_eq!(answer.status(), StatusCode::MOVED_PERMANENTLY);
        assert_eq!(header(&answer, "location"), "/a%20b/?x=1");
        assert_eq!(
            header(&redirect(&Method::GET, "/a/", None), "location"),
            "/a/"
        );
    }

    #[test]
    fn own_pages_are_fenced_in() {
        let answer = listing(&Method::GET, Bytes::from_static(b"x"), &Manner::default());
        assert!(header(&answer, "content-security-policy").starts_with("default-src 'none'"));
        assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
        let busy = error(&Method::GET, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&busy, "retry-after"), "1");
    }

    #[test]
    fn cache_control_goes_with_files_and_what_stands_for_them() {
        let manner = Manner {
            cache_control: Some(HeaderValue::from_static("no-cache")),
        };
        let prepared = Prepared::new(Path::new("a"), &facts(5));
        for (name, status) in [("x-none", 200), ("if-none-match", 304)] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("*"));
            let answer = file(&Method::GET, &headers, &prepared, &manner);
            assert_eq!(answer.status(), status);
            assert_eq!(header(&answer, "cache-control"), "no-cache");
        }
    }
}
