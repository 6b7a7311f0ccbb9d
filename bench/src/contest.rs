//! A harness for loops inside one process: contestants run in turns, and the table shows ratios.
//!
//! It owns the rounds, the counting and the table of `cargo bench`. A general benchmark library runs one
//! contestant to its end and then the next; on a busy machine the ratio of two such numbers says little.
//! Here each round runs every contestant once for about the same time, the order moves on from round to round,
//! and ratios to the first contestant are taken inside a round.
//!
//! Allocations per operation are counted in the process, if it runs on [`crate::counting::CountingAllocator`].
//! System calls are counted in a second process: the same program again, told by an environment variable to
//! run one contestant only, traced for exactly that long ([`crate::syscalls`]).

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::counting;
use crate::syscalls::{self, SyscallCounter};
use crate::table::{Table, median, minimum};

/// A loop that is set up: runs about as many operations as asked, returns how many, and their time.
pub type Run = Box<dyn FnMut(u64) -> io::Result<(u64, Duration)>>;

/// Says which contestant a traced child runs: `CONTEST/CONTESTANT`.
const TRACED: &str = "WHARF_BENCH_TRACED";
const TRACED_OPERATIONS: u64 = 4096;

/// A contestant: its name, and how to set it up.
pub struct Contestant {
    name: String,
    set_up: Box<dyn FnOnce() -> io::Result<Run>>,
}

impl Contestant {
    /// A contestant. `set_up` is called only if it takes part.
    pub fn new<S>(name: &str, set_up: S) -> Self
    where
        S: FnOnce() -> io::Result<Run> + 'static,
    {
        Self {
            name: name.to_owned(),
            set_up: Box::new(set_up),
        }
    }
}

/// How long to measure.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    round: Duration,
}

/// What `cargo bench` asks for.
const FULL: Effort = Effort {
    rounds: 25,
    round: Duration::from_millis(20),
};
/// What `cargo test --benches` asks for: that everything runs, no numbers.
const TRIAL: Effort = Effort {
    rounds: 1,
    round: Duration::from_millis(1),
};

/// All contests of one bench program.
pub struct Bench {
    effort: Effort,
    filter: Option<String>,
    traced: Option<String>,
    table: Table,
}

impl Bench {
    /// Reads the command line of `cargo bench`: one word filters the contests by their titles.
    #[must_use]
    pub fn from_env() -> Self {
        let filter = env::args().skip(1).find(|word| !word.starts_with('-'));
        // Cargo adds this word for `cargo bench` alone.
        let effort = if env::args().any(|word| word == "--bench") {
            FULL
        } else {
            TRIAL
        };
        let table = Table::new(
            2,
            &[
                "contest",
                "contestant",
                "ns/op, median",
                "min",
                "ratio, median",
                "ratio of min",
                "allocations/op",
                "system calls/op",
            ],
        );
        Self {
            effort,
            filter,
            traced: env::var(TRACED).ok(),
            table,
        }
    }

    /// Runs one contest and adds it to the table. Ratios are taken to the first contestant.
    ///
    /// # Errors
    /// The first error of a contestant.
    pub fn contest(&mut self, title: &str, contestants: Vec<Contestant>) -> io::Result<()> {
        if let Some(traced) = self.traced.clone() {
            return run_traced(&traced, title, contestants);
        }
        if self
            .filter
            .as_ref()
            .is_some_and(|word| !title.contains(word))
        {
            return Ok(());
        }
        let (names, mut runs) = set_up(contestants)?;
        let samples = run_rounds(&mut runs, self.effort)?;
        eprintln!("{title}: {} rounds", self.effort.rounds);
        let first = &samples[0];
        for (number, name) in names.iter().enumerate() {
            let own = &samples[number];
            let ratios: Vec<f64> = own
                .iter()
                .zip(first)
                .map(|(own, first)| own / first)
                .collect();
            let before = counting::allocations();
            let (operations, _) = runs[number](TRACED_OPERATIONS)?;
            let allocations = counting::allocations() - before;
            self.table.row(vec![
                title.to_owned(),
                name.clone(),
                format!("{:.1}", median(own)),
                format!("{:.1}", minimum(own)),
                format!("{:.2}", median(&ratios)),
                format!("{:.2}", minimum(own) / minimum(first)),
                format!("{:.4}", allocations as f64 / operations as f64),
                count_syscalls(title, name).unwrap_or_else(|error| format!("unknown: {error}")),
            ]);
        }
        Ok(())
    }

    /// Prints the table.
    pub fn finish(self) {
        if self.traced.is_none() {
            println!("\n{}", self.table);
        }
    }
}

fn set_up(contestants: Vec<Contestant>) -> io::Result<(Vec<String>, Vec<Run>)> {
    let mut names = Vec::new();
    let mut runs = Vec::new();
    for contestant in contestants {
        names.push(contestant.name);
        runs.push((contestant.set_up)()?);
    }
    Ok((names, runs))
}

/// The nanoseconds per operation of each contestant, by round.
fn run_rounds(runs: &mut [Run], effort: Effort) -> io::Result<Vec<Vec<f64>>> {
    let mut sizes = Vec::new();
    for run in runs.iter_mut() {
        // Once to warm up, once to see how many operations fill a round.
        run(1024)?;
        let (operations, time) = run(4096)?;
        let each = time.as_secs_f64() / operations as f64;
        sizes.push((effort.round.as_secs_f64() / each.max(1e-9)) as u64);
    }
    let mut samples = vec![Vec::new(); runs.len()];
    for round in 0..effort.rounds {
        for turn in 0..runs.len() {
            let number = (round + turn) % runs.len();
            let (operations, time) = runs[number](sizes[number])?;
            samples[number].push(time.as_secs_f64() * 1e9 / operations as f64);
        }
    }
    Ok(samples)
}

/// Runs this program again for one contestant, and counts while it works.
fn count_syscalls(title: &str, name: &str) -> io::Result<String> {
    let mut child = Command::new(env::current_exe()?)
        .env(TRACED, format!("{title}/{name}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut go = child.stdin.take().expect("stdin is a pipe");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
    let mut line = String::new();
    lines.read_line(&mut line)?;
    let counter = SyscallCounter::attach(child.id())?;
    go.write_all(b"g")?;
    line.clear();
    lines.read_line(&mut line)?;
    let counts = counter.stop()?;
    drop(go);
    child.wait()?;
    let operations = line
        .trim()
        .parse()
        .map_err(|_| io::Error::other("the traced run failed"))?;
    Ok(syscalls::describe(&counts, operations))
}

/// The other side of [`count_syscalls`].
fn run_traced(traced: &str, title: &str, contestants: Vec<Contestant>) -> io::Result<()> {
    for contestant in contestants {
        if traced != format!("{title}/{}", contestant.name) {
            continue;
        }
        let mut run = (contestant.set_up)()?;
        run(1024)?;
        println!("ready");
        let mut byte = [0];
        io::stdin().read_exact(&mut byte)?;
        let (operations, _) = run(TRACED_OPERATIONS)?;
        println!("{operations}");
        // The tracer closes the pipe when it has stopped to count.
        io::stdin().read_to_end(&mut Vec::new())?;
    }
    Ok(())
}
