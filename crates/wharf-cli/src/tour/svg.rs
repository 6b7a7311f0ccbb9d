//! The timeline as a picture: one row a lane, one bar an operation, time from left to right.
//!
//! The picture stands alone: no script, no font and no style from elsewhere. Its colours follow the
//! viewer's choice of light or dark; a viewer that knows no such choice shows the light ones.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{Class, Timeline, time};
use crate::context;

/// The file that the picture goes to.
pub(super) struct Target {
    file: File,
    path: PathBuf,
}

impl Target {
    /// Opens the file before the tour begins, so that the tour is not made for nothing; what is in
    /// it stays until there is a picture to replace it.
    pub(super) fn open(path: &Path, source: &Path) -> io::Result<Target> {
        let cannot = || format!("cannot write the picture to {}", path.display());
        if let (Ok(picture), Ok(source)) = (path.canonicalize(), source.canonicalize()) {
            if picture == source {
                let message = format!("{}: it is the file to be sent", cannot());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = options.open(path).map_err(context(cannot()))?;
        let path = path.to_owned();
        Ok(Target { file, path })
    }

    /// Writes the picture. Returns the file's name.
    pub(super) fn write(mut self, picture: &str) -> io::Result<String> {
        let name = self.path.display().to_string();
        let cannot = format!("cannot write the picture to {name}");
        let is_file = self.file.metadata().is_ok_and(|data| data.is_file());
        let cut = if is_file {
            self.file.set_len(0)
        } else {
            Ok(())
        };
        cut.and_then(|()| self.file.write_all(picture.as_bytes()))
            .map_err(context(cannot))?;
        Ok(name)
    }
}

/// Where things stand, in units of the picture.
const WIDTH: f64 = 1120.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 96.0;
const ROW: f64 = 26.0;
const BAR: f64 = 18.0;
/// The narrowest bar that is still seen.
const NARROWEST: f64 = 1.6;
/// Below the last row: the numbers of the axis, its name, the legend.
const BOTTOM: f64 = 84.0;

const STYLE: &str = "\
svg{font-family:system-ui,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px}
.paper{fill:#fbfbfd}.ink{fill:#1d2430}.soft{fill:#5b6472}.stripe{fill:#eef1f6}
.grid{stroke:#d3d9e3;stroke-width:1}.edge{stroke:#8993a4;stroke-width:1}
.title{font-size:19px;font-weight:600}.mid{text-anchor:middle}.end{text-anchor:end}
.prepare{fill:#8a63c9}.read{fill:#2f6fd0}.send{fill:#c77700}.receive{fill:#1f9254}.wait{fill:#a9b2c1}
.bar{stroke:#fbfbfd;stroke-width:.6}
@media(prefers-color-scheme:dark){
.paper{fill:#14181f}.ink{fill:#e8ebf1}.soft{fill:#a3adbd}.stripe{fill:#1b212b}
.grid{stroke:#2c3442}.edge{stroke:#6d788a}
.prepare{fill:#b394ea}.read{fill:#6ea4f4}.send{fill:#f0a63a}.receive{fill:#4cc98a}.wait{fill:#566173}
.bar{stroke:#14181f}}
";

/// The class in the style, and what the legend says.
fn look(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Prepare => ("prepare", "open, connect, accept"),
        Class::Read => ("read", "read of a chunk"),
        Class::Send => ("send", "send"),
        Class::Receive => ("receive", "receive"),
        Class::Wait => ("wait", "thread blocked in wait"),
    }
}

/// Draws the timeline.
pub(super) fn draw(timeline: &Timeline, title: &str, subtitle: &str) -> String {
    let lanes = timeline.lanes();
    let bottom = TOP + ROW * lanes.len() as f64;
    let height = bottom + BOTTOM;
    let mut svg = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| {
        svg.write_fmt(text)
            .expect("a string takes what it is given");
        svg.push('\n');
    };
    put(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"title desc\">"
    ));
    put(format_args!(
        "<title id=\"title\">{}</title>",
        escape(title)
    ));
    put(format_args!(
        "<desc id=\"desc\">{}</desc>",
        escape(subtitle)
    ));
    put(format_args!("<style>{STYLE}</style>"));
    put(format_args!(
        "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>"
    ));
    put(format_args!(
        "<text class=\"ink title\" x=\"24\" y=\"36\">{}</text>",
        escape(title)
    ));
    put(format_args!(
        "<text class=\"soft\" x=\"24\" y=\"58\">{}</text>",
        escape(subtitle)
    ));
    put(format_args!(
        "<text class=\"soft\" x=\"24\" y=\"76\">{}</text>",
        escape(&caption(timeline))
    ));
    for (row, lane) in lanes.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        if row % 2 == 0 {
            put(format_args!(
                "<rect class=\"stripe\" x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{ROW}\"/>",
                WIDTH - LEFT - RIGHT
            ));
        }
        put(format_args!(
            "<text class=\"ink end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 12.0,
            y + ROW / 2.0 + 4.0,
            lane.name()
        ));
    }
    axis(&mut put, timeline.end, bottom);
    for span in &timeline.spans {
        let row = lanes
            .iter()
            .position(|lane| *lane == span.lane)
            .unwrap_or(0);
        let (from, to) = (
            x(span.submitted, timeline.end),
            x(span.completed, timeline.end),
        );
        put(format_args!(
            "<rect class=\"bar {}\" x=\"{from:.2}\" y=\"{:.1}\" width=\"{:.2}\" height=\"{BAR}\" rx=\"2\">\
             <title>{}&#10;submitted {}, completed {}</title></rect>",
            look(span.lane.class()).0,
            TOP + ROW * row as f64 + (ROW - BAR) / 2.0,
            (to - from).max(NARROWEST),
            escape(&span.what),
            time(span.submitted),
            time(span.completed),
        ));
    }
    let mut classes: Vec<Class> = lanes.iter().map(|lane| lane.class()).collect();
    classes.dedup();
    legend(&mut put, &classes, height - 20.0);
    put(format_args!("</svg>"));
    svg
}

fn caption(timeline: &Timeline) -> String {
    let part = match timeline.shown == timeline.all {
        true => "All operations".to_owned(),
        false => format!("The first {} operations", timeline.shown),
    };
    part + ", one row a lane. A bar begins when the operation is submitted with its buffer, and ends \
            when its completion is taken."
}

/// Where a time lies from left to right.
fn x(at: Duration, end: Duration) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * (at.as_secs_f64() / end.as_secs_f64())
}

/// Lines through the rows at round times, with the times below.
fn axis(put: &mut impl FnMut(std::fmt::Arguments<'_>), end: Duration, bottom: f64) {
    let (unit, name) = match end.as_micros() {
        0..10_000 => (1e-6, "microseconds"),
        10_000..1_000_000 => (1e-3, "milliseconds"),
        _ => (1.0, "seconds"),
    };
    let step = round_step(end.as_secs_f64() / unit / 8.0);
    let mut tick = 0;
    loop {
        let value = f64::from(tick) * step;
        let at = LEFT + (WIDTH - LEFT - RIGHT) * (value * unit / end.as_secs_f64());
        if at > WIDTH - RIGHT + 0.5 {
            break;
        }
        let class = if tick == 0 { "edge" } else { "grid" };
        put(format_args!(
            "<line class=\"{class}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text class=\"soft mid\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 5.0,
            bottom + 20.0,
            (value * 1000.0).round() / 1000.0
        ));
        tick += 1;
    }
    put(format_args!(
        "<line class=\"edge\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text class=\"soft end\" x=\"{:.1}\" y=\"{:.1}\">{name} since the queue was created</text>",
        WIDTH - RIGHT,
        WIDTH - RIGHT,
        bottom + 38.0
    ));
}

/// The next larger of 1, 2, 5, 10, 20, 50 ..
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-3).log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

fn legend(put: &mut impl FnMut(std::fmt::Arguments<'_>), classes: &[Class], y: f64) {
    let mut left = LEFT;
    for &class in classes {
        let (class, text) = look(class);
        put(format_args!(
            "<rect class=\"{class}\" x=\"{left}\" y=\"{:.1}\" width=\"14\" height=\"14\" rx=\"2\"/>\
             <text class=\"ink\" x=\"{:.1}\" y=\"{y:.1}\">{text}</text>",
            y - 11.5,
            left + 20.0
        ));
        left += 52.0 + 6.6 * text.len() as f64;
    }
}

/// Text as XML takes it; characters that XML 1.0 cannot hold become the replacement character.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\t' | '\n' | '\r' => escaped.push(' '),
            character if character < ' ' || matches!(character, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_of_the_axis_is_round() {
        for (least, step) in [
            (0.7, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (3.0, 5.0),
            (6.0, 10.0),
            (130.0, 200.0),
        ] {
            assert!((round_step(least) - step).abs() < 1e-9, "{least}");
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(
            escape("a<b>&\"c\"\u{1}\n"),
            "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd} "
        );
    }
}
