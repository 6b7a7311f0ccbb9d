//! `wharf tour`: the five steps with real I/O.
//!
//! Reads a file in overlapping chunks into lent buffers, sends them over a TCP connection to
//! itself, receives them, and compares a checksum of both ends.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use wharf_queue::{Moment, OpKind, Prepare, Queue, op};

use crate::context;

const CHUNK: usize = 256 * 1024;
/// Reads in flight at a time.
const DEPTH: u64 = 4;
/// How many operations the timeline shows.
const SHOWN: usize = 24;

struct Line {
    kind: OpKind,
    submitted: Moment,
    completed: Moment,
    bytes: usize,
}

pub(crate) fn run(queue: &Queue, file: Option<PathBuf>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let path = file.map_or_else(std::env::current_exe, Ok)?;
    let start = queue.now();
    writeln!(
        out,
        "1 create an event queue: {} ({})",
        queue.backend(),
        queue.backend_reason()
    )?;

    let opened = std::fs::File::open(&path).map_err(context(path.display()))?;
    let len = opened.metadata()?.len();
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other(format!(
            "{} is not a regular file",
            path.display()
        )));
    }
    let file = queue.attach(opened)?;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let sender = queue.attach(TcpStream::connect(listener.local_addr()?)?)?;
    let receiver = queue.attach(listener.accept()?.0)?;
    writeln!(
        out,
        "2 have handles and buffers: {} ({len} bytes), a TCP connection",
        path.display()
    )?;

    let chunks = len.div_ceil(CHUNK as u64);
    let read = |chunk: u64| {
        let buf = Vec::with_capacity(CHUNK);
        let read = op::ReadAt::new(&file, buf, chunk * CHUNK as u64);
        queue
            .submit(read.user_data(chunk))
            .map(|_| queue.now())
            .map_err(io::Error::from)
    };
    let mut submitted = BTreeMap::new();
    for chunk in 0..chunks.min(DEPTH) {
        submitted.insert(chunk, read(chunk)?);
    }
    let pool = queue.buf_pool().buffers(8).size(CHUNK as u32).build()?;
    queue.submit(op::RecvMulti::new(&receiver, &pool))?;
    let receiving = queue.now();
    writeln!(
        out,
        "3 register, passing the buffers in: {} reads, one receive",
        submitted.len()
    )?;

    let mut lines: Vec<Line> = Vec::new();
    let mut waiting = BTreeMap::new();
    let (mut next_read, mut next_send) = (submitted.len() as u64, 0);
    let mut sending = None;
    let (mut sent, mut received) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
    let (mut sent_len, mut received_len, mut waits) = (0u64, 0u64, 0);
    let mut ended = false;
    while !ended {
        // Step 4: block until something has completed.
        let batch = queue.wait(Duration::from_secs(30))?;
        waits += 1;
        if batch.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "nothing completed in 30 seconds",
            ));
        }
        for completion in batch {
            let (now, chunk) = (queue.now(), completion.user_data());
            // Step 5: the buffers are already filled.
            let (kind, begun, bytes) = match completion.kind() {
                Some(OpKind::ReadAt) => {
                    let Ok((outcome, buf)) = completion.take_as::<op::ReadAt<Vec<u8>>>() else {
                        continue;
                    };
                    let bytes = outcome.into_result().map_err(context(path.display()))?;
                    waiting.insert(chunk, buf);
                    if next_read < chunks {
                        submitted.insert(next_read, read(next_read)?);
                        next_read += 1;
                    }
                    (
                        OpKind::ReadAt,
                        submitted.remove(&chunk).unwrap_or(start),
                        bytes,
                    )
                }
                Some(OpKind::Send) => {
                    let Ok((outcome, _)) = completion.take_as::<op::Send<Vec<u8>>>() else {
                        continue;
                    };
                    (
                        OpKind::Send,
                        sending.take().unwrap_or(start),
                        outcome.into_result()?,
                    )
                }
                _ => {
                    let Ok(outcome) = completion.take_as::<op::RecvMulti>() else {
                        continue;
                    };
                    let piece = outcome.into_result()?;
                    ended = piece.is_empty();
                    received.update(&piece);
                    received_len += piece.len() as u64;
                    (OpKind::RecvMulti, receiving, piece.len())
                }
            };
            lines.push(Line {
                kind,
                submitted: begun,
                completed: now,
                bytes,
            });
            if sending.is_none() {
                if let Some(buf) = waiting.remove(&next_send) {
                    sent.update(&buf);
                    sent_len += buf.len() as u64;
                    next_send += 1;
                    queue.submit(op::Send::new(&sender, buf).all())?;
                    sending = Some(queue.now());
                }
            }
            if next_send == chunks
                && sending.is_none()
                && lines.last().is_some_and(|line| line.kind == OpKind::Send)
            {
                queue.submit(op::Shutdown::new(&sender, std::net::Shutdown::Write))?;
            }
        }
        if chunks == 0 && lines.is_empty() {
            queue.submit(op::Shutdown::new(&sender, std::net::Shutdown::Write))?;
        }
    }
    writeln!(
        out,
        "4 block until something has completed: {waits} waits, {} completions",
        lines.len()
    )?;
    writeln!(
        out,
        "5 the buffers are already filled: {received_len} bytes received"
    )?;
    timeline(&mut out, start, &lines)?;
    let (sent, received) = (sent.finalize(), received.finalize());
    writeln!(out, "\ndigest sent {sent:08x}, received {received:08x}")?;
    if sent != received || sent_len != received_len {
        return Err(io::Error::other(
            "the digests differ: what was received is not what was sent",
        ));
    }
    writeln!(
        out,
        "the digests match; {} system calls",
        queue.stats().system_calls
    )
}

fn timeline(out: &mut impl Write, start: Moment, lines: &[Line]) -> io::Result<()> {
    const WIDTH: u128 = 40;
    let micros = |at: Moment| at.saturating_duration_since(start).as_micros();
    let end = lines
        .iter()
        .map(|line| micros(line.completed))
        .max()
        .unwrap_or(0)
        .max(1);
    writeln!(out, "\n{:>9} {:>9}  operation", "submitted", "completed")?;
    for line in lines.iter().take(SHOWN) {
        let (from, to) = (micros(line.submitted), micros(line.completed));
        let (left, right) = ((from * WIDTH / end) as usize, (to * WIDTH / end) as usize);
        let bar = format!("{}{}", " ".repeat(left), "#".repeat((right - left).max(1)));
        let what = format!("{:?} {} bytes", line.kind, line.bytes);
        writeln!(out, "{from:>6} us {to:>6} us  {what:<24} |{bar:<41}|")?;
    }
    if lines.len() > SHOWN {
        writeln!(out, "... and {} more", lines.len() - SHOWN)?;
    }
    Ok(())
}
