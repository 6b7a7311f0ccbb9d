//! Random reads of 4 KiB from a file in the page cache: on the bare ring, and by `pread(2)`.
//!
//! It owns the file (64 MiB, made and removed by this module, each block headed by its own number) and the
//! order of the offsets, so that every contestant reads the same blocks and checks them the same way.
// UNSAFETY: the kernel writes into buffers that the loop owns, and pushing an entry is unsafe.
#![expect(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process;
use std::time::{Duration, Instant};

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

use crate::sys;

/// The bytes of one read.
pub const BLOCK_BYTES: usize = 4096;
/// The blocks of the file.
pub const BLOCKS: u64 = 16 * 1024;
/// The reads in flight.
pub const DEPTH: usize = 32;

/// A file of 64 MiB that is in the page cache; removed when dropped.
#[derive(Debug)]
pub struct WarmFile {
    path: PathBuf,
}

impl WarmFile {
    /// Writes the file and reads it once.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn create() -> io::Result<Self> {
        let name = format!("wharf-bench-{}.blocks", process::id());
        let warm = Self {
            path: std::env::temp_dir().join(name),
        };
        let mut file = File::create(&warm.path)?;
        let mut block = vec![0_u8; BLOCK_BYTES];
        for number in 0..BLOCKS {
            block[..8].copy_from_slice(&number.to_ne_bytes());
            file.write_all(&block)?;
        }
        // Written back now, so that no write-back runs beside the measurement.
        file.sync_all()?;
        let mut file = warm.open()?;
        let mut megabyte = vec![0_u8; 1 << 20];
        while file.read(&mut megabyte)? > 0 {}
        Ok(warm)
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// The error of `open(2)`.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }
}

impl Drop for WarmFile {
    fn drop(&mut self) {
        // A file left behind in the temporary directory harms nobody.
        let _ = fs::remove_file(&self.path);
    }
}

/// The blocks to read, in an order that is random and the same for everybody (xorshift64).
#[derive(Clone, Debug)]
pub struct Blocks(u64);

impl Default for Blocks {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Blocks {
    /// The next block's number.
    #[inline]
    pub fn next_block(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) % BLOCKS
    }
}

/// Checks that `count` bytes of `buf` are the whole block of that number.
///
/// # Errors
/// Says which block was wrong.
#[inline]
pub fn check_block(buf: &[u8], count: usize, number: u64) -> io::Result<()> {
    if count == BLOCK_BYTES && buf.starts_with(&number.to_ne_bytes()) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "block {number} came back wrong, {count} bytes"
    )))
}

/// How the ring names the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// By its descriptor.
    Descriptor,
    /// By its place in the ring's table, which saves the kernel a look-up and a reference count.
    Fixed,
}

/// Keeps [`DEPTH`] reads in flight on the bare ring.
pub struct RingReadLoop {
    ring: IoUring,
    file: File,
    name: FileName,
    blocks: Blocks,
    buffers: Vec<Vec<u8>>,
    /// The block that each buffer waits for.
    wanted: Vec<u64>,
    /// The buffers that wait for none.
    idle: Vec<usize>,
}

impl RingReadLoop {
    /// Sets the ring up.
    ///
    /// # Errors
    /// The error of `io_uring_setup(2)` or `open(2)`.
    pub fn new(warm: &WarmFile, name: FileName) -> io::Result<Self> {
        let depth = DEPTH as u32;
        let ring = super::build_ring(depth, 2 * depth)?;
        let file = warm.open()?;
        if name == FileName::Fixed {
            ring.submitter().register_files(&[file.as_raw_fd()])?;
        }
        let buffers = vec![vec![0; BLOCK_BYTES]; DEPTH];
        let (wanted, idle) = (vec![0; DEPTH], (0..DEPTH).collect());
        Ok(Self {
            ring,
            file,
            name,
            blocks: Blocks::default(),
            buffers,
            wanted,
            idle,
        })
    }

    /// Reads at least `operations` blocks, in whole batches of [`DEPTH`]; returns how many, and the time of
    /// the loop.
    ///
    /// # Errors
    /// The error of `io_uring_enter(2)` or of a read, or a wrong block. After an error the buffers are leaked,
    /// because reads may still be in flight.
    pub fn run(&mut self, operations: u64) -> io::Result<(u64, Duration)> {
        let result = self.run_inner(operations);
        if result.is_err() {
            std::mem::forget(std::mem::take(&mut self.buffers));
        }
        result
    }

    fn run_inner(&mut self, operations: u64) -> io::Result<(u64, Duration)> {
        let depth = self.buffers.len() as u64;
        if depth == 0 {
            return Err(io::Error::other("an earlier run has failed"));
        }
        let operations = operations.div_ceil(depth) * depth;
        let descriptor = self.file.as_raw_fd();
        let name = self.name;
        let (mut submitter, mut submissions, mut completions) = self.ring.split();
        submitter.register_ring_fd()?;
        let (wanted, idle) = (&mut self.wanted, &mut self.idle);
        let (mut submitted, mut taken) = (0_u64, 0_u64);
        let start = Instant::now();
        while taken < operations {
            while submitted < operations {
                let Some(slot) = idle.pop() else { break };
                wanted[slot] = self.blocks.next_block();
                let entry = read_entry(name, descriptor, &mut self.buffers[slot], wanted[slot]);
                // SAFETY: the buffer stays in place, is not looked at until its completion, and is leaked if
                // this function fails in between.
                unsafe { submissions.push(&entry.user_data(slot as u64)) }
                    .map_err(io::Error::other)?;
                submitted += 1;
            }
            submissions.sync();
            submitter.submit_and_wait(1)?;
            submissions.sync();
            completions.sync();
            for completion in &mut completions {
                let slot = completion.user_data() as usize;
                let count = usize::try_from(completion.result())
                    .map_err(|_| io::Error::from_raw_os_error(-completion.result()))?;
                check_block(&self.buffers[slot], count, wanted[slot])?;
                idle.push(slot);
                taken += 1;
            }
            completions.sync();
        }
        let elapsed = start.elapsed();
        submitter.unregister_ring_fd()?;
        Ok((operations, elapsed))
    }
}

#[inline]
fn read_entry(name: FileName, descriptor: i32, buf: &mut [u8], block: u64) -> Entry {
    let (start, len) = (buf.as_mut_ptr(), BLOCK_BYTES as u32);
    let offset = block * BLOCK_BYTES as u64;
    match name {
        FileName::Descriptor => opcode::Read::new(types::Fd(descriptor), start, len)
            .offset(offset)
            .build(),
        FileName::Fixed => opcode::Read::new(types::Fixed(0), start, len)
            .offset(offset)
            .build(),
    }
}

/// One `pread(2)` after the other.
#[derive(Debug)]
pub struct PreadLoop {
    file: File,
    blocks: Blocks,
    buffer: Vec<u8>,
}

impl PreadLoop {
    /// Opens the file.
    ///
    /// # Errors
    /// The error of `open(2)`.
    pub fn new(warm: &WarmFile) -> io::Result<Self> {
        Ok(Self {
            file: warm.open()?,
            blocks: Blocks::default(),
            buffer: vec![0; BLOCK_BYTES],
        })
    }

    /// Reads `operations` blocks; returns how many, and the time of the loop.
    ///
    /// # Errors
    /// The error of `pread(2)`, or a wrong block.
    pub fn run(&mut self, operations: u64) -> io::Result<(u64, Duration)> {
        let start = Instant::now();
        for _ in 0..operations {
            let block = self.blocks.next_block();
            let count = sys::pread(&self.file, &mut self.buffer, block * BLOCK_BYTES as u64)?;
            check_block(&self.buffer, count, block)?;
        }
        Ok((operations, start.elapsed()))
    }
}
