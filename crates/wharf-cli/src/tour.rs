//! `wharf tour`: the five steps with real I/O.
//!
//! Owns the order of the tour and what is said on the way. `prepare` makes file and connections,
//! `transfer` moves the bytes, `record` keeps the times, `text` and `svg` draw them.

mod prepare;
mod record;
mod svg;
mod text;
mod transfer;

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use wharf_queue::{Moment, Queue};

use self::record::{Recorder, Totals, bytes, time};
use self::transfer::{Digests, Transfer};
use crate::unless_reader_left;

/// Operations that get a row of their own in the text.
const ROWS: usize = 20;
/// Operations that the picture shows.
const DRAWN: usize = 240;

const STEP: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();

pub(crate) fn run(queue: &Queue, file: Option<&Path>, picture: Option<&Path>) -> io::Result<()> {
    let path = file.map_or_else(std::env::current_exe, |path| Ok(path.to_owned()))?;
    let picture = picture
        .map(|out| svg::Target::open(out, &path))
        .transpose()?;
    let start = queue.now();
    let mut recorder = Recorder::new(start);
    let mut guide = Guide {
        queue,
        start,
        out: anstream::stdout(),
    };
    let done = walk(&mut guide, &mut recorder, &path)?;
    unless_reader_left(guide.show(&recorder, &done))?;
    if let Some(picture) = picture {
        let Totals {
            operations, waits, ..
        } = recorder.totals;
        let title = format!("wharf tour on {}", queue.backend());
        let subtitle = format!(
            "{}, {} in chunks of {}, over {} TCP connections: {operations} operations, {waits} waits, {}",
            path.file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy(),
            bytes(done.digests.sent_len),
            bytes(done.chunk_len as u64),
            transfer::CONNECTIONS,
            time(done.took),
        );
        let drawing = svg::draw(&recorder.first(DRAWN), &title, &subtitle);
        let name = picture.write(&drawing)?;
        unless_reader_left(writeln!(guide.out, "{DIM}the picture is in {name}{DIM:#}"))?;
    }
    done.compare()
}

/// Steps 1 to 5.
fn walk<W: Write>(
    guide: &mut Guide<'_, W>,
    recorder: &mut Recorder,
    path: &Path,
) -> io::Result<Done> {
    let queue = guide.queue;
    guide.step(1, "create an event queue")?;
    guide.note(&format!("{}: {}", queue.backend(), queue.backend_reason()))?;

    guide.step(2, "have buffers, and handles to a file and to sockets")?;
    let (file, metadata) = prepare::open(queue, recorder, path)?;
    guide.note(&format!("{}: {}", path.display(), bytes(metadata.len)))?;
    let (connections, address) = prepare::connect(queue, recorder)?;
    let count = connections.len();
    guide.note(&format!("{count} TCP connections to {address}, both ends"))?;

    guide.step(3, "register interest, passing the buffers in")?;
    let source = (file, path.display().to_string(), metadata.len);
    let mut transfer = Transfer::new(queue, recorder, source, connections);
    transfer.submit()?;
    let (lent, chunk_len) = (queue.in_flight(), transfer.chunk_len());
    let chunk = bytes(chunk_len as u64);
    guide.note(&format!(
        "{lent} reads and receives of up to {chunk} are in flight, and their {lent} buffers"
    ))?;
    guide.note("belong to the queue until they have completed")?;

    guide.step(4, "block until something has completed")?;
    let mut count = transfer.wait()?;
    let plural = if count == 1 { "" } else { "s" };
    guide.note(&format!(
        "the thread was woken with {count} completion{plural}"
    ))?;

    guide.step(
        5,
        "the thread is unblocked, and the buffers are already filled",
    )?;
    let (mut read_shown, mut received_shown) = (false, false);
    loop {
        if let (false, Some(first)) = (read_shown, &transfer.firsts.read) {
            read_shown = true;
            guide.note(&format!("the first read gave     {first}"))?;
        }
        if let (false, Some(first)) = (received_shown, &transfer.firsts.received) {
            received_shown = true;
            guide.note(&format!("the first receive gave  {first}"))?;
        }
        transfer.submit()?;
        if transfer.is_over() {
            break;
        }
        count += transfer.wait()?;
    }
    guide.note(&format!(
        "and so on, steps 3 to 5 again: {count} completions in all"
    ))?;
    Ok(Done {
        digests: transfer.finish(),
        chunk_len,
        took: guide.elapsed(),
    })
}

/// Who says what happens, as it happens.
struct Guide<'q, W> {
    queue: &'q Queue,
    start: Moment,
    out: W,
}

/// What the tour came to.
struct Done {
    digests: Digests,
    chunk_len: usize,
    took: Duration,
}

impl Done {
    fn is_equal(&self) -> bool {
        let Digests {
            sent,
            received,
            sent_len,
            received_len,
        } = &self.digests;
        sent == received && sent_len == received_len
    }

    fn compare(&self) -> io::Result<()> {
        if self.is_equal() {
            return Ok(());
        }
        let message = "the digests differ: what was received is not what was sent";
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

impl<W: Write> Guide<'_, W> {
    fn elapsed(&self) -> Duration {
        self.queue.now().saturating_duration_since(self.start)
    }

    /// Says one of the five steps.
    fn step(&mut self, number: usize, what: &str) -> io::Result<()> {
        unless_reader_left(writeln!(self.out, "{STEP}{number} {what}{STEP:#}"))
    }

    /// Says something about it, with the time at which it is true.
    fn note(&mut self, what: &str) -> io::Result<()> {
        let at = time(self.elapsed());
        unless_reader_left(writeln!(self.out, "{DIM}{at:>10}{DIM:#}  {what}"))
    }

    fn show(&mut self, recorder: &Recorder, done: &Done) -> io::Result<()> {
        let totals = recorder.totals;
        writeln!(self.out)?;
        text::draw(
            &mut self.out,
            &recorder.first(ROWS),
            &recorder.first(usize::MAX),
        )?;
        writeln!(
            self.out,
            "\n{} operations, at most {} in flight at once; {} waits, in which the thread was blocked \
             for {} of {}; {} system calls",
            totals.operations,
            totals.deepest,
            totals.waits,
            time(totals.blocked),
            time(done.took),
            self.queue.stats().system_calls,
        )?;
        let Digests {
            sent,
            received,
            sent_len,
            received_len,
        } = &done.digests;
        writeln!(self.out, "sent      {sent}  {}", bytes(*sent_len))?;
        writeln!(self.out, "received  {received}  {}", bytes(*received_len))?;
        if done.is_equal() {
            writeln!(self.out, "{GOOD}the digests are the same{GOOD:#}")?;
        }
        Ok(())
    }
}
