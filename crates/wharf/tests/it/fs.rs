//! Files and directories: what they do when all goes well, at home and on other workers.

use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use wharf::fs::{self, DirBuilder, File, FileTimes, FileType, OpenOptions};
use wharf::io::{AlignedBuf, IoBuf};

use crate::on_each_backend;

/// A directory that is removed with this.
pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Polls a future once, and drops it.
pub(crate) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

#[test]
fn futures_and_handles_are_send() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        is_send(fs::write(&path, "x")).await.unwrap();
        let mut file = is_send(is_send(File::open(&path)).await.unwrap());
        let mut buf = [0; 1];
        is_send(file.read(&mut buf)).await.unwrap();
        is_send(file.seek(SeekFrom::End(0))).await.unwrap();
        is_send(file.read_at(&mut buf, 0)).await.unwrap();
        is_send(file.read_at_owned(vec![0], 0)).await.0.unwrap();
        is_send(file.metadata()).await.unwrap();
        is_send(fs::read(&path)).await.unwrap();
        is_send(
            is_send(fs::read_dir(dir.path()))
                .await
                .unwrap()
                .next_entry(),
        )
        .await
        .unwrap();
        // These fail, the file being open for reading.
        is_send(file.write_at(&buf, 0)).await.unwrap_err();
        is_send(file.write_at_owned(vec![0], 0))
            .await
            .0
            .unwrap_err();
        is_send(file.set_len(0)).await.unwrap_err();
        is_send(file.into_std()).await.unwrap();
        fn is_sync<T: Sync>() {}
        is_sync::<File>();
    });
}

#[test]
fn cursor_reads_and_writes_on() {
    on_each_backend(1, async || {
        let dir = dir();
        let mut file = File::create_new(dir.path().join("file")).await.unwrap();
        let data = pattern(1_000_000);
        for piece in data.chunks(10_007) {
            file.write_all(piece).await.unwrap();
        }
        assert_eq!(file.stream_position().await.unwrap(), 1_000_000);
        assert_eq!(file.seek(SeekFrom::Current(-999_000)).await.unwrap(), 1000);
        let mut got = Vec::new();
        assert_eq!(file.read_to_end(&mut got).await.unwrap(), 999_000);
        assert!(got == data[1000..]);
        assert_eq!(file.seek(SeekFrom::End(-3)).await.unwrap(), 999_997);
        file.write_all(b"four").await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 1_000_001);
        file.rewind().await.unwrap();
        let mut buf = [0; 10];
        file.read_exact(&mut buf).await.unwrap();
        assert_eq!(buf, data[..10]);
        // What is written over is read anew.
        file.rewind().await.unwrap();
        assert!(
            poll_once(file.read(&mut buf))
                .await
                .is_none_or(|read| read.is_ok())
        );
        file.rewind().await.unwrap();
        file.write_all(b"over").await.unwrap();
        file.rewind().await.unwrap();
        file.read_exact(&mut buf[..4]).await.unwrap();
        assert_eq!(&buf[..4], b"over");
        let error = file.seek(SeekFrom::Start(u64::MAX)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = file.seek(SeekFrom::Current(-5)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(file.stream_position().await.unwrap(), 4);
        file.close().await.unwrap();
    });
}

#[test]
fn owned_buffers_go_there_and_come_back() {
    on_each_backend(1, async || {
        let dir = dir();
        let mut file = File::create_new(dir.path().join("file")).await.unwrap();
        let data = pattern(300_000);
        let (written, data) = file.write_owned(data).await;
        assert_eq!(written.unwrap(), 300_000);
        let (written, _) = file.write_owned("text").await;
        assert_eq!(written.unwrap(), 4);
        file.seek(SeekFrom::Start(299_998)).await.unwrap();
        let (read, buf) = file.read_owned(Vec::with_capacity(100)).await;
        assert_eq!(read.unwrap(), 6);
        assert_eq!(&buf[2..], b"text");
        assert_eq!(file.stream_position().await.unwrap(), 300_004);
        let (read, part) = file.read_at_owned(vec![0; 10].slice(5..), 1000).await;
        assert_eq!(read.unwrap(), 5);
        assert_eq!(part.into_inner()[5..], data[1000..1005]);
        let (read, array) = file.read_at_owned([0; 4], 300_000).await;
        assert_eq!((read.unwrap(), &array), (4, b"text"));
    });
}

#[test]
fn positions_are_independent_of_the_cursor_and_of_each_other() {
    on_each_backend(1, async || {
        let dir = dir();
        let file = Arc::new(File::create_new(dir.path().join("file")).await.unwrap());
        let tasks: Vec<_> = (0..64u64)
            .map(|n| {
                let file = file.clone();
                wharf::spawn(async move {
                    file.write_all_at(&[n as u8; 1000], n * 1000).await.unwrap();
                    let mut buf = [0; 1000];
                    file.read_exact_at(&mut buf, n * 1000).await.unwrap();
                    assert_eq!(buf, [n as u8; 1000]);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut file = Arc::into_inner(file).expect("the tasks are done");
        assert_eq!(file.stream_position().await.unwrap(), 0);
        let error = file.read_exact_at(&mut [0; 8], 63_995).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(file.read_at(&mut [0; 8], 64_000).await.unwrap(), 0);
    });
}

#[test]
fn options_mean_what_they_mean_in_the_standard_library() {
    on_each_backend(1, async || {
        let dir = dir();
        let path = dir.path().join("file");
        let missing = File::open(&path).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        fs::write(&path, b"begin ").await.unwrap();
        let exists = File::create_new(&path).await.unwrap_err();
        assert_eq!(exists.kind(), ErrorKind::AlreadyExists);

        let mut options = OpenOptions::new();
        let mut log = options.read(true).append(true).open(&path).await.unwrap();
        log.write_all(b"one ").await.unwrap();
        log.rewind().await.unwrap();
        log.write_all(b"two").await.unwrap();
        assert_eq!(log.stream_position().await.unwrap(), 13);
        let (written, _) = log.write_owned(b" three".to_vec()).await;
        assert_eq!(written.unwrap(), 6);
        let mut rest = String::new();
        assert_eq!(log.read_to_string(&mut rest).await.unwrap(), 0);
        log.rewind().await.unwrap();
        log.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "begin one two three");

        let mut options = OpenOptions::new();
        let nothing = options.open(&path).await.unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::InvalidInput);
        let contradiction = options.read(true).truncate(true).open(&path).await;
        assert_eq!(contradiction.unwrap_err().kind(), ErrorKind::InvalidInput);
        drop(File::create(&path).await.unwrap());
        assert_eq!(fs::metadata(&path).await.unwrap().len(), 0);
    });
}

#[test]
#[cfg_attr(windows, ignore = "files have no permission bits here")]
fn file_is_made_with_the_permissions_it_is_given() {
    on_each_backend(1, async || {
        let dir = dir();
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let private = options.open(dir.path().join("private")).await.unwrap();
        assert_eq!(private.metadata().await.unwrap().mode(), 0o600);
    });
}

#[test]
fn names_are_made_moved_listed_and_removed() {
    on_each_backend(1, async || {
        let dir = dir();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b/c")).await.unwrap();
        fs::create_dir_all(root.join("a/b/c")).await.unwrap();
        fs::write(root.join("a/file"), "contents").await.unwrap();
        let blocked = fs::create_dir_all(root.join("a/file/x")).await.unwrap_err();
        assert_eq!(blocked.kind(), ErrorKind::NotADirectory);
        fs::hard_link(root.join("a/file"), root.join("a/hard"))
            .await
            .unwrap();
        let metadata = fs::metadata(root.join("a/hard")).await.unwrap();
        assert_eq!((metadata.links(), metadata.len()), (2, 8));
        let same = fs::metadata(root.join("a/file")).await.unwrap();
        assert_eq!(same.identity(), metadata.identity());
        let canonical = fs::canonicalize(root.join("a/b/../file")).await.unwrap();
        assert!(canonical.ends_with("a/file"));

        let mut entries = fs::read_dir(root.join("a")).await.unwrap();
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await.unwrap() {
            let name = entry.file_name().to_str().expect("text").to_owned();
            found.push((name, entry.file_type().await.unwrap()));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let kinds = [FileType::Dir, FileType::File, FileType::File];
        let names = ["b", "file", "hard"].map(str::to_owned);
        assert_eq!(found, names.into_iter().zip(kinds).collect::<Vec<_>>());

        let not_empty = fs::remove_dir(root.join("a/b")).await.unwrap_err();
        assert_eq!(not_empty.kind(), ErrorKind::DirectoryNotEmpty);
        fs::rename(root.join("a/hard"), root.join("moved"))
            .await
            .unwrap();
        assert!(!fs::try_exists(root.join("a/hard")).await.unwrap());
        assert!(fs::try_exists(root.join("moved")).await.unwrap());
        assert_eq!(
            fs::copy(root.join("moved"), root.join("copy"))
                .await
                .unwrap(),
            8
        );
        fs::remove_file(root.join("moved")).await.unwrap();
        fs::remove_dir(root.join("a/b/c")).await.unwrap();
        fs::remove_dir_all(root.join("a")).await.unwrap();
        assert_eq!(fs::read(root.join("copy")).await.unwrap(), b"contents");
        let before = fs::permissions(root.join("copy")).await.unwrap();
        let mut permissions = before.clone();
        permissions.set_readonly(true);
        fs::set_permissions(root.join("copy"), permissions)
            .await
            .unwrap();
        let permissions = fs::permissions(root.join("copy")).await.unwrap();
        assert!(permissions.readonly());
        let mode = fs::metadata(root.join("copy")).await.unwrap().mode();
        assert_eq!(mode & 0o222, 0);
        // A directory with a file that may not be written to is removed by some systems only.
        fs::set_permissions(root.join("copy"), before)
            .await
            .unwrap();
    });
}

#[test]
#[cfg_attr(
    windows,
    ignore = "Wine 8 says that it has made a symbolic link, and makes none"
)]
fn symbolic_link_is_made_followed_and_told_apart() {
    on_each_backend(1, async || {
        let dir = dir();
        let root = dir.path();
        fs::write(root.join("file"), "contents").await.unwrap();
        fs::symlink("file", root.join("soft")).await.unwrap();
        assert_eq!(fs::read_link(root.join("soft")).await.unwrap(), *"file");
        let followed = fs::read_to_string(root.join("soft")).await.unwrap();
        assert_eq!(followed, "contents");
        let same = fs::metadata(root.join("soft")).await.unwrap();
        let file = fs::metadata(root.join("file")).await.unwrap();
        assert_eq!(same.identity(), file.identity());
        let link = fs::symlink_metadata(root.join("soft")).await.unwrap();
        assert!(link.is_symlink());
        let canonical = fs::canonicalize(root.join("soft")).await.unwrap();
        assert!(canonical.ends_with("file"));
        let mut entries = fs::read_dir(root).await.unwrap();
        let mut links = 0;
        while let Some(entry) = entries.next_entry().await.unwrap() {
            links += usize::from(entry.file_type().await.unwrap() == FileType::Symlink);
        }
        assert_eq!(links, 1);
        fs::symlink("loop", root.join("loop")).await.unwrap();
        let error = File::open(root.join("loop")).await.unwrap_err();
        assert!(error.raw_os_error().is_some());
    });
}

#[test]
fn directories_are_made_as_their_builder_says() {
    on_each_backend(1, async || {
        let dir = dir();
        let deep = dir.path().join("a/b/c");
        let missing = DirBuilder::new().create(&deep).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        // The second time there is nothing to do.
        for _ in 0..2 {
            builder.create(&deep).await.unwrap();
        }
        for made in ["a", "a/b", "a/b/c"] {
            let made_dir = fs::metadata(dir.path().join(made)).await.unwrap();
            // Directories have no permission bits on Windows.
            let bits = if cfg!(unix) { 0o700 } else { 0o777 };
            assert_eq!(made_dir.mode() & 0o777, bits, "{made}");
        }
        let again = builder.recursive(false).create(&deep).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    });
}

#[test]
fn times_are_set_behind_what_was_written() {
    on_each_backend(2, async || {
        let dir = dir();
        let mut options = File::options();
        options.write(true).create(true);
        let mut file = options.open(dir.path().join("file")).await.unwrap();
        file.write_all(&[1; 100_000]).await.unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let times = FileTimes::new().set_accessed(at(2)).set_modified(at(1));
        let there = wharf::spawn_on(1, move || async move {
            file.set_times(times).await.unwrap();
            assert!(!file.permissions().await.unwrap().readonly());
            file.metadata().await.unwrap()
        });
        let metadata = there.await.unwrap();
        assert_eq!(metadata.modified().unwrap(), at(1));
        assert_eq!(metadata.accessed().unwrap(), at(2));
        assert_eq!(metadata.len(), 100_000);
    });
}

#[test]
fn length_is_set_and_space_is_reserved() {
    on_each_backend(1, async || {
        let dir = dir();
        let mut file = File::create_new(dir.path().join("file")).await.unwrap();
        file.write_all(b"0123456789").await.unwrap();
        file.set_len(4).await.unwrap();
        file.allocate(0, 100_000).await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len(), 100_000);
        file.sync_data().await.unwrap();
        file.sync_all().await.unwrap();
        let (read, buf) = file.read_at_owned(vec![9; 8], 0).await;
        assert_eq!((read.unwrap(), &buf[..]), (8, &b"0123\0\0\0\0"[..]));
    });
}

#[test]
#[cfg_attr(windows, ignore = "no space is reserved behind the end of a file here")]
fn space_is_reserved_behind_the_end_of_a_file() {
    on_each_backend(1, async || {
        let dir = dir();
        let file = File::create_new(dir.path().join("file")).await.unwrap();
        file.allocate(0, 100_000).await.unwrap();
        file.allocate_keeping_len(100_000, 100_000).await.unwrap();
        let metadata = file.metadata().await.unwrap();
        assert_eq!(metadata.len(), 100_000);
        assert!(metadata.allocated() >= 200_000);
    });
}

/// A file of direct I/O. It is not in the directory for temporary files, which may be in memory.
async fn direct_file() -> (tempfile::TempDir, File) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).direct(true);
    let file = options.open(dir.path().join("file")).await;
    (dir, file.expect("a file system with direct I/O"))
}

#[test]
#[cfg_attr(windows, ignore = "Wine 8 does not ask for alignment")]
fn direct_file_refuses_what_is_not_aligned() {
    on_each_backend(1, async || {
        let (_dir, file) = direct_file().await;
        let (refused, _) = file.write_at_owned(AlignedBuf::new(100, 4096), 1).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn direct_file_is_read_and_written_with_aligned_buffers() {
    on_each_backend(1, async || {
        let (_dir, file) = direct_file().await;
        let mut buf = AlignedBuf::new(64 * 1024, 4096);
        buf.copy_from_slice(&pattern(64 * 1024));
        let (written, buf) = file.write_at_owned(buf, 4096).await;
        assert_eq!(written.unwrap(), 64 * 1024);
        let (read, again) = file
            .read_at_owned(AlignedBuf::new(32 * 1024, 4096), 8192)
            .await;
        assert_eq!(read.unwrap(), 32 * 1024);
        assert_eq!(again[..], buf[4096..36 * 1024]);
    });
}

#[test]
fn file_of_the_standard_library_comes_and_goes_with_its_cursor() {
    on_each_backend(1, async || {
        let mut plain = tempfile::tempfile().unwrap();
        plain.write_all(b"0123456789").unwrap();
        plain.seek(SeekFrom::Start(3)).unwrap();
        let mut file = File::from_std(plain).unwrap();
        let mut buf = [0; 2];
        file.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"34");
        file.write_all(b"ab").await.unwrap();
        let mut plain = file.into_std().await.unwrap();
        let mut rest = String::new();
        plain.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "789");
        plain.rewind().unwrap();
        rest.clear();
        plain.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "01234ab789");
    });
}

/// Lets a read of the beginning begin, for somebody else to take what it brings. When the system has
/// answered before the first look, nothing is under way, and the next read begins anew.
async fn begin_to_read(file: &mut File) {
    file.rewind().await.unwrap();
    if let Some(read) = poll_once(file.read(&mut [0; 5])).await {
        read.unwrap();
        file.rewind().await.unwrap();
    }
}

#[test]
fn file_works_on_another_worker_and_is_dropped_there() {
    on_each_backend(2, async || {
        let dir = dir();
        let path = dir.path().join("file");
        let mut file = File::create_new(&path).await.unwrap();
        file.write_all(b"home ").await.unwrap();
        let there = wharf::spawn_on(1, move || async move {
            file.write_all(b"away ").await.unwrap();
            file.flush().await.unwrap();
            let (written, buf) = file.write_at_owned(b"lent".to_vec(), 10).await;
            assert_eq!((written.unwrap(), &buf[..]), (4, &b"lent"[..]));
            let (read, buf) = file.read_at_owned(Vec::with_capacity(4), 10).await;
            assert_eq!((read.unwrap(), &buf[..]), (4, &b"lent"[..]));
            assert_eq!(file.seek(SeekFrom::Start(5)).await.unwrap(), 5);
            let mut word = [0; 5];
            file.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, b"away ");
            file.sync_all().await.unwrap();
            assert_eq!(file.metadata().await.unwrap().len(), 14);
            file.write_all(b"last").await.unwrap();
            begin_to_read(&mut file).await;
            file
        });
        let mut file = there.await.unwrap();
        let mut word = [0; 5];
        file.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"home ");
        begin_to_read(&mut file).await;
        let there = wharf::spawn_on(1, move || async move {
            let mut word = [0; 5];
            file.read_exact(&mut word).await.unwrap();
            drop(file);
            word
        });
        assert_eq!(&there.await.unwrap(), b"home ");
        assert_eq!(fs::read(&path).await.unwrap(), b"home away last");
    });
}

#[test]
#[cfg_attr(
    windows,
    ignore = "no other system opens below a directory and not elsewhere"
)]
fn file_is_opened_below_a_directory_from_any_worker() {
    on_each_backend(2, async || {
        let dir = dir();
        fs::write(dir.path().join("inside"), "text").await.unwrap();
        fs::symlink("/etc/passwd", dir.path().join("out"))
            .await
            .unwrap();
        let root = Arc::new(File::open(dir.path()).await.unwrap());
        for worker in 0..2 {
            let root = root.clone();
            let opened = wharf::spawn_on(worker, move || async move {
                let mut options = OpenOptions::new();
                let options = options.read(true);
                for path in ["../elsewhere", "/etc/passwd", "out"] {
                    let error = options.open_beneath(&root, path).await.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::CrossesDevices);
                }
                let missing = options.open_beneath(&root, "missing").await.unwrap_err();
                assert_eq!(missing.kind(), ErrorKind::NotFound);
                let mut file = options.open_beneath(&root, "inside").await.unwrap();
                let mut text = String::new();
                file.read_to_string(&mut text).await.unwrap();
                text
            });
            assert_eq!(opened.await.unwrap(), "text");
        }
    });
}

#[test]
fn clone_of_a_file_has_its_own_cursor_and_permissions_are_the_files() {
    on_each_backend(2, async || {
        let dir = dir();
        let path = dir.path().join("file");
        let mut file = File::create_new(&path).await.unwrap();
        file.write_all(b"0123456789").await.unwrap();
        file.seek(SeekFrom::Start(4)).await.unwrap();
        let mut clone = file.try_clone().await.unwrap();
        let mut buf = [0; 3];
        clone.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"456");
        file.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"456");
        file.close().await.unwrap();

        let mut permissions = fs::permissions(&path).await.unwrap();
        permissions.set_readonly(true);
        // The handle stays open for writing; and it works from elsewhere.
        let changed = wharf::spawn_on(1, move || async move {
            clone.set_permissions(permissions).await?;
            let again = clone.try_clone().await?;
            again.write_all_at(b"new", 0).await?;
            again.sync_all().await
        });
        changed.await.unwrap().unwrap();
        assert!(fs::permissions(&path).await.unwrap().readonly());
        assert_eq!(fs::read(&path).await.unwrap(), b"new3456789");
    });
}

#[test]
fn file_is_copied_to_a_file_by_pieces() {
    on_each_backend(1, async || {
        let dir = dir();
        let data = pattern(700_000);
        fs::write(dir.path().join("from"), &data).await.unwrap();
        let mut from = File::open(dir.path().join("from")).await.unwrap();
        let mut to = File::create(dir.path().join("to")).await.unwrap();
        let copied = wharf::io::copy(&mut from, &mut to).await.unwrap();
        assert_eq!(copied, 700_000);
        assert!(fs::read(dir.path().join("to")).await.unwrap() == data);
    });
}

#[test]
#[cfg_attr(windows, ignore = "every file tells its length here")]
fn file_that_tells_no_length_is_read_whole() {
    on_each_backend(1, async || {
        let whole = fs::read_to_string("/proc/self/status").await.unwrap();
        assert!(whole.contains("VmRSS") && whole.ends_with('\n'));
    });
}

#[cfg(feature = "tokio")]
#[test]
fn file_has_the_traits_of_tokio() {
    use std::pin::Pin;
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
    on_each_backend(1, async || {
        let dir = dir();
        let mut file = File::create_new(dir.path().join("file")).await.unwrap();
        let write = poll_fn(|cx| AsyncWrite::poll_write(Pin::new(&mut file), cx, b"tokio"));
        assert_eq!(write.await.unwrap(), 5);
        let shutdown = poll_fn(|cx| AsyncWrite::poll_shutdown(Pin::new(&mut file), cx));
        shutdown.await.unwrap();
        file.rewind().await.unwrap();
        let mut room = [0; 8];
        let mut buf = ReadBuf::new(&mut room);
        let read = poll_fn(|cx| AsyncRead::poll_read(Pin::new(&mut file), cx, &mut buf));
        read.await.unwrap();
        assert_eq!(buf.filled(), b"tokio");
    });
}
