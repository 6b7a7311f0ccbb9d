//! Several buffers at an offset: all of them, many, none, on another worker, and given up.

use std::io::ErrorKind;

use wharf::fs::{self, File};

use crate::fs::{dir, poll_once};
use crate::{backends, on_each_backend};

/// Pieces of different lengths, some of them empty; more than one call of the system's takes.
fn pieces() -> Vec<Vec<u8>> {
    (0..2500).map(|n| vec![n as u8; n % 7]).collect()
}

/// Writes many pieces, and reads them as pieces of other lengths.
async fn write_and_read(file: &File) {
    let whole = pieces().concat();
    let (written, back) = file.write_vectored_at_owned(pieces(), 10).await;
    assert_eq!(written.unwrap(), whole.len());
    assert!(back == pieces());

    let room = vec![Vec::with_capacity(0), Vec::with_capacity(100), vec![9; 3]];
    let (read, parts) = file.read_vectored_at_owned(room, 10).await;
    assert_eq!(read.unwrap(), 103);
    assert!(parts.concat() == whole[..103]);
    assert_eq!(parts[2].len(), 3);

    // At the end there is less than there is room for.
    let end = 10 + whole.len() as u64;
    let (read, parts) = file
        .read_vectored_at_owned([vec![9; 4], vec![9; 4]], end - 6)
        .await;
    assert_eq!(read.unwrap(), 6);
    assert_eq!(parts.concat(), whole[whole.len() - 6..]);
    let (read, [first, second]) = file
        .read_vectored_at_owned([vec![9; 4], vec![9; 4]], end)
        .await;
    assert_eq!((read.unwrap(), first.len(), second.len()), (0, 0, 0));

    let nothing = Vec::<Vec<u8>>::new();
    assert_eq!(file.read_vectored_at_owned(nothing, 0).await.0.unwrap(), 0);
    let nothing = [Vec::new(), Vec::new()];
    let (written, _) = file.write_vectored_at_owned(nothing, 1 << 40).await;
    assert_eq!(written.unwrap(), 0);
    let (refused, back) = file.write_vectored_at_owned([vec![7]], u64::MAX).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(back, [[7]]);
    assert_eq!(file.metadata().await.unwrap().len(), end);
}

#[test]
fn several_buffers_are_written_and_read_in_order() {
    on_each_backend(2, async || {
        let dir = dir();
        let path = dir.path().join("file");
        let file = File::create_new(&path).await.unwrap();
        write_and_read(&file).await;
        file.set_len(0).await.unwrap();
        let there = wharf::spawn_on(1, move || async move { write_and_read(&file).await });
        there.await.unwrap();
    });
}

#[test]
fn dropped_write_of_several_buffers_is_finished_whole() {
    on_each_backend(2, async || {
        let dir = dir();
        let whole = pieces().concat();
        for worker in [0, 1] {
            let path = dir.path().join(format!("{worker}"));
            let file = File::create_new(&path).await.unwrap();
            let dropped = wharf::spawn_on(worker, move || async move {
                drop(file.write_vectored_at_owned(pieces(), 1 << 20));
                let _early = poll_once(file.write_vectored_at_owned(pieces(), 0)).await;
                file.sync_data().await.unwrap();
            });
            dropped.await.unwrap();
            assert!(fs::read(&path).await.unwrap() == whole);
        }
    });
}

#[test]
fn several_buffers_come_back_when_the_runtime_has_ended() {
    for backend in backends() {
        let dir = dir();
        let path = dir.path().join("file");
        let builder = wharf::Runtime::builder().backend(backend);
        let runtime = builder.build().unwrap();
        let file = runtime.block_on(File::create_new(&path)).unwrap();
        drop(runtime);
        let runtime = wharf::Runtime::new().unwrap();
        runtime.block_on(async {
            let (read, bufs) = file.read_vectored_at_owned([vec![1; 2]], 0).await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::NotConnected);
            assert_eq!(bufs, [[]]);
            let (written, bufs) = file.write_vectored_at_owned([vec![1; 2]], 0).await;
            assert_eq!(written.unwrap_err().kind(), ErrorKind::NotConnected);
            assert_eq!(bufs, [[1, 1]]);
        });
    }
}
