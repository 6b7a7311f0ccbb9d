//! Files: the cursor, lent slices, and what a cancel does to them.

use std::io::{self, Read, Seek, SeekFrom, Write};

use wharf_fiber as fiber;
use wharf_fiber::fs::File;

use crate::{backends, on_each_backend, runtime};

fn temporary() -> File {
    let file = tempfile::tempfile().expect("a place for temporary files");
    File::from_wharf(wharf::fs::File::from_std(file).unwrap())
}

#[test]
fn file_reads_what_was_written_through_a_clone() {
    on_each_backend(|| {
        let mut file = temporary();
        let mut clone = file.try_clone().unwrap();
        file.write_all(b"0123456789").unwrap();
        assert_eq!(clone.stream_position().unwrap(), 10);
        clone.seek(SeekFrom::Start(4)).unwrap();
        let mut buf = [0; 3];
        file.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"456");
        assert_eq!(clone.seek(SeekFrom::End(-1)).unwrap(), 9);
        assert_eq!(file.read(&mut buf).unwrap(), 1);
        assert_eq!(file.read(&mut buf).unwrap(), 0);
        assert_eq!(file.read(&mut []).unwrap(), 0);
        assert_eq!(file.metadata().unwrap().len(), 10);
    });
}

#[test]
fn large_file_is_copied_by_the_standard_library() {
    on_each_backend(|| {
        let bytes: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
        let (mut from, mut to) = (temporary(), temporary());
        from.write_all(&bytes).unwrap();
        from.rewind().unwrap();
        assert_eq!(io::copy(&mut from, &mut to).unwrap(), 3_000_000);
        to.rewind().unwrap();
        let mut copy = Vec::new();
        to.read_to_end(&mut copy).unwrap();
        assert!(copy == bytes);
    });
}

#[test]
fn aborted_read_moves_nothing_and_its_slice_is_whole() {
    on_each_backend(|| {
        let mut file = temporary();
        let bytes: Vec<u8> = (0..1u32 << 20).map(|at| (at % 253) as u8).collect();
        file.write_all(&bytes).unwrap();
        for round in 0..100 {
            file.rewind().unwrap();
            let mut clone = file.try_clone().unwrap();
            let reader = fiber::spawn(move || {
                let mut buf = vec![0; 1 << 20];
                let read = clone.read(&mut buf);
                // From here on the slice is the fiber's alone: nobody writes to it any more.
                let snapshot = buf.clone();
                (0..3).for_each(|_| {
                    assert!(fiber::try_wait(wharf::task::yield_now()).is_err() || round % 4 == 3)
                });
                assert!(snapshot == buf);
                read.map(|count| buf[..count].to_vec())
            });
            (0..round % 4).for_each(|_| fiber::yield_now());
            reader.abort();
            match reader.join() {
                Ok(Ok(read)) => assert!(read == bytes[..read.len()]),
                Ok(Err(_)) => assert_eq!(file.stream_position().unwrap(), 0),
                Err(not_begun) => assert!(not_begun.is_cancelled() || round % 4 == 3),
            }
        }
    });
}

#[test]
fn aborted_write_is_whole_or_has_not_begun() {
    on_each_backend(|| {
        for round in 0..50 {
            let mut file = temporary();
            let mut clone = file.try_clone().unwrap();
            let writer = fiber::spawn(move || clone.write(&vec![9; 500_000]));
            (0..round % 4).for_each(|_| fiber::yield_now());
            writer.abort();
            let written = match writer.join() {
                Ok(result) => result.unwrap_or(0),
                Err(cancelled) => {
                    assert!(cancelled.is_cancelled());
                    0
                }
            };
            file.rewind().unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert!(bytes == vec![9; written]);
            assert!(written == 0 || written == 500_000);
        }
    });
}

#[test]
fn runtime_that_ends_waits_for_lent_slices() {
    for backend in backends() {
        let runtime = runtime(backend);
        fiber::block_on(&runtime, || {
            for _ in 0..16 {
                let mut file = temporary();
                drop(fiber::spawn(move || {
                    file.write_all(&vec![1; 1 << 20]).unwrap();
                    file.rewind().unwrap();
                    let mut buf = vec![0; 1 << 20];
                    let _ = file.read(&mut buf);
                    assert!(buf.iter().all(|byte| *byte <= 1));
                }));
            }
            fiber::yield_now();
        });
        drop(runtime);
        assert_eq!(fiber::stats().alive, 0);
    }
}

#[test]
fn destructor_that_writes_to_a_file_while_a_panic_unwinds_does_so() {
    on_each_backend(|| {
        let mut file = temporary();
        let clone = file.try_clone().unwrap();
        let failed = fiber::spawn(move || -> () {
            let mut out = io::BufWriter::new(clone);
            out.write_all(b"last words").unwrap();
            panic!("with bytes in a buffer")
        });
        assert!(failed.join().unwrap_err().is_panic());
        file.flush().unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last words");
    });
}
