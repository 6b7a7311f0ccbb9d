//! What a client asks for: the head of a request, understood or refused.
//!
//! httparse reads the head; what it must say to be answered is decided here.

use std::time::Duration;

use percent_encoding::percent_decode_str;

/// The longest delay in milliseconds.
const MAX_DELAY_MS: u64 = 60_000;
/// The longest request head in bytes.
pub(super) const MAX_HEAD: usize = 8192;
/// The most header fields in a head.
const MAX_FIELDS: usize = 64;

/// A request that is understood.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Request {
    pub(super) delay: Duration,
    pub(super) message: String,
    pub(super) keep_alive: bool,
}

/// What the beginning of the input is.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Head {
    /// A request in the first `len` bytes.
    Whole { request: Request, len: usize },
    /// The beginning of one: more has to come.
    Partial,
    /// Nothing that can be answered; the text says why.
    Bad(&'static str),
}

/// Looks for a request at the beginning of `input`.
pub(super) fn parse(input: &[u8]) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(input) {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => match understand(&request) {
            Ok(request) => Head::Whole { request, len },
            Err(why) => Head::Bad(why),
        },
        Ok(httparse::Status::Partial) if input.len() <= MAX_HEAD => Head::Partial,
        Ok(_) => Head::Bad("the head of the request is longer than 8192 bytes"),
        Err(httparse::Error::TooManyHeaders) => Head::Bad("the request has more than 64 fields"),
        Err(_) => Head::Bad("this is no HTTP/1.1 request"),
    }
}

fn understand(request: &httparse::Request<'_, '_>) -> Result<Request, &'static str> {
    if request.method != Some("GET") {
        return Err("only GET is answered");
    }
    let mut keep_alive = request.version == Some(1);
    for field in request.headers.iter() {
        let value = field.value.trim_ascii();
        if field.name.eq_ignore_ascii_case("connection") {
            let mut options = value.split(|&byte| byte == b',');
            let close = options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            keep_alive &= !close;
        }
        // A body would be taken for the next request.
        let has_body = field.name.eq_ignore_ascii_case("content-length") && value != b"0";
        if has_body || field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("a request with a body is not answered");
        }
    }
    let path = request.path.unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (delay, message) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .ok_or("ask for /{ms}/{message}")?;
    let is_number = !delay.is_empty() && delay.bytes().all(|byte| byte.is_ascii_digit());
    let delay = delay.parse().ok();
    let delay = delay
        .filter(|&ms| is_number && ms <= MAX_DELAY_MS)
        .ok_or("{ms} is a whole number of milliseconds from 0 to 60000")?;
    Ok(Request {
        delay: Duration::from_millis(delay),
        message: decode(message).ok_or("{message} is not well percent-encoded UTF-8")?,
        keep_alive,
    })
}

/// Decodes `%XX`; none if a percent sign stands alone, or the bytes are not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let digits = after.as_bytes().get(..2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = &after[2..];
    }
    percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(|message| message.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(head: &str) -> Request {
        match parse(head.as_bytes()) {
            Head::Whole { request, len } => {
                assert_eq!(len, head.len());
                request
            }
            other => panic!("{head:?} is {other:?}"),
        }
    }

    #[test]
    fn request_with_delay_and_message_is_understood() {
        let request = whole("GET /25/hello HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(request.delay, Duration::from_millis(25));
        assert!(request.message == "hello" && request.keep_alive);
        assert_eq!(whole("GET /60000/ HTTP/1.1\r\n\r\n").message, "");
        assert_eq!(whole("GET /0/a/b?c HTTP/1.1\r\n\r\n").message, "a/b");
        assert!(!whole("GET /0/a HTTP/1.0\r\n\r\n").keep_alive);
        assert!(!whole("GET /0/a HTTP/1.1\r\nConnection: TE, Close\r\n\r\n").keep_alive);
        assert!(whole("GET /0/a HTTP/1.1\r\ncontent-length: 0\r\n\r\n").keep_alive);
    }

    #[test]
    fn message_is_percent_decoded() {
        assert_eq!(
            whole("GET /0/two%20w%C3%B6rds+1 HTTP/1.1\r\n\r\n").message,
            "two wörds+1"
        );
        for message in ["%", "%4", "%zz", "%ff", "a%2"] {
            let head = format!("GET /0/{message} HTTP/1.1\r\n\r\n");
            assert!(matches!(parse(head.as_bytes()), Head::Bad(_)), "{message}");
        }
    }

    #[test]
    fn second_request_stays_in_the_input() {
        let first = "GET /0/a HTTP/1.1\r\n\r\n";
        let both = format!("{first}GET /0/b HTTP/1.1\r\n\r\n");
        assert!(matches!(parse(both.as_bytes()), Head::Whole { len, .. } if len == first.len()));
    }

    #[test]
    fn beginning_of_a_request_is_partial() {
        let head = "GET /25/hello HTTP/1.1\r\nhost: x\r\n\r\n";
        for len in 0..head.len() {
            assert_eq!(parse(&head.as_bytes()[..len]), Head::Partial, "{len} bytes");
        }
    }

    #[test]
    fn bad_requests_are_refused() {
        for head in [
            "POST /1/a HTTP/1.1",
            "GET /1/a",
            "GET /1/a HTTP/2.0",
            "GET /x/a HTTP/1.1",
            "GET /+1/a HTTP/1.1",
            "GET /-1/a HTTP/1.1",
            "GET //a HTTP/1.1",
            "GET /60001/a HTTP/1.1",
            "GET /99999999999999999999/a HTTP/1.1",
            "GET / HTTP/1.1",
            "GET /1 HTTP/1.1",
            "GET /1/a HTTP/1.1\r\ncontent-length: 5",
            "GET /1/a HTTP/1.1\r\ntransfer-encoding: chunked",
            "GET /1/a HTTP/1.1\r\nno colon",
        ] {
            let head = format!("{head}\r\n\r\n");
            assert!(matches!(parse(head.as_bytes()), Head::Bad(_)), "{head}");
        }
        assert!(matches!(parse(b"\xff\xfe\r\n\r\n"), Head::Bad(_)));
        assert!(matches!(parse(b"\x16\x03\x01\x02\x00"), Head::Bad(_)));
    }

    #[test]
    fn head_without_end_is_refused() {
        let long = format!("GET /0/{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD));
        assert!(matches!(parse(long.as_bytes()), Head::Bad(_)));
        let ended = format!("{long}\r\n");
        assert!(matches!(parse(ended.as_bytes()), Head::Bad(_)));
        let many = format!(
            "GET /0/a HTTP/1.1\r\n{}\r\n",
            "a: b\r\n".repeat(MAX_FIELDS + 1)
        );
        assert!(matches!(parse(many.as_bytes()), Head::Bad(_)));
    }
}
