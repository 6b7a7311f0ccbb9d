//! Running of a child process with a time limit, with its output shown as it comes and kept.
//!
//! A child that passes its limit is killed with everything it started: cargo alone would leave the
//! test binary behind. The tree is read from the system's process table, not made a process group of
//! its own, so that Ctrl-C in a terminal still reaches the children.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::tally::Tally;

/// How long the output is awaited after the child has ended; something that outlived the child may
/// hold the pipe open for ever.
const DRAIN: Duration = Duration::from_secs(3);

/// How a child ended.
#[derive(Debug)]
pub(crate) enum End {
    Exited(ExitStatus),
    TimedOut(Duration),
    NotStarted(io::Error),
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) end: End,
    pub(crate) lines: Vec<String>,
    pub(crate) tally: Tally,
    /// Something that the child started outlived it and still holds its output.
    pub(crate) is_outlived: bool,
}

impl Run {
    /// Success, or one clause that says what went wrong.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        match &self.end {
            End::Exited(status) if status.success() && self.is_outlived => {
                Err("a process that it started outlived it and holds its output".to_owned())
            }
            End::Exited(status) if status.success() => Ok(()),
            End::Exited(status) if self.tally.failed > 0 => Err(format!(
                "{} failed ({status})",
                plural(self.tally.failed, "test")
            )),
            End::Exited(status) => match self.lines.iter().find(|line| line.starts_with("error")) {
                Some(error) => Err(format!("{status}: {error}")),
                None => Err(status.to_string()),
            },
            End::TimedOut(limit) => {
                let last = self
                    .lines
                    .last()
                    .map_or("nothing was printed", |line| line.trim());
                Err(format!(
                    "killed at its limit of {} s; last line: {last}",
                    limit.as_secs()
                ))
            }
            End::NotStarted(error) => Err(format!("could not be started: {error}")),
        }
    }
}

pub(crate) fn plural(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// Runs a command with nothing to read, shows its output, and kills it at the limit.
pub(crate) fn run(mut command: Command, limit: Duration) -> Run {
    command.stderr(Stdio::piped());
    watch(command, limit, true)
}

/// The same without showing anything; what goes to standard error is dropped.
pub(crate) fn run_quietly(mut command: Command, limit: Duration) -> Run {
    command.stderr(Stdio::null());
    watch(command, limit, false)
}

fn watch(mut command: Command, limit: Duration, shows: bool) -> Run {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return Run {
                end: End::NotStarted(error),
                lines: Vec::new(),
                tally: Tally::default(),
                is_outlived: false,
            };
        }
    };
    let receiver = forward(&mut child, shows);
    let mut watch = Watch {
        child,
        limit,
        deadline: Instant::now() + limit,
        ended: None,
    };
    let (mut lines, mut tally) = (Vec::new(), Tally::default());
    let is_outlived = loop {
        match receiver.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                tally.line(&line);
                lines.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break false,
        }
        watch.poll();
        if watch.is_drained() {
            break true;
        }
    };
    Run {
        end: watch.end(),
        lines,
        tally,
        is_outlived,
    }
}

/// A child with its limit, and when and how it ended.
struct Watch {
    child: Child,
    limit: Duration,
    deadline: Instant,
    ended: Option<(Instant, End)>,
}

impl Watch {
    fn poll(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let end = match self.child.try_wait() {
            Ok(Some(status)) => End::Exited(status),
            Ok(None) if Instant::now() < self.deadline => return,
            Ok(None) => {
                kill_tree(&mut self.child);
                End::TimedOut(self.limit)
            }
            Err(error) => End::NotStarted(error),
        };
        self.ended = Some((Instant::now(), end));
    }

    fn is_drained(&self) -> bool {
        self.ended
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() >= DRAIN)
    }

    /// Waits for the end where the output was closed before it.
    fn end(mut self) -> End {
        loop {
            self.poll();
            match self.ended {
                Some((_, end)) => return end,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

/// Sends each line of both outputs into a channel, which closes with the outputs, and to our own
/// output where it is to be shown.
fn forward(child: &mut Child, shows: bool) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        let sender = sender.clone();
        std::thread::spawn(move || copy_lines(output, &sender, shows));
    }
    if let Some(output) = child.stderr.take() {
        std::thread::spawn(move || copy_lines(output, &sender, shows));
    }
    receiver
}

fn copy_lines(output: impl Read, sender: &Sender<String>, shows: bool) {
    let mut output = BufReader::new(output);
    let mut bytes = Vec::new();
    while output
        .read_until(b'\n', &mut bytes)
        .is_ok_and(|length| length > 0)
    {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if shows {
            // Nobody may be left to read our output; the run goes on all the same.
            let _ = writeln!(io::stdout(), "{line}");
        }
        if sender.send(line).is_err() {
            return;
        }
    }
}

/// Kills a child and everything below it.
fn kill_tree(child: &mut Child) {
    if cfg!(windows) {
        let _ = Command::new("taskkill")
            .args(["/F", "/T", "/PID", &child.id().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    } else {
        // They are stopped first, until there is none that was not: one that is stopped starts no
        // other, and none is lost from sight because its parent has died.
        let mut tree = Vec::new();
        for _ in 0..MOST_GENERATIONS {
            let stopped =
                std::mem::replace(&mut tree, with_descendants(child.id(), &process_table()));
            if tree.iter().all(|process| stopped.contains(process)) {
                break;
            }
            signal("STOP", &tree);
        }
        signal("KILL", &tree);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// How often processes are looked for that were started while others were being stopped.
const MOST_GENERATIONS: usize = 20;

/// `kill` is a word of every shell, while the program of that name may be missing.
fn signal(name: &str, processes: &[u32]) {
    let numbers: Vec<String> = processes.iter().map(u32::to_string).collect();
    let script = format!("kill -{name} {} 2>/dev/null", numbers.join(" "));
    let _ = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .status();
}

/// Pairs of a process and its parent: from /proc on Linux, where `ps` may be missing, else from `ps`.
fn process_table() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return process_table_of_ps();
    };
    let table: Vec<(u32, u32)> = entries
        .filter_map(|entry| {
            let process = entry.ok()?.file_name().to_string_lossy().parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // proc_pid_stat(5): the name stands in parentheses and may contain anything; the state
            // and the parent follow the last of them.
            let parent = stat
                .rsplit_once(')')?
                .1
                .split_whitespace()
                .nth(1)?
                .parse()
                .ok()?;
            Some((process, parent))
        })
        .collect();
    if table.is_empty() {
        process_table_of_ps()
    } else {
        table
    }
}

fn process_table_of_ps() -> Vec<(u32, u32)> {
    let Ok(output) = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect()
}

/// `root` and everything below it, each parent before its children.
fn with_descendants(root: u32, table: &[(u32, u32)]) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        for (process, of) in table {
            if *of == parent && !found.contains(process) {
                found.push(*process);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{End, run, run_quietly, with_descendants};
    use std::process::Command;
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    // Lines that look like results of tests must not be shown: CI would count them.

    #[test]
    fn run_counts_tests_and_tells_success() {
        let script = "echo 'test result: ok. 2 passed; 0 failed;'; echo lost >&2; echo kept";
        let good = run_quietly(sh(script), MINUTE);
        assert_eq!(good.verdict(), Ok(()));
        assert_eq!(good.tally.passed, 2);
        assert_eq!(good.lines[1..], ["kept"]);
    }

    #[test]
    fn run_keeps_both_outputs() {
        let mut run = run(sh("echo one; echo two >&2"), MINUTE);
        run.lines.sort();
        assert_eq!(run.lines, ["one", "two"]);
    }

    #[test]
    fn run_tells_failure_and_what_cannot_start() {
        let script = "echo 'test result: FAILED. 2 passed; 1 failed;'; exit 3";
        let bad = run_quietly(sh(script), MINUTE);
        assert!(
            bad.verdict()
                .is_err_and(|reason| reason.contains("1 test failed"))
        );
        let wrong = run_quietly(sh("echo good; echo error: no such x; exit 101"), MINUTE);
        assert!(
            wrong
                .verdict()
                .is_err_and(|reason| reason.ends_with(": error: no such x"))
        );
        let missing = run(Command::new("./no-such-program"), MINUTE);
        assert!(matches!(missing.end, End::NotStarted(_)));
    }

    #[test]
    fn run_kills_the_whole_tree_at_the_limit() {
        let script = "echo began; sh -c 'sleep 300; true'; true";
        let mut limit = Duration::from_millis(500);
        let hung = loop {
            let hung = run_quietly(sh(script), limit);
            assert!(matches!(hung.end, End::TimedOut(_)));
            if !hung.lines.is_empty() {
                break hung;
            }
            // On a busy machine the limit may be over before the shell has begun.
            limit *= 2;
        };
        assert!(
            hung.verdict()
                .is_err_and(|reason| reason.contains("last line: began"))
        );
        // A sleeper that survived would hold the output.
        assert!(!hung.is_outlived);
    }

    #[test]
    fn run_tells_what_outlived_it() {
        // The sleeper ends on its own: its parent has left, so that nothing leads to it any more.
        let left = run_quietly(sh("sleep 8 & true"), MINUTE);
        assert!(left.is_outlived);
        assert!(
            left.verdict()
                .is_err_and(|reason| reason.contains("outlived"))
        );
    }

    #[test]
    fn descendants_are_found_in_any_order_and_nobody_else() {
        let table = [(5, 4), (4, 2), (3, 1), (2, 1), (6, 3)];
        assert_eq!(with_descendants(2, &table), [2, 4, 5]);
        assert_eq!(with_descendants(1, &table).len(), 6);
        assert_eq!(with_descendants(9, &table), [9]);
    }
}
