//! Files and directories: futures that are dropped, and what the system refuses.

use std::io::{ErrorKind, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wharf::fs::{self, File, OpenOptions};
use wharf::io::AlignedBuf;
use wharf::task::yield_now;

use crate::fs::{dir, poll_once};
use crate::{backends, host, in_a_process_of_its_own, is_alone, on_each_backend};

/// Lets things go on until that is so.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        wharf::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[test]
fn dropped_open_closes_its_descriptor() {
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        fs::write(&path, "x").await.unwrap();
        for round in 0..500 {
            if let Some(file) = poll_once(File::open(&path)).await {
                drop(file.unwrap());
            }
            if round % 3 == 0 {
                yield_now().await;
            }
        }
        let last = File::open(&path).await.unwrap();
        assert!(host::is_open(&path));
        drop(last);
        until(|| !host::is_open(&path)).await;
    });
}

#[test]
fn dropped_file_is_closed_also_with_a_read_in_flight() {
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        fs::write(&path, vec![1; 100_000]).await.unwrap();
        for _ in 0..50 {
            let mut file = File::open(&path).await.unwrap();
            let _early = poll_once(file.read(&mut [0; 50_000])).await;
        }
        until(|| !host::is_open(&path)).await;
    });
}

#[test]
fn forgotten_futures_are_sound() {
    let dir = dir();
    let path = dir.path().join("file");
    on_each_backend(1, async || {
        fs::write(&path, vec![1; 100_000]).await.unwrap();
        let file = Box::leak(Box::new(File::open(&path).await.unwrap()));
        for _ in 0..100 {
            // What is cached may be there at once.
            let mut read = Box::pin(file.read_at_owned(vec![0; 50_000], 0));
            let _early = poll_once(read.as_mut()).await;
            std::mem::forget(read);
            let mut open = Box::pin(File::open(&path));
            assert!(poll_once(open.as_mut()).await.is_none());
            std::mem::forget(open);
        }
        assert_eq!(file.read_at(&mut [0; 10], 0).await.unwrap(), 10);
    });
}

#[test]
fn dropped_owned_write_is_finished_whole() {
    on_each_backend(2, async || {
        let dir = dir();
        let path = dir.path().join("file");
        let file = File::create_new(&path).await.unwrap();
        for n in 0..20u8 {
            let write = file.write_at_owned(vec![n; 100_000], u64::from(n) * 100_000);
            assert!(
                poll_once(write)
                    .await
                    .is_none_or(|(written, _)| written.is_ok())
            );
        }
        drop(file.write_at_owned(vec![77; 10], 0));
        file.sync_all().await.unwrap();
        let check = |bytes: Vec<u8>| {
            assert_eq!(bytes.len(), 2_000_000);
            for (n, piece) in bytes.chunks(100_000).enumerate() {
                assert!(
                    piece.iter().all(|byte| usize::from(*byte) == n),
                    "piece {n}"
                );
            }
        };
        check(fs::read(&path).await.unwrap());
        // The same from another worker.
        fs::write(&path, "").await.unwrap();
        let file = wharf::spawn_on(1, move || async move {
            for n in 0..20u8 {
                let write = file.write_at_owned(vec![n; 100_000], u64::from(n) * 100_000);
                let _early = poll_once(write).await;
            }
            file.sync_all().await.unwrap();
            file
        });
        let file = file.await.unwrap();
        check(fs::read(&path).await.unwrap());
        drop(file);
    });
}

#[test]
#[cfg_attr(windows, ignore = "named pipes have no place in the file system here")]
fn pending_borrowed_write_has_begun_nothing() {
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("pipe");
        host::named_pipe(&path);
        let mut options = OpenOptions::new();
        let mut pipe = options.read(true).write(true).open(&path).await.unwrap();
        let mut taken = 0;
        // The pipe is full, then the buffer is.
        while let Some(count) = poll_once(pipe.write(&[1; 10_000])).await {
            taken += count.unwrap();
        }
        assert!(poll_once(pipe.write(&[2; 10_000])).await.is_none());
        let mut got = 0;
        let mut buf = vec![0; 100_000];
        while got < taken {
            let count = pipe.read(&mut buf).await.unwrap();
            assert!(buf[..count].iter().all(|byte| *byte == 1));
            got += count;
        }
        assert_eq!(got, taken);
        pipe.flush().await.unwrap();
        assert!(poll_once(pipe.read(&mut buf)).await.is_none());
    });
}

#[test]
#[cfg_attr(windows, ignore = "named pipes have no place in the file system here")]
fn dropped_read_of_a_pipe_leaves_its_bytes_to_the_next() {
    on_each_backend(2, async || {
        let dir = dir();
        let path = dir.path().join("pipe");
        host::named_pipe(&path);
        let mut options = OpenOptions::new();
        let mut reader = options.read(true).write(true).open(&path).await.unwrap();
        let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for round in 0..500u32 {
            let mut buf = [0; 4];
            assert!(poll_once(reader.read(&mut buf)).await.is_none());
            writer.write_all(&round.to_ne_bytes()).unwrap();
            if round % 2 == 0 {
                yield_now().await;
                let _early = poll_once(reader.read(&mut [])).await;
            }
            if round % 10 == 9 {
                // On to the other worker with what is in flight.
                let there = wharf::spawn_on(1, move || async move {
                    reader.read_exact(&mut buf).await.unwrap();
                    (reader, buf)
                });
                (reader, buf) = there.await.unwrap();
            } else {
                reader.read_exact(&mut buf).await.unwrap();
            }
            assert_eq!(u32::from_ne_bytes(buf), round);
        }
        let seek = reader.seek(SeekFrom::Start(0)).await.unwrap_err();
        assert_eq!(seek.kind(), ErrorKind::NotSeekable);
    });
}

#[test]
fn what_was_written_is_kept_past_the_end_of_the_runtime() {
    for backend in backends() {
        for workers in [1, 2] {
            let dir = dir();
            let path = dir.path().join("file");
            let builder = wharf::Runtime::builder().backend(backend).workers(workers);
            let runtime = builder.build().unwrap();
            let root = path.clone();
            let left = runtime.block_on(async move {
                let mut file = File::create_new(&root).await.unwrap();
                file.write_all(&[7; 200_000]).await.unwrap();
                // One in a task that is dropped with the runtime, one that outlives it.
                drop(wharf::spawn(async move {
                    file.write_all(&[8; 100_000]).await.unwrap();
                    std::future::pending::<()>().await;
                    drop(file);
                }));
                yield_now().await;
                let lent = File::create(root.with_extension("lent")).await.unwrap();
                let write = lent.write_at_owned(vec![9; 300_000], 0);
                let _early = poll_once(write).await;
                lent
            });
            drop(runtime);
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len(), 300_000, "{backend}");
            assert!(bytes[..200_000].iter().all(|byte| *byte == 7));
            assert!(bytes[200_000..].iter().all(|byte| *byte == 8));
            let bytes = std::fs::read(path.with_extension("lent")).unwrap();
            assert_eq!(bytes, [9; 300_000]);
            // It is an error from now on, and no more than that.
            let runtime = wharf::Runtime::new().unwrap();
            runtime.block_on(async {
                let error = left.read_at(&mut [0; 1], 0).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::NotConnected);
                let (written, buf) = left.write_at_owned(vec![1, 2, 3], 0).await;
                assert_eq!(written.unwrap_err().kind(), ErrorKind::NotConnected);
                assert_eq!(buf, [1, 2, 3]);
            });
        }
    }
}

#[test]
#[cfg_attr(windows, ignore = "the device that is always full is Linux's")]
fn full_disk_is_told_by_each_kind_of_write() {
    on_each_backend(2, async || {
        let full = Path::new("/dev/full");
        let error = fs::write(full, "x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).open(full).await.unwrap();
        file.write_all(b"taken").await.unwrap();
        assert_eq!(
            file.flush().await.unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        file.flush().await.unwrap();
        let (written, buf) = file.write_owned(b"lent".to_vec()).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(buf, b"lent");
        // The error of a write that was dropped is told by the next flush, and once.
        if poll_once(file.write_owned(vec![1; 10])).await.is_none() {
            assert_eq!(
                file.flush().await.unwrap_err().kind(),
                ErrorKind::StorageFull
            );
        }
        file.flush().await.unwrap();
        let there = wharf::spawn_on(1, move || async move {
            file.write_all(b"taken").await.unwrap();
            let flushed = file.flush().await.unwrap_err().kind();
            let (written, _) = file.write_owned(vec![1; 10]).await;
            file.write_all(b"taken").await.unwrap();
            (
                flushed,
                written.unwrap_err().kind(),
                file.close().await.unwrap_err().kind(),
            )
        });
        let full = ErrorKind::StorageFull;
        assert_eq!(there.await.unwrap(), (full, full, full));
    });
}

#[test]
fn directory_that_vanishes_while_it_is_listed_is_no_more_than_an_error() {
    on_each_backend(1, async || {
        let dir = dir();
        let root = dir.path().join("vanishing");
        for round in 0..20 {
            fs::create_dir(&root).await.unwrap();
            for n in 0..50 {
                fs::write(root.join(n.to_string()), "x").await.unwrap();
            }
            let (listed, removed) =
                futures_lite::future::zip(fs::read_dir(&root), fs::remove_dir_all(&root)).await;
            removed.unwrap();
            match listed {
                Ok(mut entries) => {
                    while let Some(entry) = entries.next_entry().await.unwrap() {
                        let gone = entry.metadata().await.unwrap_err();
                        assert_eq!(gone.kind(), ErrorKind::NotFound, "round {round}");
                    }
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
            }
        }
        let missing = fs::read_dir(&root).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        fs::write(&root, "x").await.unwrap();
        let file = fs::read_dir(&root).await.unwrap_err();
        assert_eq!(file.kind(), ErrorKind::NotADirectory);
    });
}

#[test]
fn file_that_shrinks_and_grows_is_read_to_the_end_it_has() {
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        let file = std::fs::File::create(&path).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let changing = std::thread::spawn(move || {
            let mut len = 1;
            while !stopped.load(Ordering::Relaxed) {
                len = (len * 7919) % 500_009;
                file.set_len(len).unwrap();
            }
        });
        for _ in 0..300 {
            let bytes = fs::read(&path).await.unwrap();
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
        stop.store(true, Ordering::Relaxed);
        changing.join().unwrap();
        if Vec::<u8>::new().try_reserve_exact(1 << 43).is_ok() {
            // This machine promises more memory than there is (overcommitting, proc(5)).
            return;
        }
        // One that is too long for any memory.
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 43)
            .unwrap();
        let error = fs::read(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    });
}

#[test]
fn extreme_arguments_are_errors() {
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        let mut file = File::create_new(&path).await.unwrap();
        file.write_all(b"x").await.unwrap();
        let error = file.read_at(&mut [0; 1], u64::MAX).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let (written, buf) = file.write_at_owned(vec![5], u64::MAX).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(buf, [5]);
        assert!(file.write_at(&[1], i64::MAX as u64).await.is_err());
        let error = file.set_len(u64::MAX).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(file.allocate(u64::MAX, u64::MAX).await.is_err());
        assert!(file.allocate(0, 0).await.is_err());
        file.seek(SeekFrom::Start(i64::MAX as u64)).await.unwrap();
        assert_eq!(file.read(&mut [0; 0]).await.unwrap(), 0);
        file.write_all(b"too far").await.unwrap();
        assert!(file.flush().await.is_err());
        file.rewind().await.unwrap();
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"x");
        for path in ["", "a\0b"] {
            assert!(File::open(path).await.is_err());
            assert!(fs::metadata(path).await.is_err());
            assert!(fs::read_dir(path).await.is_err());
        }
        let long = "n".repeat(100_000);
        assert!(fs::create_dir(&long).await.is_err());
        assert!(fs::create_dir_all(&long).await.is_err());
    });
}

#[test]
fn nothing_is_read_and_written_at_once() {
    on_each_backend(1, async || {
        let dir = dir();
        let mut file = File::create_new(dir.path().join("file")).await.unwrap();
        assert_eq!(file.read(&mut []).await.unwrap(), 0);
        assert_eq!(file.write(&[]).await.unwrap(), 0);
        assert_eq!(file.read_at(&mut [], 5).await.unwrap(), 0);
        assert_eq!(file.write_at(&[], 5).await.unwrap(), 0);
        let (read, _) = file.read_at_owned(Vec::new(), 0).await;
        assert_eq!(read.unwrap(), 0);
        let (written, _) = file.write_at_owned(AlignedBuf::new(0, 512), 0).await;
        assert_eq!(written.unwrap(), 0);
        assert_eq!(file.metadata().await.unwrap().len(), 0);
        assert_eq!(fs::read(dir.path().join("file")).await.unwrap(), b"");
    });
}

#[test]
#[cfg_attr(
    windows,
    ignore = "directories are opened like files here, and what a superuser may do differs"
)]
fn what_may_not_be_done_is_refused() {
    on_each_backend(1, async || {
        let dir = dir();
        // A superuser may do nearly everything, but not this.
        let error = fs::remove_file("/proc/self/status").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let mut opened = File::open(dir.path()).await.unwrap();
        let error = opened.read(&mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        let error = fs::rename(dir.path(), dir.path().join("inside"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn directory_is_no_file_and_no_link() {
    on_each_backend(1, async || {
        let dir = dir();
        let error = File::create(dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        let error = fs::read_link(dir.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = fs::rename(dir.path(), dir.path().join("inside")).await;
        assert!(error.is_err(), "into itself");
    });
}

/// Runs in a process of its own, which has few descriptors: see the test below.
#[test]
fn child_process_that_runs_out_of_descriptors() {
    if !is_alone() {
        return;
    }
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        fs::write(&path, "x").await.unwrap();
        let mut files = Vec::new();
        let error = loop {
            match File::open(&path).await {
                Ok(file) => files.push(file),
                Err(error) => break error,
            }
        };
        assert_eq!(error.to_string(), "Too many open files (os error 24)");
        assert!(!files.is_empty());
        // Those that are open still work, and one that is closed makes room for another.
        assert_eq!(files[0].read_at(&mut [0; 1], 0).await.unwrap(), 1);
        let closed = files.pop().expect("there are some");
        closed.close().await.unwrap();
        File::open(&path).await.unwrap();
        println!("ran out at {} files", files.len());
    });
}

#[test]
#[cfg_attr(windows, ignore = "no limit of handles can be set for a process")]
fn open_that_finds_no_descriptor_is_an_error_and_the_rest_goes_on() {
    let test = "fs_faults::child_process_that_runs_out_of_descriptors";
    let text = in_a_process_of_its_own(test, host::with_few_descriptors(64));
    assert_eq!(
        text.matches("ran out at").count(),
        backends().len(),
        "{text}"
    );
}

#[test]
fn file_read_past_a_torn_end_of_text_is_an_error_and_changes_nothing() {
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        fs::write(&path, b"text \xff\xfe").await.unwrap();
        let error = fs::read_to_string(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let mut text = "before".to_owned();
        let mut file = File::open(&path).await.unwrap();
        let error = file.read_to_string(&mut text).await.unwrap_err();
        assert_eq!(
            (error.kind(), &text[..]),
            (ErrorKind::InvalidData, "before")
        );
        assert_eq!(file.stream_position().await.unwrap(), 7);
        assert_eq!(file.read(&mut [0; 1]).await.unwrap(), 0);
    });
}
