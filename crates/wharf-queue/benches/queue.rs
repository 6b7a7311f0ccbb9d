//! What the queue costs beside the same loop on the bare interface, in one run and one table.
//!
//! `cargo bench -p wharf-queue` runs all contests, `cargo bench -p wharf-queue -- read` those whose title has
//! that word. The first contestant of each contest is the bare loop that the ratios are taken to. The loops
//! and the harness are in the `wharf-bench` crate; this file owns the queue's side and the list of contests.

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: wharf_bench::counting::CountingAllocator =
    wharf_bench::counting::CountingAllocator;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    linux::run()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the bare loops to compare with are written for Linux; nothing was measured");
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::rc::Rc;

    use wharf_bench::bare::nop::NopLoop;
    use wharf_bench::bare::read::{FileName, PreadLoop, RingReadLoop, WarmFile};
    use wharf_bench::contest::{Bench, Contestant};

    pub(crate) fn run() -> io::Result<()> {
        let mut bench = Bench::from_env();
        for batch in [1, 8, 32, 128] {
            bench.contest(&format!("nop, batch {batch}"), nops(batch))?;
        }
        bench.contest("read 4 KiB, depth 32", reads())?;
        bench.finish();
        Ok(())
    }

    fn nops(batch: usize) -> Vec<Contestant> {
        vec![Contestant::new("bare io-uring", move || {
            let mut bare = NopLoop::new(batch)?;
            Ok(Box::new(move |operations| bare.run(operations)))
        })]
    }

    fn reads() -> Vec<Contestant> {
        // Made once, and only if one of the contestants takes part.
        let warm = Rc::new(std::cell::OnceCell::new());
        let (fixed, pread) = (Rc::clone(&warm), Rc::clone(&warm));
        vec![
            Contestant::new("bare io-uring", move || {
                let mut bare = RingReadLoop::new(&*file(&warm)?, FileName::Descriptor)?;
                Ok(Box::new(move |operations| bare.run(operations)))
            }),
            Contestant::new("bare io-uring, fixed file", move || {
                let mut bare = RingReadLoop::new(&*file(&fixed)?, FileName::Fixed)?;
                Ok(Box::new(move |operations| bare.run(operations)))
            }),
            Contestant::new("pread, one at a time", move || {
                let mut bare = PreadLoop::new(&*file(&pread)?)?;
                Ok(Box::new(move |operations| bare.run(operations)))
            }),
        ]
    }

    /// The file of the reads; its name may go while loops have it open.
    fn file(made: &std::cell::OnceCell<Rc<WarmFile>>) -> io::Result<Rc<WarmFile>> {
        if let Some(warm) = made.get() {
            return Ok(Rc::clone(warm));
        }
        let warm = Rc::new(WarmFile::create()?);
        Ok(Rc::clone(made.get_or_init(|| warm)))
    }
}
