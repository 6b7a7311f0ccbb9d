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
    use std::time::{Duration, Instant};

    use wharf_bench::bare::nop::NopLoop;
    use wharf_bench::bare::read::{
        BLOCK_BYTES, Blocks, DEPTH, FileName, PreadLoop, RingReadLoop, WarmFile, check_block,
    };
    use wharf_bench::contest::{Bench, Contestant};
    use wharf_queue::{BackendKind, Handle, Prepare, Queue, op};

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
        let mut contestants = vec![Contestant::new("bare io-uring", move || {
            let mut bare = NopLoop::new(batch)?;
            Ok(Box::new(move |operations| bare.run(operations)))
        })];
        contestants.extend(on_each_backend(move |queue| {
            Ok(Box::new(move |operations| {
                wharf_nops(&queue, batch, operations)
            }))
        }));
        contestants
    }

    type Run = Box<dyn FnMut(u64) -> io::Result<(u64, Duration)>>;

    /// A contestant on each backend that this machine has.
    fn on_each_backend(
        set_up: impl Fn(Queue) -> io::Result<Run> + Clone + 'static,
    ) -> Vec<Contestant> {
        let there = wharf_queue::probe()
            .into_iter()
            .filter(|report| report.available);
        let contestant = |kind: BackendKind| {
            let set_up = set_up.clone();
            Contestant::new(&format!("wharf, {kind}"), move || {
                set_up(Queue::builder().backend(kind).build()?)
            })
        };
        there.map(|report| contestant(report.kind)).collect()
    }

    /// Submits a batch through the typed API, waits, takes the typed results; again and again.
    fn wharf_nops(queue: &Queue, batch: usize, operations: u64) -> io::Result<(u64, Duration)> {
        let begun = Instant::now();
        let mut done = 0;
        while done < operations {
            for _ in 0..batch {
                queue.submit(op::Nop::new())?;
            }
            let mut left = batch;
            while left > 0 {
                for completion in queue.wait(None)? {
                    let taken = completion.take_as::<op::Nop>();
                    taken
                        .map_err(|_| io::Error::other("only NOPs are in flight"))?
                        .into_result()?;
                    left -= 1;
                }
            }
            done += batch as u64;
        }
        Ok((done, begun.elapsed()))
    }

    fn reads() -> Vec<Contestant> {
        // Made once, and only if one of the contestants takes part.
        let warm = Rc::new(std::cell::OnceCell::new());
        let (bare, fixed, pread) = (Rc::clone(&warm), Rc::clone(&warm), Rc::clone(&warm));
        let mut contestants = vec![
            Contestant::new("bare io-uring", move || {
                let mut bare = RingReadLoop::new(&*file(&bare)?, FileName::Descriptor)?;
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
        ];
        contestants.extend(on_each_backend(move |queue| {
            let mut reads = WharfReads::new(queue, &*file(&warm)?)?;
            Ok(Box::new(move |operations| reads.run(operations)))
        }));
        contestants
    }

    /// The loop of [`RingReadLoop`] on a queue: the same blocks in the same order, [`DEPTH`] reads in
    /// flight, buffers that go in with a read and come back with its completion. The file is named by its
    /// descriptor, as in the first bare loop.
    struct WharfReads {
        file: Handle,
        blocks: Blocks,
        /// The buffers that wait for no read.
        idle: Vec<Vec<u8>>,
        queue: Queue,
    }

    impl WharfReads {
        fn new(queue: Queue, warm: &WarmFile) -> io::Result<WharfReads> {
            Ok(WharfReads {
                file: queue.attach(warm.open()?)?,
                blocks: Blocks::default(),
                idle: vec![vec![0; BLOCK_BYTES]; DEPTH],
                queue,
            })
        }

        fn run(&mut self, operations: u64) -> io::Result<(u64, Duration)> {
            let operations = operations.div_ceil(DEPTH as u64) * DEPTH as u64;
            let (mut submitted, mut taken) = (0_u64, 0_u64);
            let begun = Instant::now();
            while taken < operations {
                while submitted < operations {
                    let Some(buf) = self.idle.pop() else { break };
                    let block = self.blocks.next_block();
                    let read = op::ReadAt::new(&self.file, buf, block * BLOCK_BYTES as u64);
                    self.queue.submit(read.user_data(block))?;
                    submitted += 1;
                }
                for completion in self.queue.wait(None)? {
                    let block = completion.user_data();
                    let (outcome, buf) = completion
                        .take_as::<op::ReadAt<Vec<u8>>>()
                        .map_err(|_| io::Error::other("only reads are in flight"))?;
                    check_block(&buf, outcome.into_result()?, block)?;
                    self.idle.push(buf);
                    taken += 1;
                }
            }
            Ok((operations, begun.elapsed()))
        }
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
