//! From the path of a request to the names below the root, and back.
//!
//! Owns percent-decoding, and every decision that can be made from the text of a path alone: what
//! would leave the root, what is hidden, what is no name on this system. It does not look at the
//! file system; symbolic links are the business of whoever opens the file.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::{MAIN_SEPARATOR, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::os;

/// What stays as it is in a path that we write: the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Which names may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rules {
    /// Whether names that begin with a dot are served.
    pub(crate) dot_files: bool,
    /// Whether the names that Windows gives a meaning of their own are refused.
    pub(crate) windows: bool,
}

impl Rules {
    /// For the system that this runs on.
    pub(crate) fn new(dot_files: bool) -> Rules {
        Rules {
            dot_files,
            windows: MAIN_SEPARATOR == '\\',
        }
    }

    /// Whether a name that a directory has is shown, and served when it is asked for.
    pub(crate) fn allow(self, name: &OsStr) -> bool {
        let bytes = name.as_encoded_bytes();
        let is_hidden = bytes.first() == Some(&b'.') && bytes != b".well-known";
        (self.dot_files || !is_hidden) && !(self.windows && is_special_on_windows(bytes))
    }
}

/// Why a path leads nowhere before the file system has been asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// It is no path, or one that tries to leave the root: 400.
    Malformed,
    /// It could be a path, and nothing is served there: 404.
    Nothing,
}

/// A place below the root: names that are each one step down, and nothing else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Each name is not empty, not `.` or `..`, and holds no separator of any system.
    names: Vec<OsString>,
    /// Whether the path ended in a slash.
    wants_dir: bool,
}

impl Target {
    /// Takes the path of a URL apart.
    ///
    /// It is decoded once, name by name, so that an encoded separator never separates. Names in
    /// between that are empty (`a//b`) are left out.
    pub(crate) fn parse(path: &str, rules: Rules) -> Result<Target, Refusal> {
        let rest = path.strip_prefix('/').ok_or(Refusal::Malformed)?;
        let mut names = Vec::new();
        for raw in rest.split('/').filter(|raw| !raw.is_empty()) {
            let bytes = decode(raw).ok_or(Refusal::Malformed)?;
            let is_step = matches!(bytes.as_slice(), b"." | b"..");
            if is_step || bytes.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
                return Err(Refusal::Malformed);
            }
            let name = os::name_from_bytes(bytes).ok_or(Refusal::Nothing)?;
            if !rules.allow(&name) {
                return Err(Refusal::Nothing);
            }
            names.push(name);
        }
        Ok(Target {
            names,
            wants_dir: path.ends_with('/'),
        })
    }

    /// The path below the root; empty for the root itself.
    pub(crate) fn path(&self) -> PathBuf {
        let len = self.names.iter().map(|name| name.len() + 1).sum();
        let mut path = PathBuf::with_capacity(len);
        path.extend(&self.names);
        path
    }

    /// Whether the path ended in a slash, and so can only be a directory.
    pub(crate) fn wants_dir(&self) -> bool {
        self.wants_dir
    }

    /// The names, from the root down.
    pub(crate) fn names(&self) -> &[OsString] {
        &self.names
    }

    /// Whether this is the root itself.
    pub(crate) fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    /// The same place as the path of a directory, for a redirect. It begins with exactly one slash,
    /// so that no browser takes a name for a host.
    pub(crate) fn dir_url(&self) -> String {
        let mut url = String::from("/");
        for name in &self.names {
            url.push_str(&encode(name));
            url.push('/');
        }
        url
    }

    /// The path as text for people, ending in a slash.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::from("/");
        for name in &self.names {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}/", name.to_string_lossy());
        }
        text
    }
}

/// A name as a segment of a URL.
pub(crate) fn encode(name: &OsStr) -> String {
    match name.to_str() {
        Some(text) => percent_encode(text.as_bytes(), ENCODED).to_string(),
        // On Unix these are the bytes of the name itself.
        None => percent_encode(name.as_encoded_bytes(), ENCODED).to_string(),
    }
}

/// Undoes percent-encoding; `None` if a percent sign is not followed by two hexadecimal digits.
fn decode(raw: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

/// Names that do not mean a file of that name on Windows: devices, drives and streams, trailing
/// dots and spaces (which are ignored there), wildcards, and short names such as `GIT~1`, which
/// could stand for a hidden one.
///
/// Source: "Naming Files, Paths, and Namespaces" in the documentation of Win32.
fn is_special_on_windows(name: &[u8]) -> bool {
    let is_reserved = |byte: &u8| *byte < b' ' || b"<>:\"|?*".contains(byte);
    let is_short = name
        .windows(2)
        .any(|pair| pair[0] == b'~' && pair[1].is_ascii_digit());
    name.iter().any(is_reserved)
        || is_short
        || matches!(name.last(), Some(b'.' | b' '))
        || is_device(name)
}

fn is_device(name: &[u8]) -> bool {
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default();
    let stem = String::from_utf8_lossy(stem)
        .trim_end()
        .to_ascii_uppercase();
    if let Some(number) = stem.strip_prefix("COM").or(stem.strip_prefix("LPT")) {
        // The superscripts count as digits too.
        let mut digits = number.chars();
        return matches!(digits.next(), Some('0'..='9' | '¹' | '²' | '³'))
            && digits.next().is_none();
    }
    matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$"
    )
}

#[cfg(test)]
mod tests {
    use super::{Refusal, Rules, Target, encode, is_device};
    use crate::os::EVERY_NAME;
    use std::ffi::OsStr;
    use std::path::Path;

    const UNIX: Rules = Rules {
        dot_files: false,
        windows: false,
    };
    const WINDOWS: Rules = Rules {
        dot_files: false,
        windows: true,
    };

    fn names(path: &str) -> Vec<String> {
        let target = Target::parse(path, UNIX).unwrap();
        let text = |name: &std::ffi::OsString| name.to_str().unwrap().to_owned();
        target.names.iter().map(text).collect()
    }

    fn refusal(path: &str, rules: Rules) -> Refusal {
        Target::parse(path, rules).unwrap_err()
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(names("/"), [""; 0]);
        assert_eq!(names("/a/b.txt"), ["a", "b.txt"]);
        assert_eq!(names("/a%20b/%C3%A4"), ["a b", "ä"]);
        assert_eq!(names("/%2541"), ["%41"]);
        assert_eq!(names("/a+b"), ["a+b"]);
    }

    #[test]
    fn empty_names_are_left_out() {
        assert_eq!(names("//a///b/"), ["a", "b"]);
        assert!(Target::parse("//", UNIX).unwrap().is_root());
    }

    #[test]
    fn steps_and_separators_are_malformed_however_they_are_written() {
        for path in [
            "",
            "a",
            "*",
            "/..",
            "/../etc/passwd",
            "/a/../b",
            "/.",
            "/%2e%2E/a",
            "/.%2e",
            "/a%2fb",
            "/a%2Fb",
            "/%2e%2e%2fetc%2fpasswd",
            "/a%5cb",
            "/..%5c..%5cboot.ini",
            "/a\\b",
            "/a%00.txt",
            "/%",
            "/%4",
            "/%zz",
            "/%+1",
            "/a/%2",
        ] {
            assert_eq!(refusal(path, UNIX), Refusal::Malformed, "{path}");
            assert_eq!(refusal(path, WINDOWS), Refusal::Malformed, "{path}");
        }
    }

    #[test]
    fn dot_files_are_nothing_unless_they_are_served() {
        for path in [
            "/.git/config",
            "/a/.env",
            "/%2egit/",
            "/...",
            "/a/.well-knowns",
        ] {
            assert_eq!(refusal(path, UNIX), Refusal::Nothing, "{path}");
            let all = Rules {
                dot_files: true,
                ..UNIX
            };
            let is_name = EVERY_NAME || path != "/...";
            assert_eq!(Target::parse(path, all).is_ok(), is_name, "{path}");
        }
        assert_eq!(names("/.well-known/acme"), [".well-known", "acme"]);
    }

    #[test]
    fn names_that_windows_takes_for_something_else_are_nothing_there() {
        for path in [
            "/NUL",
            "/con.txt",
            "/Aux.c",
            "/com1",
            "/LPT9.log",
            "/COM%C2%B9",
            "/prn%20.txt",
            "/C:",
            "/c:/windows",
            "/a.txt::$DATA",
            "/file.",
            "/file%20",
            "/GIT~1/config",
            "/a%3Fb",
            "/a*",
            "/conin$",
            "/a%01",
        ] {
            assert_eq!(refusal(path, WINDOWS), Refusal::Nothing, "{path}");
            let is_name = EVERY_NAME || path == "/GIT~1/config";
            assert_eq!(Target::parse(path, UNIX).is_ok(), is_name, "{path}");
        }
        for path in ["/console", "/com10", "/COM", "/a~b", "/nul1", "/aux-file"] {
            assert!(Target::parse(path, WINDOWS).is_ok(), "{path}");
        }
        assert!(!is_device(b"communications"));
    }

    #[test]
    fn trailing_slash_is_kept_as_a_wish() {
        assert!(Target::parse("/a/", UNIX).unwrap().wants_dir());
        assert!(!Target::parse("/a", UNIX).unwrap().wants_dir());
        assert!(Target::parse("/", UNIX).unwrap().wants_dir());
    }

    #[test]
    fn dir_url_never_begins_with_two_slashes() {
        let url = |path| Target::parse(path, UNIX).unwrap().dir_url();
        assert_eq!(url("//example.org"), "/example.org/");
        assert_eq!(url("/a%20b/%23"), "/a%20b/%23/");
        assert_eq!(url("/"), "/");
        assert_eq!(url("/a%7fb%c3%a9"), "/a%7Fb%C3%A9/");
    }

    #[test]
    fn path_is_the_names_in_order() {
        let target = Target::parse("/a/b", UNIX).unwrap();
        assert_eq!(target.path(), Path::new("a").join("b"));
        assert_eq!(target.shown(), "/a/b/");
    }

    #[test]
    fn encoded_names_have_no_characters_of_meaning() {
        let encoded = encode(OsStr::new("a b/<\"?#%:&'ä~._-"));
        assert_eq!(encoded, "a%20b%2F%3C%22%3F%23%25%3A%26%27%C3%A4~._-");
    }
}
