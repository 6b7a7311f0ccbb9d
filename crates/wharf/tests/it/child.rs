//! Child processes that every system has: this very program, in which one test plays a part.
//!
//! Owns the parts. The harness says something of its own before a part begins, the [`HEADING`].

use std::io::{self, BufRead, Read, Write};

use wharf::process::{ChildStdout, Command, Stdio};

/// Where a child finds its part.
const PART: &str = "WHARF_TEST_PART";

/// What the harness says before a part says anything.
pub(crate) const HEADING: &[u8] = b"\nrunning 1 test\n";

/// A program that plays a part, which is a word and perhaps more:
///
/// - `exit CODE` ends with that code;
/// - `line CODE` does so when it has read a line or found the end of its input;
/// - `copy` says what it reads, at once;
/// - `copy TEXT` says so much more behind it;
/// - `say TEXT` says a text;
/// - `report CODE` says where it is and what `WORD` is, complains, copies, and ends with that code;
/// - `sleep` lives until it is killed.
pub(crate) fn child(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this is one"));
    command
        .args(["--exact", "--nocapture", "--quiet"])
        .arg("child::child_process_that_plays_a_part")
        .env(PART, part);
    command
}

/// A child of which nobody hears.
pub(crate) fn silent(part: &str) -> Command {
    let mut command = child(part);
    command.stdout(Stdio::null());
    command
}

/// A child that lives until it is killed.
pub(crate) fn sleeper() -> Command {
    let mut command = silent("sleep");
    command.stdin(Stdio::null());
    command
}

/// Reads past the heading.
pub(crate) async fn skip_heading(stdout: &mut ChildStdout) {
    let mut heading = [0; HEADING.len()];
    stdout.read_exact(&mut heading).await.expect("a heading");
    assert_eq!(heading, *HEADING);
}

/// What a child has said itself.
pub(crate) fn own_words(said: &[u8]) -> &[u8] {
    said.strip_prefix(HEADING).expect("a heading")
}

fn copy() -> io::Result<()> {
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let mut buf = [0; 16 * 1024];
    loop {
        match from.read(&mut buf)? {
            0 => return Ok(()),
            count => to.write_all(&buf[..count])?,
        }
        to.flush()?;
    }
}

fn play(part: &str) -> io::Result<i32> {
    let (word, rest) = part.split_once(' ').unwrap_or((part, ""));
    let code = || rest.parse().expect("a code");
    match word {
        "exit" => return Ok(code()),
        "line" => {
            io::stdin().lock().read_line(&mut String::new())?;
            return Ok(code());
        }
        "copy" => {
            copy()?;
            print!("{rest}");
        }
        "say" => print!("{rest}"),
        "report" => {
            println!("{}", std::env::current_dir()?.display());
            println!("{}", std::env::var("WORD").expect("it was set"));
            eprintln!("oops");
            copy()?;
            return Ok(code());
        }
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(1000)), // tidy: allow(sleep) it is killed
        other => panic!("there is no part '{other}'"),
    }
    io::stdout().flush()?;
    Ok(0)
}

/// The child that sends Ctrl-C, where one is needed for it.
#[test]
fn child_process_of_the_suite() {
    let _done = wharf_conformance::be_the_child();
}

#[test]
fn child_process_that_plays_a_part() {
    if let Ok(part) = std::env::var(PART) {
        // The harness has nothing to say behind it.
        std::process::exit(play(&part).expect("its streams are there"));
    }
}
