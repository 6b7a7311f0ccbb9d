//! `cargo xtask ci`: every step in order, each with a time limit, and a summary that leaves out nothing.
//!
//! This file owns the choice of steps, the budget of time and the report. What the steps do is in
//! `steps`. A step passes, fails, or is not run with a reason; the last lines say what was not run.
//! The very last line is `N passed, N failed`, the sum over all tests.

mod steps;

use std::fmt;
use std::time::{Duration, Instant};

use crate::process::plural;
use crate::tally::{NO_REASON, Tally};
use crate::workspace::Workspace;

use steps::Step;

/// The time that all steps together may take. A step is cut to what is left of it.
const BUDGET: Duration = Duration::from_secs(29 * 60);

/// How many ignored tests without a reason are named for each step; a backend that is not to be had
/// ignores all of its tests, and says the reason once.
const SHOWN: usize = 4;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail(String),
    NotRun(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Pass => "PASS",
            Self::Fail(_) => "FAIL",
            Self::NotRun(_) => "NOT RUN",
        })
    }
}

/// A step that has ended.
struct Done {
    name: String,
    verdict: Verdict,
    took: Duration,
    tally: Tally,
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    lists: bool,
    is_strict: bool,
    only: Vec<String>,
    skip: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String], names: &[&str]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            match flag {
                "--list" => options.lists = true,
                "--strict" => options.is_strict = true,
                "--only" | "--skip" => {
                    let step = value
                        .or_else(|| arguments.next().cloned())
                        .ok_or_else(|| format!("{flag} needs the name of a step"))?;
                    if !names.iter().any(|name| selects(&step, name)) {
                        return Err(format!(
                            "there is no step `{step}`; see cargo xtask ci --list"
                        ));
                    }
                    if flag == "--only" {
                        options.only.push(step)
                    } else {
                        options.skip.push(step)
                    }
                }
                _ => {
                    return Err(format!(
                        "`{argument}` is not understood; see cargo xtask help"
                    ));
                }
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| selects(only, name))
    }

    fn skips(&self, name: &str) -> bool {
        self.skip.iter().any(|skip| selects(skip, name))
    }
}

/// Whether a word of the command line means this step: its name, or the part before a dash.
fn selects(word: &str, name: &str) -> bool {
    name == word
        || name
            .strip_prefix(word)
            .is_some_and(|rest| rest.starts_with('-'))
}

/// `cargo xtask ci`; an error is a wrong use of it.
pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<bool, String> {
    let steps = steps::all();
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let options = Options::parse(arguments, &names)?;
    if options.lists {
        for step in &steps {
            println!("{:22} {}", step.name, step.about);
        }
        return Ok(true);
    }
    let begin = Instant::now();
    let mut done = Vec::new();
    for step in steps.iter().filter(|step| options.wants(&step.name)) {
        let verdict = if options.skips(&step.name) {
            Some(Verdict::NotRun("left out by --skip".to_owned()))
        } else {
            None
        };
        done.push(run_step(
            workspace,
            step,
            verdict,
            BUDGET.saturating_sub(begin.elapsed()),
        ));
    }
    let report = Report::new(&done, options.is_strict);
    let mut not_run = not_run(&done);
    let others: Vec<&str> = names
        .into_iter()
        .filter(|name| !options.wants(name))
        .collect();
    if !others.is_empty() {
        not_run.push(format!("{}: left out by --only", others.join(", ")));
    }
    print!("{}", report.text(&done, &not_run, begin.elapsed()));
    Ok(report.is_good)
}

/// Runs one step within what is left of the budget, unless its verdict is given.
fn run_step(workspace: &Workspace, step: &Step, given: Option<Verdict>, left: Duration) -> Done {
    println!("\n=== {}: {}", step.name, step.about);
    let begin = Instant::now();
    let mut tally = Tally::default();
    let verdict = match given {
        Some(verdict) => verdict,
        None if left.is_zero() => Verdict::Fail("no time was left for it".to_owned()),
        None => (step.run)(workspace, step.limit.min(left), &mut tally),
    };
    let took = begin.elapsed();
    match &verdict {
        Verdict::Pass => println!("--- {}: PASS in {:.1} s", step.name, took.as_secs_f64()),
        Verdict::Fail(reason) | Verdict::NotRun(reason) => {
            println!(
                "--- {}: {verdict} in {:.1} s: {reason}",
                step.name,
                took.as_secs_f64()
            );
        }
    }
    Done {
        name: step.name.clone(),
        verdict,
        took,
        tally,
    }
}

/// What the run adds up to.
struct Report {
    is_good: bool,
    passed: u64,
    failed: u64,
}

impl Report {
    fn new(done: &[Done], is_strict: bool) -> Self {
        let mut report = Self {
            is_good: true,
            passed: 0,
            failed: 0,
        };
        for step in done {
            report.passed += step.tally.passed;
            report.failed += step.tally.failed;
            let is_bad = match step.verdict {
                Verdict::Pass => false,
                Verdict::Fail(_) => true,
                Verdict::NotRun(_) => is_strict,
            };
            if is_bad {
                report.is_good = false;
                // Without this a lint that fails would end in `0 failed`.
                report.failed += u64::from(step.tally.failed == 0);
            }
        }
        report
    }

    fn text(&self, done: &[Done], not_run: &[String], took: Duration) -> String {
        let mut lines = vec![
            String::new(),
            format!("{:22} {:8} {:>8}  tests", "step", "", "seconds"),
        ];
        for step in done {
            let tests = match step.tally.ran() {
                0 => String::new(),
                _ => format!("{} passed, {} failed", step.tally.passed, step.tally.failed),
            };
            let reason = match &step.verdict {
                Verdict::Fail(reason) if tests.is_empty() => reason.clone(),
                Verdict::Fail(reason) => format!("; {reason}"),
                Verdict::Pass | Verdict::NotRun(_) => String::new(),
            };
            let seconds = step.took.as_secs_f64();
            let row = format!(
                "{:22} {:8} {seconds:8.1}  {tests}{reason}",
                step.name, step.verdict
            );
            lines.push(row.trim_end().to_owned());
        }
        lines.push(format!(
            "{:22} {:8} {:8.1}",
            "together",
            "",
            took.as_secs_f64()
        ));
        lines.push(String::new());
        if not_run.is_empty() {
            lines.push("Everything was run.".to_owned());
        } else {
            lines.push(format!(
                "Not run ({}):",
                plural(not_run.len() as u64, "item")
            ));
            lines.extend(not_run.iter().map(|item| format!("  {item}")));
        }
        lines.push(
            "A step that fails without a failed test counts as one in the next line.".to_owned(),
        );
        lines.push(format!("{} passed, {} failed", self.passed, self.failed));
        lines.join("\n") + "\n"
    }
}

/// Steps that were not run, and tests that said so of themselves, each with its reason.
fn not_run(done: &[Done]) -> Vec<String> {
    let mut items = Vec::new();
    for step in done {
        if let Verdict::NotRun(reason) = &step.verdict {
            items.push(format!("{}: {reason}", step.name));
        }
        let (unexplained, explained): (Vec<&String>, Vec<&String>) = step
            .tally
            .not_run
            .iter()
            .partition(|item| item.ends_with(NO_REASON));
        let shown = explained
            .into_iter()
            .chain(unexplained.iter().copied().take(SHOWN));
        items.extend(shown.map(|item| format!("{}: {item}", step.name)));
        if unexplained.len() > SHOWN {
            let more = unexplained.len() - SHOWN;
            items.push(format!("{}: {more} more tests {NO_REASON}", step.name));
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::{Done, Options, Report, SHOWN, Verdict, not_run, selects};
    use crate::tally::Tally;
    use std::time::Duration;

    fn done(name: &str, verdict: Verdict, passed: u64, failed: u64) -> Done {
        let tally = Tally {
            passed,
            failed,
            ..Tally::default()
        };
        Done {
            name: name.to_owned(),
            verdict,
            took: Duration::from_millis(1500),
            tally,
        }
    }

    fn text(report: &Report, steps: &[Done]) -> String {
        report.text(steps, &not_run(steps), Duration::ZERO)
    }

    fn last_line(report: &Report, steps: &[Done]) -> String {
        text(report, steps)
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn report_ends_with_the_sum_of_all_tests() {
        let steps = [
            done("test", Verdict::Pass, 10, 0),
            done(
                "conformance-epoll",
                Verdict::Fail("2 tests failed".to_owned()),
                5,
                2,
            ),
            done("clippy", Verdict::Fail("exit status: 101".to_owned()), 0, 0),
        ];
        let report = Report::new(&steps, false);
        assert!(!report.is_good);
        assert_eq!(last_line(&report, &steps), "15 passed, 3 failed");
    }

    #[test]
    fn report_names_what_was_not_run_and_fails_for_it_only_when_strict() {
        let mut steps = [done("miri", Verdict::NotRun("no nightly".to_owned()), 0, 0)];
        steps[0]
            .tally
            .not_run
            .push("slow: marked as ignored".to_owned());
        let report = Report::new(&steps, false);
        assert!(report.is_good);
        let text = text(&report, &steps);
        assert!(text.contains("\n  miri: no nightly\n"), "{text}");
        assert!(
            text.contains("\n  miri: slow: marked as ignored\n"),
            "{text}"
        );
        let strict = Report::new(&steps, true);
        assert!(!strict.is_good);
        assert_eq!(last_line(&strict, &steps), "0 passed, 1 failed");
    }

    #[test]
    fn report_tells_reasons_first_and_counts_what_it_does_not_name() {
        let mut steps = [done("test", Verdict::Pass, 1, 0)];
        for number in 0..SHOWN + 3 {
            steps[0].tally.line(&format!("test t{number} ... ignored"));
        }
        steps[0].tally.line("not run: io_uring: forbidden");
        let items = not_run(&steps);
        assert_eq!(items.len(), SHOWN + 2);
        assert_eq!(items[0], "test: io_uring: forbidden");
        assert_eq!(items[SHOWN + 1], "test: 3 more tests marked as ignored");
    }

    #[test]
    fn report_says_when_everything_was_run() {
        let steps = [done("test", Verdict::Pass, 1, 0)];
        let text = text(&Report::new(&steps, true), &steps);
        assert!(text.contains("Everything was run.\n"), "{text}");
    }

    #[test]
    fn options_choose_steps_by_name_or_by_group() {
        let names = ["fmt", "conformance-epoll", "conformance-io_uring"];
        let parse = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Options::parse(&words, &names)
        };
        let options = parse(&["--only", "conformance", "--skip=conformance-epoll"]).expect("valid");
        let runs: Vec<&str> = names
            .into_iter()
            .filter(|name| options.wants(name) && !options.skips(name))
            .collect();
        assert_eq!(runs, ["conformance-io_uring"]);
        assert!(parse(&["--only", "fm"]).is_err());
        assert!(parse(&["--only"]).is_err());
        assert!(parse(&["--fast"]).is_err());
        assert!(!selects("conf", "conformance-epoll"));
    }
}
