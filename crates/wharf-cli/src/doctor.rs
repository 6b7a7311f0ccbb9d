//! `wharf doctor`: which backend, and why; what this machine allows, and what would help.
//!
//! Owns the two forms of the report. `host` reads what the system says of itself, `features` knows
//! what each feature is good for; whether it is there, the backends find out themselves.

mod features;
mod host;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::json;
use wharf_queue::{BackendReport, Queue};

use self::features::{Use, feature};
use self::host::Host;
use crate::unless_reader_left;

const HEAD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();
/// Where the text of a feature begins.
const INDENT: usize = 34;

/// What was found out.
struct Report {
    /// The backend that a queue gets as things are, and why; or why it gets none.
    chosen: io::Result<(&'static str, String)>,
    backends: Vec<BackendReport>,
    host: Host,
    advice: Vec<String>,
}

pub(crate) fn run(as_json: bool) -> io::Result<()> {
    let backends = wharf_queue::probe();
    let host = Host::read();
    let chosen = Queue::new();
    let chosen = chosen.map(|queue| (queue.backend().name(), queue.backend_reason().to_owned()));
    let advice = host.advice(&backends);
    let report = Report {
        chosen,
        backends,
        host,
        advice,
    };
    let mut out = anstream::stdout();
    unless_reader_left(match as_json {
        true => writeln!(out, "{:#}", report.json()),
        false => report.text(&mut out),
    })?;
    // A machine on which nothing works is a failure, though one that has been explained.
    report.chosen.map(drop)
}

impl Report {
    fn json(&self) -> serde_json::Value {
        let backends: Vec<_> = self.backends.iter().map(backend_json).collect();
        let (chosen, reason) = match &self.chosen {
            Ok((name, reason)) => (Some(*name), reason.clone()),
            Err(error) => (None, error.to_string()),
        };
        json!({
            "chosen": chosen,
            "reason": reason,
            "backends": backends,
            "host": self.host.json(),
            "advice": self.advice,
        })
    }

    fn text(&self, out: &mut impl Write) -> io::Result<()> {
        match &self.chosen {
            Ok((name, reason)) => {
                writeln!(out, "{HEAD}chosen{HEAD:#}  {GOOD}{name}{GOOD:#}: {reason}")?;
            }
            Err(error) => writeln!(out, "{HEAD}chosen{HEAD:#}  {BAD}none{BAD:#}: {error}")?,
        }
        for report in &self.backends {
            backend_text(out, report)?;
        }
        writeln!(out, "\n{HEAD}this machine{HEAD:#}")?;
        for (what, value, meaning) in self.host.facts() {
            let fact = format!("  {what:<24} {value}");
            writeln!(
                out,
                "{fact:<width$}{DIM}{meaning}{DIM:#}",
                width = INDENT + 6
            )?;
        }
        if !self.advice.is_empty() {
            writeln!(out, "\n{HEAD}what would help{HEAD:#}")?;
        }
        for advice in &self.advice {
            writeln!(out, "  {advice}")?;
        }
        Ok(())
    }
}

fn backend_json(report: &BackendReport) -> serde_json::Value {
    let unused = |(name, _): &(&&'static str, &bool)| {
        feature(name).is_some_and(|feature| feature.used == Use::NotYet)
    };
    let not_used: Vec<_> = report
        .features
        .iter()
        .filter(unused)
        .map(|(name, _)| *name)
        .collect();
    json!({
        "name": report.kind.name(),
        "available": report.available,
        "reason": report.reason,
        "features": report.features,
        "not_used": not_used,
    })
}

fn backend_text(out: &mut impl Write, report: &BackendReport) -> io::Result<()> {
    let (style, state) = match report.available {
        true => (GOOD, "available"),
        false => (BAD, "not available"),
    };
    let kind = report.kind.name();
    writeln!(
        out,
        "\n{HEAD}{kind}{HEAD:#}  {style}{state}{style:#}: {}",
        report.reason
    )?;
    for (&name, &there) in &report.features {
        let known = feature(name);
        let not_used = known
            .as_ref()
            .is_some_and(|known| known.used == Use::NotYet);
        let (style, state) = match (there, not_used) {
            (true, false) => (GOOD, "used"),
            (true, true) => (DIM, "not used"),
            (false, _) => (BAD, "missing"),
        };
        let since = known.as_ref().map_or("", |known| known.since);
        let good_for = known.as_ref().map_or("", |known| known.good_for);
        writeln!(
            out,
            "  {style}{state:<9}{style:#}{name:<20} {DIM}{since:<6}{DIM:#} {good_for}"
        )?;
    }
    Ok(())
}
