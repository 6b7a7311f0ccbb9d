//! What the tests need: directories of their own, and a runtime on each backend.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wharf_queue::{BackendKind, Queue};

/// A directory of a test's own, removed with the value.
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// The backends of this machine. What cannot be had is said, not skipped in silence.
pub(crate) fn backends() -> Vec<BackendKind> {
    let all = BackendKind::ALL.iter().copied();
    all.filter(|kind| match Queue::builder().backend(*kind).build() {
        Ok(_) => true,
        Err(error) => {
            eprintln!("not run on {kind}: {error}");
            false
        }
    })
    .collect()
}

/// Runs a test on a runtime of each backend.
pub(crate) fn on_each_backend(test: impl AsyncFn()) {
    for kind in backends() {
        eprintln!("on {kind}");
        let runtime = wharf::Runtime::builder().backend(kind).build().unwrap();
        runtime.block_on(test());
    }
}

/// Bytes of which no two stretches are alike.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}
