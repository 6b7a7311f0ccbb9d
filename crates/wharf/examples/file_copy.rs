//! Copies a file or a directory with everything in it, many parts at a time, with a progress bar.
//!
//! `cargo run --release -p wharf --example file_copy -- FROM TO`. TO must not exist. Directories are
//! listed first; then the workers take files, and each file is copied in parts that are read and
//! written at their own offsets, with a fixed number of buffers on their way.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use wharf::fs::{self, File, FileType};
use wharf::sync::channel::{Receiver, unbounded};
use wharf::task::JoinSet;

/// How many bytes a part has, and how many parts of a file are on their way.
const PART: usize = 1024 * 1024;
const PARTS_AT_ONCE: u64 = 4;
/// How many files each worker copies at a time.
const FILES_AT_ONCE: usize = 8;

/// A file to be copied.
struct Job {
    from: PathBuf,
    to: PathBuf,
}

/// Says which path an error is about.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes the directories and links, and lists the files and how many bytes they have.
async fn plan(from: &Path, to: &Path) -> io::Result<(Vec<Job>, u64)> {
    let (mut jobs, mut bytes) = (Vec::new(), 0);
    let mut left = VecDeque::from([(from.to_owned(), to.to_owned())]);
    while let Some((from, to)) = left.pop_front() {
        let metadata = fs::symlink_metadata(&from).await.map_err(at(&from))?;
        match metadata.file_type() {
            FileType::Dir => {
                fs::create_dir(&to).await.map_err(at(&to))?;
                let mut entries = fs::read_dir(&from).await.map_err(at(&from))?;
                while let Some(entry) = entries.next_entry().await? {
                    left.push_back((entry.path(), to.join(entry.file_name())));
                }
            }
            FileType::Symlink => {
                let target = fs::read_link(&from).await.map_err(at(&from))?;
                fs::symlink(target, &to).await.map_err(at(&to))?;
            }
            FileType::File => {
                bytes += metadata.len();
                jobs.push(Job { from, to });
            }
            _ => eprintln!("{} is no file, and is left out", from.display()),
        }
    }
    Ok((jobs, bytes))
}

/// Copies the parts that `next` gives out, one after the other, with one buffer. A file that has
/// become shorter ends earlier.
async fn copy_parts(from: &File, to: &File, next: &AtomicU64, bar: &ProgressBar) -> io::Result<()> {
    let mut buf = Vec::with_capacity(PART);
    loop {
        let mut offset = next.fetch_add(PART as u64, Ordering::Relaxed);
        let end = offset + PART as u64;
        while offset < end {
            buf.clear();
            let (read, back) = from.read_at_owned(buf, offset).await;
            buf = back;
            let count = read?;
            if count == 0 {
                return Ok(());
            }
            // It may have read into the next part, which somebody else copies as well.
            buf.truncate((end - offset) as usize);
            let (written, back) = to.write_at_owned(buf, offset).await;
            buf = back;
            let written = written? as u64;
            offset += written;
            bar.inc(written);
        }
    }
}

async fn copy_file(job: &Job, bar: &ProgressBar) -> io::Result<()> {
    let from = Arc::new(File::open(&job.from).await.map_err(at(&job.from))?);
    let to = Arc::new(File::create_new(&job.to).await.map_err(at(&job.to))?);
    let next = Arc::new(AtomicU64::new(0));
    let mut parts = JoinSet::new();
    let len = from.metadata().await?.len();
    for _ in 0..len.div_ceil(PART as u64).clamp(1, PARTS_AT_ONCE) {
        let (from, to, next, bar) = (from.clone(), to.clone(), next.clone(), bar.clone());
        parts.spawn(async move { copy_parts(&from, &to, &next, &bar).await });
    }
    while let Some(part) = parts.join_next().await {
        part.map_err(io::Error::from)?.map_err(at(&job.to))?;
    }
    let permissions = fs::permissions(&job.from).await.map_err(at(&job.from))?;
    fs::set_permissions(&job.to, permissions)
        .await
        .map_err(at(&job.to))
}

/// What each task of each worker does, until no file is left or one has failed.
async fn work(jobs: Receiver<Job>, bar: ProgressBar) -> io::Result<()> {
    while let Ok(job) = jobs.recv().await {
        if let Err(error) = copy_file(&job, &bar).await {
            // The others find nothing more to do.
            jobs.close();
            while jobs.try_recv().is_ok() {}
            return Err(error);
        }
    }
    Ok(())
}

async fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (jobs, bytes) = plan(from, to).await?;
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")
        .expect("a template that was tried");
    let bar = ProgressBar::new(bytes).with_style(style);
    let count = jobs.len();
    let (sender, receiver) = unbounded();
    for job in jobs {
        // The receiver is ours, so that somebody takes it.
        sender.try_send(job).expect("there is room");
    }
    drop(sender);
    let mut workers = JoinSet::new();
    for worker in 0..wharf::runtime::workers() {
        for _ in 0..FILES_AT_ONCE {
            let (receiver, bar) = (receiver.clone(), bar.clone());
            workers.spawn_on(worker, move || work(receiver, bar));
        }
    }
    while let Some(worked) = workers.join_next().await {
        worked.map_err(io::Error::from)??;
    }
    bar.finish();
    println!("copied {count} files, {bytes} bytes");
    Ok(())
}

pub(crate) fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(from), Some(to), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        eprintln!("say what to copy, and where to: file_copy FROM TO");
        return ExitCode::from(2);
    };
    let copied = wharf::Runtime::builder()
        .workers(0)
        .build()
        .and_then(|runtime| runtime.block_on(copy(&from, &to)));
    match copied {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("file_copy: {error}");
            ExitCode::from(1)
        }
    }
}
