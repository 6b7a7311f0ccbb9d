//! Files: a read does not wait for anybody, but it may be dropped at any moment.

use std::io::{self, SeekFrom};

use wharf::fs::File;

use super::stream::{borrowed, owned, pooled, read};
use super::{Bytes, Kind, Read, bytes_at};
use crate::handles::{After, BoxFuture, Scene};
use crate::peer::Dir;

/// Behind this place, in bytes, the file is read from the beginning again. Bytes repeat with it.
const LAP: u64 = 251 * 4096;

/// How long the file is, in bytes: a lap and the longest read.
const LEN: u64 = LAP + (512 << 10);

struct FileReading {
    file: File,
    read: Read<File>,
    bytes: Bytes,
    /// What was read in laps before this one.
    laps: u64,
    /// Removed when nothing is open any more.
    dir: Dir,
}

impl Scene for FileReading {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            if self.bytes.got - self.laps > LAP {
                self.laps += LAP;
                let place = self.bytes.got - self.laps;
                self.file.seek(SeekFrom::Start(place)).await?;
            }
            let place = self.bytes.got - self.laps;
            let bytes = (self.read)(&mut self.file, place).await?;
            self.bytes.get(&bytes)
        })
    }

    fn bring(&mut self) {
        // It is all there.
        self.bytes.bring();
    }

    fn is_outstanding(&self) -> bool {
        self.bytes.is_outstanding()
    }

    fn must_wait(&self) -> bool {
        false
    }

    fn close(self: Box<Self>) -> After {
        let dir = self.dir;
        drop(self.file);
        Box::new(move || drop(dir))
    }
}

fn file(read: Read<File>) -> Box<dyn Scene> {
    let dir = Dir::new();
    let path = dir.0.join("bytes");
    std::fs::write(&path, bytes_at(0, LEN)).expect("written");
    let file = std::fs::File::open(&path).expect("there");
    Box::new(FileReading {
        file: File::from_std(file).expect("a file"),
        read,
        bytes: Bytes::default(),
        laps: 0,
        dir,
    })
}

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "file_read",
        make: || Box::pin(async { file(read!(|file| borrowed!(file, 60))) }),
    },
    Kind {
        name: "file_read_owned",
        make: || Box::pin(async { file(read!(|file| owned!(file))) }),
    },
    Kind {
        name: "file_recv",
        make: || Box::pin(async { file(read!(|file| pooled!(file))) }),
    },
    Kind {
        name: "file_read_at",
        make: || {
            let read: Read<File> = |file, at| {
                Box::pin(async move {
                    let mut buf = vec![0; 60];
                    let count = file.read_at(&mut buf, at).await?;
                    buf.truncate(count);
                    Ok(buf)
                })
            };
            Box::pin(async move { file(read) })
        },
    },
    Kind {
        name: "file_read_at_owned",
        make: || {
            let read: Read<File> = |file, at| {
                Box::pin(async move {
                    let (count, buf) = file.read_at_owned(Vec::with_capacity(60), at).await;
                    assert_eq!(count?, buf.len());
                    Ok(buf)
                })
            };
            Box::pin(async move { file(read) })
        },
    },
    Kind {
        name: "file_read_vectored_at_owned",
        make: || {
            let read: Read<File> = |file, at| {
                Box::pin(async move {
                    let bufs = [Vec::with_capacity(20), Vec::with_capacity(40)];
                    let (count, bufs) = file.read_vectored_at_owned(bufs, at).await;
                    let bytes = bufs.concat();
                    assert_eq!(count?, bytes.len());
                    Ok(bytes)
                })
            };
            Box::pin(async move { file(read) })
        },
    },
];
