//! What filters of system calls show, that is which calls the thread of the loop does not make; and
//! splices that are no copies.

use wharf::fs::{File, OpenOptions};
use wharf::io::splice;
use wharf::net::TcpStream;

use crate::fixture::cache::forget;
use crate::fixture::seccomp::{Answer, Call, forbid};
use crate::handles::copying::{self, check, through};
use crate::handles::kinds::bytes_at;
use crate::handles::kinds::stream::plain_pair;
use crate::handles::{Case, join, list_cases, poll_times};
use crate::peer::Dir;

/// Short enough to be read at once, and longer than what the system reads ahead by itself.
const LEN: u64 = 200_000;

list_cases! {
    "C4" forgotten_splice_goes_on_to_its_end,
    "C9" [alone] send_file_of_a_cold_file_does_not_wait_on_the_loop,
    "C9" [alone] send_file_to_the_end_of_a_cached_file_is_the_systems,
}

/// A file, a stream, and a thread that reads all that comes.
async fn scene(dir: &Dir) -> (File, TcpStream, std::thread::JoinHandle<Vec<u8>>) {
    let path = dir.0.join("file");
    std::fs::write(&path, bytes_at(0, LEN)).expect("written");
    let file = OpenOptions::new().read(true).open(&path).await;
    let (stream, mut peer) = plain_pair();
    let reading = std::thread::spawn(move || {
        let mut got = Vec::new();
        std::io::Read::read_to_end(&mut peer, &mut got).expect("an orderly end");
        got
    });
    let stream = TcpStream::from_std(stream).expect("a socket");
    (file.expect("opened"), stream, reading)
}

/// It would, in sendfile(2). A file system that forgets nothing has no cold files, and then the call
/// is made.
async fn send_file_of_a_cold_file_does_not_wait_on_the_loop() {
    let dir = Dir::new();
    let (file, mut stream, reading) = scene(&dir).await;
    let plain = std::fs::File::open(dir.0.join("file")).expect("there");
    forget(&plain, 0).expect("asked");
    let is_cached = file.is_cached(0..LEN);
    forbid(Call::SendFile, Answer::Error(libc::EPERM));
    let sent = stream.send_file(&file, 0, LEN).await;
    if is_cached {
        sent.expect_err("the call is forbidden");
        return;
    }
    assert_eq!(sent.expect("it was read"), LEN);
    drop(stream);
    assert!(join(reading).await == bytes_at(0, LEN));
}

/// Also if more was asked for than there is.
async fn send_file_to_the_end_of_a_cached_file_is_the_systems() {
    let dir = Dir::new();
    let (file, mut stream, reading) = scene(&dir).await;
    if !file.is_cached(0..LEN) {
        // The system does not tell, so that it may have to be waited for.
        return;
    }
    let before = wharf::runtime::stats().submitted;
    assert_eq!(
        stream.send_file(&file, 0, u64::MAX).await.expect("sent"),
        LEN
    );
    let submitted = wharf::runtime::stats().submitted - before;
    assert_eq!(submitted, 2, "one that sends, and one that finds the end");
    drop(stream);
    assert!(join(reading).await == bytes_at(0, LEN));
}

async fn forgotten_splice_goes_on_to_its_end() {
    let (mut from, mut to, reading) = through();
    let mut splicing = Box::pin(splice(&mut from, &mut to, u64::MAX));
    // Time enough to begin, and hardly to end.
    let ended = poll_times(8, splicing.as_mut()).await;
    std::mem::forget(splicing);
    assert!(ended.is_none_or(|moved| moved.is_ok()));
    // Those who come meanwhile wait for it.
    to.write_all(b"behind").await.expect("connected");
    assert_eq!(from.read(&mut [0; 16]).await.expect("an orderly end"), 0);
    drop(to);
    let got = join(reading).await;
    let behind = got.strip_suffix(b"behind").expect("written last");
    check(behind, 0, copying::LEN);
}
