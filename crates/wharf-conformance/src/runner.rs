//! The runner: every check on every backend that this machine has, each with a limit of time.
//!
//! Owns the threads and processes that checks run in, and the last lines of a run. What is checked,
//! and what a case runs in (a queue, a task, ..), is the business of those who call [`main`].
//!
//! `WHARF_BACKEND` restricts the run to one backend. What is not to be had is listed as ignored and
//! named in the last lines. A check that needs a process of its own gets one: this binary again,
//! told by `WHARF_CONFORMANCE_ALONE` which check it is to be.

use std::fmt;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::ThreadId;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use wharf_queue::BackendKind;

use crate::fixture::host::threads;
use crate::program::{set_apart, started};
use crate::{not_run, note_not_run};

/// One case on one backend.
#[derive(Clone)]
pub struct Check {
    /// What it is called, without its backend.
    pub name: String,
    /// The promise or race of the contract that it is about.
    pub promise: &'static str,
    /// It needs a process of its own.
    pub alone: bool,
    /// Why it makes no sense on this machine; `None` if it does.
    pub not_here: Option<&'static str>,
    /// Panics if the promise is broken.
    pub run: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({}: {})", self.promise, self.name)
    }
}

/// A case that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A process that is one case tells by itself that it hangs; it is ended if it cannot even do that.
const LIMIT_ALONE: Duration = Duration::from_secs(75);

/// Names the case, as `backend::case`, that a process is to be.
const ALONE: &str = "WHARF_CONFORMANCE_ALONE";
/// Begins a line by which such a process tells what it could not check.
const NOT_RUN: &str = "not run: ";

/// A panic that was not on purpose.
struct Panic {
    thread: ThreadId,
    text: String,
}

/// Those of this process, so that a case that fails says why where it is listed. A case may fail for
/// what panicked on another thread.
static PANICS: Mutex<Vec<Panic>> = Mutex::new(Vec::new());

fn panics() -> std::sync::MutexGuard<'static, Vec<Panic>> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What panicked since there were so many, on the thread of a case first.
fn why(thread: ThreadId, since: usize) -> String {
    let panics = panics();
    let (own, others): (Vec<_>, Vec<_>) = panics[since..]
        .iter()
        .partition(|panic| panic.thread == thread);
    let own = own.iter().map(|panic| format!("\n{}", panic.text));
    let others = others
        .iter()
        .map(|panic| format!("\nmeanwhile, maybe of another case: {}", panic.text));
    own.chain(others).collect()
}

fn run(check: &Check, backend: BackendKind) -> Result<(), Failed> {
    let (sender, receiver) = mpsc::channel();
    let since = panics().len();
    let name = format!("{backend}::{}", check.name);
    let thread = std::thread::Builder::new().name(name);
    let run = check.run.clone();
    let thread = thread.spawn(move || {
        run();
        drop(sender);
    })?;
    let id = thread.thread().id();
    let failed = |what: String| Failed::from(format!("{} {what}{}", check.promise, why(id, since)));
    match receiver.recv_timeout(LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let threads = threads(std::process::id());
            Err(failed(format!("hangs, after {LIMIT:?}:{threads}")))
        }
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
            thread.join().map_err(|_| failed("is broken:".to_owned()))
        }
    }
}

/// Collects what a process writes while it runs, so that a full pipe does not hold it up, and sends
/// it when the process has ended.
fn collect(mut from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = from.read_to_end(&mut bytes);
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(error) = read {
            text.push_str(&error.to_string());
        }
        // Nobody listens any more when the case has taken too long.
        drop(to.send(text));
    });
}

fn run_alone(check: &Check, backend: BackendKind) -> Result<(), Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    set_apart(&mut command);
    command
        .env(ALONE, format!("{backend}::{}", check.name))
        // The case knows its backend; what it makes without one is made automatically.
        .env_remove("WHARF_BACKEND")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = started(|| command.spawn())?;
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        collect(output, sender.clone());
    }
    if let Some(errors) = child.stderr.take() {
        collect(errors, sender.clone());
    }
    drop(sender);
    let mut text = String::new();
    let mut late = false;
    loop {
        match receiver.recv_timeout(LIMIT_ALONE) {
            Ok(part) => text += &part,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                late = true;
                text += &threads(child.id());
                child.kill()?;
                break;
            }
        }
    }
    let status = child.wait()?;
    for line in text.lines() {
        if let Some(what) = line.strip_prefix(NOT_RUN) {
            note_not_run(what.to_owned());
        }
    }
    if late {
        return Err(format!("{} hangs, after {LIMIT_ALONE:?}:{text}", check.promise).into());
    }
    if !status.success() {
        return Err(format!("{} is broken: {status}\n{text}", check.promise).into());
    }
    Ok(())
}

/// What a process does that is one case.
fn be_the_check(name: &str, checks: impl Fn(BackendKind) -> Vec<Check>) -> ExitCode {
    let found = name.split_once("::").and_then(|(backend, name)| {
        let backend = backend.parse().ok()?;
        let mut checks = checks(backend).into_iter();
        Some((checks.find(|check| check.name == name)?, backend))
    });
    let Some((check, backend)) = found else {
        eprintln!("{ALONE} names no case: {name}");
        return ExitCode::from(2);
    };
    let result = run(&check, backend);
    for what in not_run() {
        println!("{NOT_RUN}{what}");
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

/// Some cases let a user's code panic; what they catch need not be read.
/// The others are kept, to be told with the case that fails.
fn hush_panics_on_purpose() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        if !text.is_some_and(|text| text.starts_with("on purpose")) {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("unnamed");
            let text = format!("thread {name}: {info}");
            panics().push(Panic {
                thread: thread.id(),
                text,
            });
            report(info);
        }
    }));
}

/// Runs what `checks` gives for each backend, as the command line asks: the whole of a test binary
/// that has no harness.
pub fn main(checks: impl Fn(BackendKind) -> Vec<Check>) -> ExitCode {
    hush_panics_on_purpose();
    if let Ok(name) = std::env::var(ALONE) {
        return be_the_check(&name, checks);
    }
    let arguments = Arguments::from_args();
    let only = std::env::var("WHARF_BACKEND").unwrap_or_default();
    let mut trials = Vec::new();
    for report in wharf_queue::probe() {
        if !only.is_empty() && only != "auto" && only != report.kind.name() {
            continue;
        }
        if !report.available {
            note_not_run(format!("{}: {}", report.kind, report.reason));
        }
        let backend = report.kind;
        for check in checks(backend) {
            let name = format!("{backend}::{}", check.name);
            let promise = check.promise;
            let is_here = report.available && check.not_here.is_none();
            if let Some(why) = check.not_here {
                note_not_run(format!("{name}: {why}"));
            }
            let trial = Trial::test(name, move || match check.alone {
                true => run_alone(&check, backend),
                false => run(&check, backend),
            });
            let trial = trial.with_kind(promise);
            trials.push(trial.with_ignored_flag(!is_here));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    for what in not_run() {
        println!("{NOT_RUN}{what}");
    }
    conclusion.exit_code()
}
