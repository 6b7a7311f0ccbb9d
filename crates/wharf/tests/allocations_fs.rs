//! Reading and writing a file at an offset allocates nothing in steady state.
//!
//! In a binary of its own, because it counts the allocations of the thread that it runs on.

#![expect(unsafe_code)]
// UNSAFETY: an allocator that counts is an allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use wharf::fs::File;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may still free.
    let _ended = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads and writes with lent and with borrowed buffers. Returns the buffer.
async fn rounds(file: &File, mut buf: Vec<u8>, count: u64) -> Vec<u8> {
    let mut borrowed = [7; 1024];
    for round in 0..count {
        let offset = round % 16 * 4096;
        let (written, back) = file.write_at_owned(buf, offset).await;
        assert_eq!(written.unwrap(), 4096);
        let (read, back) = file.read_at_owned(back, offset).await;
        assert_eq!(read.unwrap(), 4096);
        buf = back;
        assert_eq!(file.write_at(&borrowed, offset).await.unwrap(), 1024);
        assert_eq!(file.read_at(&mut borrowed, offset).await.unwrap(), 1024);
    }
    buf
}

#[test]
fn positional_reads_and_writes_allocate_nothing() {
    let available = wharf_queue::probe()
        .into_iter()
        .filter(|report| report.available);
    for backend in available.map(|report| report.kind) {
        // Starting a thread of the pool allocates, and when a second one is started is a matter of
        // chance; so there is one.
        let builder = wharf::Runtime::builder().backend(backend);
        let runtime = builder.blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let file = File::from_std(tempfile::tempfile().unwrap()).unwrap();
            let buf = rounds(&file, vec![1; 4096], 100).await;
            let before = COUNT.get();
            rounds(&file, buf, 1000).await;
            assert_eq!(COUNT.get() - before, 0, "{backend}");
        });
    }
}
