//! Files whose bytes and names the system has cached, or has not: the results are the same.

use std::fs::File;
use std::io::ErrorKind;

use wharf_queue::{Queue, op};

use crate::fixture::cache::{WITHOUT_WAITING, forget};
use crate::fixture::pipe;
use crate::peer::{Dir, pair};
use crate::{Factory, finish};

super::cases!(
    "C1" open_tells_the_metadata,
    "C1" [linux "no other system opens below a directory and not elsewhere"] open_beneath_without_waiting_is_an_open_beneath,
    "C1" read_is_whole_where_the_cache_is_not,
    "C1" read_of_the_cache_is_a_read,
    "C1" result_that_comes_at_once_is_kept_or_reported,
    "C1" direct_read_is_a_read,
    "C12" what_is_no_part_of_a_file_is_not_cached,
    "C1" [unix "devices are files here"] open_tells_what_a_device_is,
    "C7" [unix "directories and pipes are opened like files here"] read_of_what_has_no_offsets_is_an_error,
);

fn open(queue: &Queue, open: op::Open) -> wharf_queue::Handle {
    let token = queue.submit(open).expect("room");
    finish(queue, token).into_result().expect("opened")
}

fn open_tells_the_metadata(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("file");
    std::fs::write(&path, "content").expect("written");
    let expected = queue.submit(op::Stat::path(&path)).expect("room");
    let expected = finish(&queue, expected).into_result().expect("known");
    let token = queue.submit(op::Open::new(&path).with_metadata());
    let opened = finish(&queue, token.expect("room")).into_result();
    let (file, metadata) = opened.expect("opened");
    assert_eq!(metadata, expected);
    let token = queue.submit(op::ReadAt::new(&file, vec![0; 100], 3));
    assert_eq!(finish(&queue, token.expect("room")).1, b"tent");
    let token = queue.submit(op::Open::new(dir.0.join("none")).with_metadata());
    let error = finish(&queue, token.expect("room")).into_result();
    assert_eq!(error.expect_err("none").kind(), ErrorKind::NotFound);
}

/// What is no file is attached as what it is.
fn open_tells_what_a_device_is(factory: &Factory) {
    let queue = factory.queue();
    let token = queue.submit(op::Open::new("/").with_metadata());
    let opened = finish(&queue, token.expect("room")).into_result();
    assert!(opened.expect("opened").1.is_dir());
    let token = queue.submit(op::Open::new("/dev/null").write(true).with_metadata());
    let opened = finish(&queue, token.expect("room")).into_result();
    let (null, metadata) = opened.expect("opened");
    assert_eq!(metadata.file_type, op::FileType::Other);
    let token = queue.submit(op::Write::new(&null, b"gone".to_vec()));
    let written = finish(&queue, token.expect("room")).0.into_result();
    assert_eq!(written.expect("taken"), 4);
}

fn open_beneath_without_waiting_is_an_open_beneath(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let at = |name: &str| dir.0.join(name);
    std::fs::create_dir_all(at("root/sub")).expect("made");
    std::fs::write(at("secret"), "secret").expect("written");
    std::fs::write(at("root/file"), "file").expect("written");
    pipe::named(&at("root/pipe"));
    for (target, link) in [
        ("../file", "root/sub/inside"),
        ("../secret", "root/outside"),
    ] {
        let token = queue.submit(op::SymbolicLink::new(target, at(link)));
        let linked = finish(&queue, token.expect("room")).into_result();
        linked.expect("linked");
    }
    let root = open(&queue, op::Open::new(at("root")));
    let try_open = |path: &str| {
        let open = op::Open::new(path).beneath(&root);
        let token = queue.submit(open.custom_flags(WITHOUT_WAITING));
        finish(&queue, token.expect("room")).into_result()
    };
    // The second time the names are cached if they were not, also those of what is not there.
    for _ in 0..2 {
        for path in ["file", "sub/inside", "sub/../file"] {
            let file = try_open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let token = queue.submit(op::ReadAt::new(&file, vec![0; 10], 0));
            assert_eq!(finish(&queue, token.expect("room")).1, b"file");
        }
        for path in [".", "sub", "pipe"] {
            try_open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        for (path, kind) in [
            ("../secret", ErrorKind::CrossesDevices),
            ("outside", ErrorKind::CrossesDevices),
            ("/", ErrorKind::CrossesDevices),
            ("nothing", ErrorKind::NotFound),
            ("sub/nothing", ErrorKind::NotFound),
            ("file/nothing", ErrorKind::NotADirectory),
        ] {
            assert_eq!(try_open(path).expect_err(path).kind(), kind, "{path}");
        }
    }
    // A name that was not there, and was known not to be, is found when it is.
    std::fs::write(at("root/nothing"), "something").expect("written");
    try_open("nothing").expect("it is there now");
}

fn read_is_whole_where_the_cache_is_not(factory: &Factory) {
    const LEN: usize = 1 << 20;
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("file");
    let content: Vec<u8> = (0..LEN).map(|at| (at / 7 + at / 4096) as u8).collect();
    std::fs::write(&path, &content).expect("written");
    let file = open(&queue, op::Open::new(&path));
    let plain = File::open(&path).expect("opened");
    for (offset, len) in [
        (LEN / 2 - 10_000, 100_000),
        (LEN - 5000, 9000),
        (0, LEN + 1),
    ] {
        // From one page before the end of what is asked for on, nothing is cached.
        let cut = (offset + len).min(LEN) - 4096;
        forget(&plain, cut as i64).expect("asked");
        let token = queue.submit(op::ReadAt::new(&file, vec![0; len], offset as u64));
        let (outcome, read) = finish(&queue, token.expect("room"));
        let expected = &content[offset..(offset + len).min(LEN)];
        assert_eq!(outcome.into_result().expect("read"), expected.len());
        assert!(read == expected, "at {offset}");
        forget(&plain, cut as i64).expect("asked");
        let bufs = [vec![0; len / 2], vec![0; len - len / 2]];
        let token = queue.submit(op::ReadVectoredAt::new(&file, bufs, offset as u64));
        let (outcome, read) = finish(&queue, token.expect("room"));
        assert_eq!(outcome.into_result().expect("read"), expected.len());
        assert!(read.concat() == expected, "at {offset}, in two parts");
    }
}

fn direct_read_is_a_read(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("file");
    std::fs::write(&path, vec![7; 8192]).expect("written");
    let token = queue.submit(op::Open::new(&path).direct(true));
    let file = match finish(&queue, token.expect("room")).into_result() {
        Ok(file) => file,
        // A file system without direct reads says so.
        Err(error) => return assert_eq!(error.kind(), ErrorKind::InvalidInput),
    };
    let buf = wharf_queue::AlignedBuf::new(8192, 4096);
    let token = queue.submit(op::ReadAt::new(&file, buf, 4096));
    let (outcome, buf) = finish(&queue, token.expect("room"));
    assert_eq!(outcome.into_result().expect("read"), 4096);
    assert_eq!(buf[..4096], [7; 4096]);
}

fn read_of_what_has_no_offsets_is_an_error(factory: &Factory) {
    let queue = factory.queue();
    let dir = open(&queue, op::Open::new("/"));
    let token = queue.submit(op::ReadAt::new(&dir, vec![0; 10], 0));
    let error = finish(&queue, token.expect("room")).0.into_result();
    assert_eq!(
        error.expect_err("a directory").kind(),
        ErrorKind::IsADirectory
    );
    let path = Dir::new();
    pipe::named(&path.0.join("pipe"));
    let both = op::Open::new(path.0.join("pipe")).read(true).write(true);
    let pipe = open(&queue, both);
    let token = queue.submit(op::ReadAt::new(&pipe, vec![0; 10], 0));
    let error = finish(&queue, token.expect("room")).0.into_result();
    assert_eq!(error.expect_err("a pipe").kind(), ErrorKind::NotSeekable);
}

/// What it gives are the bytes of the file as it is now; it may as well give nothing.
fn read_of_the_cache_is_a_read(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("file");
    let bytes: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &bytes).expect("written");
    let file = open(&queue, op::Open::new(&path));
    for (offset, len) in [(0, 10_000), (1, 9_999), (5_000, 1), (9_999, 1)] {
        if let Some(read) = file.read_cached(offset, len) {
            assert!(read == bytes[offset as usize..][..len], "{offset}, {len}");
        }
    }
    std::fs::write(&path, b"other").expect("written again");
    assert!(file.read_cached(0, 6).is_none());
    assert!(file.read_cached(0, 5).is_none_or(|read| read == b"other"));
    // What goes past the cache is not looked for there; some file systems refuse to open it so.
    let token = queue
        .submit(op::Open::new(&path).direct(true))
        .expect("room");
    if let Ok(direct) = finish(&queue, token).into_result() {
        assert!(direct.read_cached(0, 5).is_none());
    }
    // Nor what somebody else has opened, who may know of that and does not say.
    let theirs = File::open(&path).expect("open");
    let theirs = queue.attach(theirs).expect("attached");
    assert!(theirs.read_cached(0, 5).is_none());
}

/// An operation that completes as it is submitted has one completion like any other: it is kept
/// before it is reported, or it is reported.
fn result_that_comes_at_once_is_kept_or_reported(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("file");
    std::fs::write(&path, b"content").expect("written");
    let file = open(&queue, op::Open::new(&path));
    // Something else is ready before it and after it.
    let nop = || queue.submit(op::Nop::new()).expect("room");
    let before = nop();
    let token = queue.submit(op::ReadAt::new(&file, vec![0; 100], 3));
    let token = token.expect("room");
    let kept = queue.keep_if_completed(token);
    let after = nop();
    assert!(!queue.keep_if_completed(token), "it is kept once");
    let due = if kept { 2 } else { 3 };
    let mut reported = Vec::new();
    while reported.len() < due {
        for completion in queue.wait(None).expect("a wait") {
            reported.push(completion.keep().expect("final"));
        }
    }
    assert_eq!(reported.contains(&token.erase()), !kept);
    for nop in [before, after] {
        let done = queue.take(nop).expect("kept");
        done.into_result().expect("done");
    }
    let (outcome, buf) = queue.take(token).expect("kept, at once or later");
    assert_eq!(outcome.into_result().expect("read"), 4);
    assert_eq!(&buf[..4], b"tent");
    assert!(!queue.keep_if_completed(token), "it is gone");
    assert_eq!(queue.in_flight(), 0);
}

fn what_is_no_part_of_a_file_is_not_cached(factory: &Factory) {
    let queue = factory.queue();
    let dir = Dir::new();
    let path = dir.0.join("file");
    std::fs::write(&path, vec![1; 10_000]).expect("written");
    let file = open(&queue, op::Open::new(&path));
    // Whether a part is, is the system's secret; but there has to be one.
    let _ = file.is_cached(0, 10_000);
    for (offset, len) in [
        (0, 10_001),
        (10_000, 0),
        (10_000, 1),
        (1 << 40, 1),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
        (i64::MAX as u64, 10),
    ] {
        assert!(!file.is_cached(offset, len), "{offset}, {len}");
        let len = usize::try_from(len).expect("64 bits");
        // There are no bytes in a part without any, and so all of them.
        let read = file.read_cached(offset, len).unwrap_or_default();
        assert!(read.is_empty(), "{offset}, {len}");
    }
    let (socket, _peer) = pair(&queue);
    assert!(!socket.is_cached(0, 1));
    assert!(socket.read_cached(0, 1).is_none());
}
