//! The pages that the service writes itself: what an answer without a file looks like.
//!
//! Owns the frame and the style that the directory pages share. No page needs a script, and each
//! is readable in light and in dark.

use std::fmt::{self, Write};

use bytes::Bytes;
use http::StatusCode;

/// The policy that goes with our own pages: a style of their own and nothing else.
pub(crate) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

pub(crate) const TYPE: &str = "text/html; charset=utf-8";

const STYLE: &str = "
:root{color-scheme:light dark;--fg:#1b1f24;--dim:#66707b;--line:#e3e7eb;--bg:#fff;--hover:#f3f6f9;--link:#0757b0}
@media(prefers-color-scheme:dark){:root{--fg:#e4e7eb;--dim:#929ca8;--line:#2b3139;--bg:#14171b;--hover:#1d2228;\
--link:#7db8ff}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2.5rem 1.25rem;max-width:60rem;background:var(--bg);color:var(--fg);\
font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
h1{margin:0 0 1.25rem;font-size:1.35rem;font-weight:600;overflow-wrap:anywhere}
h1 a{color:inherit}h1 .sep{color:var(--dim);margin:0 .15em;font-weight:400}
a{color:var(--link);text-decoration:none}a:hover,a:focus{text-decoration:underline}
p{color:var(--dim)}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th{font-size:.8rem;font-weight:500;color:var(--dim);text-align:left}
th,td{padding:.4rem .6rem;border-bottom:1px solid var(--line)}
tbody tr:hover{background:var(--hover)}
td.n{overflow-wrap:anywhere;width:100%}
th.s,td.s{text-align:right;white-space:nowrap}td.s,td.d{color:var(--dim);white-space:nowrap}
@media(max-width:36rem){th.d,td.d{display:none}}
";

/// A whole page of this title around what `body` writes.
pub(crate) fn page(title: &str, body: impl FnOnce(&mut String) -> fmt::Result) -> Bytes {
    let mut html = String::with_capacity(4096);
    // Writing to a string cannot fail.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        Escaped(title)
    );
    let _ = body(&mut html);
    html.push_str("</body>\n</html>\n");
    Bytes::from(html)
}

/// The page of an answer that is not what was asked for.
pub(crate) fn error(status: StatusCode) -> Bytes {
    let reason = status.canonical_reason().unwrap_or("Error");
    let title = format!("{} {reason}", status.as_str());
    page(&title, |html| {
        write!(html, "<h1>{title}</h1>\n<p>{}</p>\n", explanation(status))
    })
}

/// The page of a redirect, for whoever sees one.
pub(crate) fn moved() -> Bytes {
    page("Moved", |html| {
        html.write_str("<h1>Moved</h1>\n<p>This is a directory; its address ends in a slash.</p>\n")
    })
}

fn explanation(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "The request could not be understood.",
        StatusCode::FORBIDDEN => "This is not for you to see.",
        StatusCode::NOT_FOUND => "There is nothing here.",
        StatusCode::METHOD_NOT_ALLOWED => {
            "Files can be read here, with GET and HEAD, and nothing else."
        }
        StatusCode::PRECONDITION_FAILED => {
            "The file is not in the state that the request counts on."
        }
        StatusCode::PAYLOAD_TOO_LARGE => "The request is larger than this server takes.",
        StatusCode::RANGE_NOT_SATISFIABLE => {
            "The file does not have the bytes that were asked for."
        }
        StatusCode::SERVICE_UNAVAILABLE => "The server has no room at the moment. Try again soon.",
        _ => "Something went wrong on the server.",
    }
}

/// Text inside of an element or of an attribute in double quotes.
pub(crate) struct Escaped<'t>(pub(crate) &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            let (plain, special) = rest.split_at(at);
            f.write_str(plain)?;
            f.write_str(match special.as_bytes()[0] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &special[1..];
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::{Escaped, error};
    use http::StatusCode;

    #[test]
    fn escaped_text_has_no_markup() {
        let text = Escaped("<a href=\"x\" b='y'>&amp;ä</a>").to_string();
        assert_eq!(
            text,
            "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;ä&lt;/a&gt;"
        );
        assert_eq!(Escaped("").to_string(), "");
    }

    #[test]
    fn error_page_names_status_and_reason() {
        let page = error(StatusCode::NOT_FOUND);
        let text = std::str::from_utf8(&page).unwrap();
        assert!(text.contains("<title>404 Not Found</title>"));
        assert!(text.contains("There is nothing here."));
        assert!(text.ends_with("</html>\n"));
        assert!(!text.contains("<script"));
    }
}
