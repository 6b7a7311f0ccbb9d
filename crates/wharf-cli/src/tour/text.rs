//! The timeline as text: the first operations row by row, then the whole run lane by lane.
//!
//! Plain characters tell everything; colour only helps, so that nothing is lost in a pipe.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::record::{Class, Lane, Span, Timeline, time};

/// Columns of a bar.
const WIDTH: usize = 56;
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();

/// The sign of a class, and its colour in a terminal.
fn look(class: Class) -> (char, Style) {
    let (sign, colour) = match class {
        Class::Prepare => ('+', AnsiColor::Magenta),
        Class::Read => ('=', AnsiColor::Blue),
        Class::Send => ('>', AnsiColor::Yellow),
        Class::Receive => ('<', AnsiColor::Green),
        Class::Wait => ('.', AnsiColor::White),
    };
    (sign, colour.on_default())
}

/// Draws the first operations, then every lane.
pub(super) fn draw(out: &mut impl Write, first: &Timeline, all: &Timeline) -> io::Result<()> {
    rows(out, first)?;
    writeln!(out)?;
    lanes(out, all)
}

fn rows(out: &mut impl Write, timeline: &Timeline) -> io::Result<()> {
    writeln!(
        out,
        "{BOLD}{}{BOLD:#}, from submission to completion",
        part(timeline)
    )?;
    let head = format!(
        "{:>10} {:>10}  {:<28}",
        "submitted", "completed", "operation"
    );
    writeln!(out, "{DIM}{head} {}{DIM:#}", axis(timeline.end))?;
    for span in timeline.operations() {
        let (sign, style) = look(span.lane.class());
        let (from, to) = columns(span, timeline.end);
        let bar: String = (0..WIDTH)
            .map(|column| {
                if (from..to).contains(&column) {
                    sign
                } else {
                    ' '
                }
            })
            .collect();
        writeln!(
            out,
            "{:>10} {:>10}  {:<28} |{style}{bar}{style:#}|",
            time(span.submitted),
            time(span.completed),
            span.what,
        )?;
    }
    Ok(())
}

fn lanes(out: &mut impl Write, timeline: &Timeline) -> io::Result<()> {
    writeln!(
        out,
        "{BOLD}{} by lane{BOLD:#}: operations of one lane follow each other, lanes overlap",
        part(timeline)
    )?;
    writeln!(out, "{DIM}{:<12} {}{DIM:#}", "", axis(timeline.end))?;
    for lane in timeline.lanes() {
        let (_, style) = look(lane.class());
        let bar = occupancy(timeline, lane);
        writeln!(out, "{:<12} |{style}{bar}{style:#}|", lane.name())?;
    }
    Ok(())
}

/// Which part of the run a timeline shows.
fn part(timeline: &Timeline) -> String {
    match timeline.shown == timeline.all {
        true => format!("all {} operations", timeline.all),
        false => format!(
            "the first {} of {} operations",
            timeline.shown, timeline.all
        ),
    }
}

/// Where a bar begins and ends; it has a column at least.
fn columns(span: &Span, end: Duration) -> (usize, usize) {
    let column = |at: Duration| (at.as_nanos() * WIDTH as u128 / end.as_nanos()) as usize;
    let from = column(span.submitted).min(WIDTH - 1);
    (from, column(span.completed).clamp(from + 1, WIDTH))
}

/// How much of each column a lane was busy for: a sign for most of it, a comma for some.
fn occupancy(timeline: &Timeline, lane: Lane) -> String {
    let (sign, _) = look(lane.class());
    let width = timeline.end.as_nanos().div_ceil(WIDTH as u128);
    let mut busy = [0u128; WIDTH];
    let mut touched = [false; WIDTH];
    for span in timeline.spans.iter().filter(|span| span.lane == lane) {
        let (from, to) = (span.submitted.as_nanos(), span.completed.as_nanos());
        let (first, last) = columns(span, timeline.end);
        for column in first..last {
            let begin = column as u128 * width;
            let here = to.min(begin + width).saturating_sub(from.max(begin));
            busy[column] += here;
            touched[column] = true;
        }
    }
    (0..WIDTH)
        .map(
            |column| match (busy[column] * 3 >= width, touched[column]) {
                (true, _) => sign,
                (false, true) => ',',
                (false, false) => ' ',
            },
        )
        .collect()
}

/// The scale above the bars: its two ends.
fn axis(end: Duration) -> String {
    let end = time(end);
    format!("|0{end:>width$}|", width = WIDTH - 1)
}
