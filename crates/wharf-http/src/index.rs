//! The page that lists a directory.
//!
//! Owns the order of the entries and how names, sizes and dates are shown. It is handed the
//! entries; reading a directory is the service's business.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::page::{Escaped, page};
use crate::target::{Target, encode};

/// What an entry is, as far as a list says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Dir,
    File,
    Link,
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) kind: Kind,
    /// The length of a file in bytes.
    pub(crate) len: Option<u64>,
    pub(crate) modified: Option<SystemTime>,
}

/// Directories first, then by name without regard to the case of letters, then with it.
pub(crate) fn sort(entries: &mut [Entry]) {
    entries.sort_by_cached_key(|entry| {
        let text = entry.name.to_string_lossy().to_lowercase();
        (entry.kind != Kind::Dir, text, entry.name.clone())
    });
}

/// The page of a directory; `left_out` of its entries are not among `entries`.
pub(crate) fn render(target: &Target, entries: &[Entry], left_out: usize) -> Bytes {
    page(&target.shown(), |html| {
        heading(html, target)?;
        if entries.is_empty() && target.is_root() {
            return html.write_str("<p>This directory is empty.</p>\n");
        }
        html.write_str(
            "<table>\n<thead><tr><th class=\"n\">Name</th><th class=\"s\">Size</th>\
             <th class=\"d\">Changed (UTC)</th></tr></thead>\n<tbody>\n",
        )?;
        if !target.is_root() {
            html.write_str(
                "<tr><td class=\"n\"><a href=\"../\">..</a></td><td class=\"s\"></td><td class=\"d\"></td></tr>\n",
            )?;
        }
        for entry in entries {
            row(html, entry)?;
        }
        html.write_str("</tbody>\n</table>\n")?;
        if left_out > 0 {
            writeln!(html, "<p>and {left_out} more that are not listed.</p>")?;
        }
        Ok(())
    })
}

/// The path, each directory of it a link.
fn heading(html: &mut String, target: &Target) -> fmt::Result {
    let depth = target.names().len();
    html.write_str("<h1>")?;
    match depth {
        0 => html.write_str("/")?,
        _ => write!(html, "<a href=\"{}\">/</a>", "../".repeat(depth))?,
    }
    for (at, name) in target.names().iter().enumerate() {
        let text = name.to_string_lossy();
        let name = Escaped(&text);
        match depth - 1 - at {
            0 => write!(html, " <bdi>{name}</bdi>")?,
            up => write!(
                html,
                " <a href=\"{}\"><bdi>{name}</bdi></a> <span class=\"sep\">/</span>",
                "../".repeat(up)
            )?,
        }
    }
    html.write_str("</h1>\n")
}

fn row(html: &mut String, entry: &Entry) -> fmt::Result {
    let slash = if entry.kind == Kind::Dir { "/" } else { "" };
    let name = entry.name.to_string_lossy();
    // Relative to here: a name with a colon must not become a scheme, and encoded it cannot.
    write!(
        html,
        "<tr><td class=\"n\"><a href=\"{}{slash}\"><bdi>{}</bdi>{slash}</a></td><td class=\"s\"",
        encode(&entry.name),
        Escaped(&name)
    )?;
    match (entry.kind, entry.len) {
        (Kind::File, Some(len)) => write!(html, " title=\"{len} bytes\">{}", Size(len))?,
        (Kind::Link, _) => html.write_str(">link")?,
        _ => html.write_str(">")?,
    }
    html.write_str("</td><td class=\"d\">")?;
    if let Some(modified) = entry.modified {
        html.write_str(&date(modified))?;
    }
    html.write_str("</td></tr>\n")
}

/// A length for people: three digits or so, in units of 1,024.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let (mut whole, mut tenths, mut unit) = (self.0, 0, 0);
        for (at, _) in UNITS.iter().enumerate() {
            unit = at;
            tenths = whole % 1024 * 10 / 1024;
            whole /= 1024;
            if whole < 1024 {
                break;
            }
        }
        match whole.cmp(&10) {
            Ordering::Less => write!(f, "{whole}.{tenths} {}", UNITS[unit]),
            _ => write!(f, "{whole} {}", UNITS[unit]),
        }
    }
}

/// A moment to the minute; empty for one outside the years that have four digits.
fn date(moment: SystemTime) -> String {
    let last_seconds = 253_402_300_799;
    let is_sayable = moment
        .duration_since(UNIX_EPOCH)
        .is_ok_and(|since| since.as_secs() <= last_seconds);
    if !is_sayable {
        return String::new();
    }
    let text = humantime::format_rfc3339_seconds(moment).to_string();
    text.get(..16).unwrap_or_default().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::{Entry, Kind, Size, date, render, sort};
    use crate::target::{Rules, Target};
    use std::ffi::OsString;
    use std::time::{Duration, UNIX_EPOCH};

    fn target(path: &str) -> Target {
        Target::parse(path, Rules::new(false)).unwrap()
    }

    fn entry(name: &str, kind: Kind) -> Entry {
        Entry {
            name: OsString::from(name),
            kind,
            len: Some(2048),
            modified: Some(UNIX_EPOCH + Duration::from_secs(784_111_777)),
        }
    }

    fn html(path: &str, entries: &[Entry], left_out: usize) -> String {
        String::from_utf8(render(&target(path), entries, left_out).to_vec()).unwrap()
    }

    #[test]
    fn directories_come_first_and_names_are_sorted_without_case() {
        let mut entries = ["b", "A", "a", "C"]
            .map(|name| entry(name, Kind::File))
            .to_vec();
        entries.push(entry("z", Kind::Dir));
        entries.push(entry("Y", Kind::Dir));
        sort(&mut entries);
        let names: Vec<_> = entries
            .iter()
            .map(|entry| entry.name.to_str().unwrap())
            .collect();
        assert_eq!(names, ["Y", "z", "A", "a", "b", "C"]);
    }

    #[test]
    fn rows_have_links_sizes_and_dates() {
        let entries = [
            entry("dir", Kind::Dir),
            entry("a b.txt", Kind::File),
            entry("l", Kind::Link),
        ];
        let text = html("/x/", &entries, 0);
        assert!(text.contains("<a href=\"dir/\"><bdi>dir</bdi>/</a></td><td class=\"s\"></td>"));
        assert!(text.contains("<a href=\"a%20b.txt\"><bdi>a b.txt</bdi></a></td><td class=\"s\" title=\"2048 bytes\">2.0 KiB</td>"));
        assert!(text.contains("<bdi>l</bdi></a></td><td class=\"s\">link</td>"));
        assert!(text.contains("<td class=\"d\">1994-11-06 08:49</td>"));
        assert!(text.contains("<a href=\"../\">..</a>"));
        assert!(!text.contains("more that are not listed"));
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let evil = "<script>alert(1)</script>\"'&";
        let text = html(
            "/%26b%27/",
            &[entry(evil, Kind::File), entry("javascript:x", Kind::File)],
            0,
        );
        assert!(!text.contains("<script"));
        assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
        assert!(text.contains("href=\"javascript%3Ax\""));
        assert!(text.contains("<title>/&amp;b&#39;/</title>"));
    }

    #[test]
    fn heading_links_to_each_directory_above() {
        let text = html("/a/b/c/", &[], 0);
        assert!(text.contains(
            "<h1><a href=\"../../../\">/</a> <a href=\"../../\"><bdi>a</bdi></a> <span class=\"sep\">/</span> \
             <a href=\"../\"><bdi>b</bdi></a> <span class=\"sep\">/</span> <bdi>c</bdi></h1>"
        ));
        assert!(html("/", &[], 0).contains("This directory is empty."));
    }

    #[test]
    fn what_is_left_out_is_said() {
        assert!(html("/", &[entry("a", Kind::File)], 7).contains("and 7 more"));
    }

    #[test]
    fn sizes_are_short() {
        for (len, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10_240, "10 KiB"),
            (1024 * 1024 - 1, "1023 KiB"),
            (1024 * 1024, "1.0 MiB"),
            (u64::MAX, "15 EiB"),
        ] {
            assert_eq!(Size(len).to_string(), text);
        }
    }

    #[test]
    fn dates_out_of_range_are_empty() {
        assert_eq!(date(UNIX_EPOCH), "1970-01-01 00:00");
        assert_eq!(date(UNIX_EPOCH - Duration::from_secs(1)), "");
        assert_eq!(date(UNIX_EPOCH + Duration::from_secs(253_402_300_800)), "");
    }
}
