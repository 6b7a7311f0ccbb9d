//! Which type a file's content is said to have, by its name.

use std::path::Path;

use http::HeaderValue;
use mime_guess::mime;

/// Names without a meaningful extension that are known to be text.
const TEXT_NAMES: &[&str] = &[
    "AUTHORS",
    "CHANGELOG",
    "CHANGES",
    "CONTRIBUTING",
    "COPYING",
    "Dockerfile",
    "INSTALL",
    "LICENSE",
    "LICENCE",
    "Makefile",
    "NEWS",
    "NOTICE",
    "README",
    "TODO",
    "VERSION",
];

/// The Content-Type of a file of this name.
///
/// Text is said to be UTF-8, and so are the types of the application family that browsers read as
/// text. A name that tells nothing is `application/octet-stream`.
pub(crate) fn of(path: &Path) -> HeaderValue {
    let Some(guess) = mime_guess::from_path(path).first() else {
        return HeaderValue::from_static(unknown(path));
    };
    let is_text = guess.type_() == mime::TEXT
        || guess.suffix() == Some(mime::XML)
        || guess.suffix() == Some(mime::JSON)
        || matches!(
            guess.essence_str(),
            "application/javascript" | "application/json" | "application/xml" | "application/x-sh"
        );
    if is_text && guess.get_param(mime::CHARSET).is_none() {
        let text = format!("{guess}; charset=utf-8");
        return HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(BINARY));
    }
    HeaderValue::try_from(guess.as_ref()).unwrap_or(HeaderValue::from_static(BINARY))
}

const BINARY: &str = "application/octet-stream";

fn unknown(path: &Path) -> &'static str {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    // `LICENSE-MIT` is a licence too.
    let word = stem.and_then(|stem| stem.split('-').next());
    if word.is_some_and(|word| TEXT_NAMES.contains(&word)) {
        "text/plain; charset=utf-8"
    } else {
        BINARY
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use std::path::Path;

    #[test]
    fn type_follows_the_name() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b/STYLE.CSS", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("data.json", "application/json; charset=utf-8"),
            ("feed.xml", "text/xml; charset=utf-8"),
            ("picture.svg", "image/svg+xml; charset=utf-8"),
            ("picture.png", "image/png"),
            ("picture.webp", "image/webp"),
            ("font.woff2", "font/woff2"),
            ("code.wasm", "application/wasm"),
            ("a.tar.gz", "application/gzip"),
            ("film.mp4", "video/mp4"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("README.md", "text/markdown; charset=utf-8"),
            ("LICENSE-MIT", "text/plain; charset=utf-8"),
            ("Makefile", "text/plain; charset=utf-8"),
            ("licence.unheard", "application/octet-stream"),
            ("noextension", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(of(Path::new(name)), expected, "{name}");
        }
    }
}
