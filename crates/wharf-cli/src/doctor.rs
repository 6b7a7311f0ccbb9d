//! `wharf doctor`: which backend, and why.

use std::io::{self, Write};

use serde_json::json;
use wharf_queue::Queue;

pub(crate) fn run(as_json: bool) -> io::Result<()> {
    let reports = wharf_queue::probe();
    let queue = Queue::new()?;
    let mut out = io::stdout().lock();
    if as_json {
        let backends: Vec<_> = reports
            .iter()
            .map(|report| {
                json!({
                    "name": report.kind.name(),
                    "available": report.available,
                    "reason": report.reason,
                    "features": report.features,
                })
            })
            .collect();
        let report = json!({
            "chosen": queue.backend().name(),
            "reason": queue.backend_reason(),
            "backends": backends,
        });
        return writeln!(out, "{report:#}");
    }
    writeln!(
        out,
        "chosen: {} ({})",
        queue.backend(),
        queue.backend_reason()
    )?;
    for report in reports {
        let state = if report.available {
            "available"
        } else {
            "not available"
        };
        writeln!(out, "\n{}: {state}\n  {}", report.kind, report.reason)?;
        for (feature, there) in report.features {
            writeln!(out, "  {} {feature}", if there { "yes" } else { "no " })?;
        }
    }
    Ok(())
}
