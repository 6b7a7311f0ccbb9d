//! Stacks: where fibers get them, and what becomes of them afterwards.
//!
//! Owns one pool for each thread and its statistics. Memory, guard pages and their peculiarities on
//! each system are in `os`, and so is how much of a stack was ever touched.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use corosensei::stack::Stack;

use crate::os::{self, Shape, StackMemory};

/// The size of a stack in bytes if none is chosen. It is address space: memory is taken page by page,
/// when it is first touched.
pub(crate) const DEFAULT_SIZE: usize = 256 * 1024;

/// How many unused stacks a thread keeps if nothing else is chosen.
const DEFAULT_LIMIT: usize = 1024;

struct Pool {
    /// The stack that was used last comes first: it is warm.
    free: Vec<StackMemory>,
    limit: usize,
    /// The addresses of every stack that this thread has made and not unmapped: from, to.
    stacks: BTreeMap<usize, usize>,
    spawned: u64,
    alive: usize,
    /// Of stacks that were unmapped.
    high_water: Option<usize>,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool {
            free: Vec::new(),
            limit: DEFAULT_LIMIT,
            stacks: BTreeMap::new(),
            spawned: 0,
            alive: 0,
            high_water: None,
        })
    };
}

fn range(stack: &StackMemory) -> (usize, usize) {
    (stack.lowest(), stack.base().get())
}

/// A stack of at least `size` bytes above `guard` bytes of guard pages: a used one, or a new one.
///
/// # Errors
/// That of the system; `InvalidInput` for sizes that no address space holds.
pub(crate) fn take(size: usize, guard: usize) -> io::Result<StackMemory> {
    let shape = Shape::new(size, guard)?;
    let pooled = POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        let fits = |stack: &StackMemory| stack.shape() == shape;
        let found = match pool.free.last() {
            Some(last) if fits(last) => pool.free.len() - 1,
            _ => pool.free.iter().rposition(fits)?,
        };
        Some(pool.free.swap_remove(found))
    });
    let stack = match pooled {
        Some(stack) => stack,
        None => make(shape)?,
    };
    POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.spawned += 1;
        pool.alive += 1;
    });
    Ok(stack)
}

fn make(shape: Shape) -> io::Result<StackMemory> {
    let stack = StackMemory::new(shape)?;
    let (from, to) = range(&stack);
    POOL.with(|pool| pool.borrow_mut().stacks.insert(from, to));
    Ok(stack)
}

/// Takes back the stack of a fiber that has ended.
pub(crate) fn give(stack: StackMemory) {
    // A thread that ends has no pool any more: then it is unmapped.
    let unmapped = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.alive -= 1;
        if pool.free.len() < pool.limit {
            pool.free.push(stack);
            return None;
        }
        pool.forget(&stack);
        Some(stack)
    });
    drop(unmapped);
}

impl Pool {
    /// A stack is about to be unmapped.
    fn forget(&mut self, stack: &StackMemory) {
        let (from, to) = range(stack);
        self.stacks.remove(&from);
        self.high_water = self.high_water.max(os::touched(from, to));
    }
}

/// What fibers have done on the current thread; from [`stats`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Fibers that were spawned.
    pub spawned: u64,
    /// Those of them that have not ended.
    pub alive: usize,
    /// Stacks that wait for the next fiber.
    pub pooled: usize,
    /// The most bytes of its stack that any fiber has touched, rounded up to pages. `None` if no
    /// fiber has run yet, or the system refuses to tell.
    pub stack_high_water: Option<usize>,
}

/// What fibers have done on the current thread.
///
/// The high-water mark is found by asking the system for the pages of each stack: about a
/// microsecond a stack, and nothing while fibers run.
///
/// ```
/// # let runtime = wharf::Runtime::new().unwrap();
/// # wharf_fiber::block_on(&runtime, || {
/// use wharf_fiber as fiber;
/// fiber::spawn(|| std::hint::black_box([1u8; 50_000]).len()).join().unwrap();
/// let stats = fiber::stats();
/// assert_eq!((stats.spawned, stats.alive), (2, 1));
/// assert!(stats.stack_high_water.unwrap() >= 50_000);
/// # });
/// ```
#[must_use]
pub fn stats() -> Stats {
    POOL.with(|pool| {
        let pool = pool.borrow();
        let touched = pool
            .stacks
            .iter()
            .filter_map(|(&from, &to)| os::touched(from, to));
        Stats {
            spawned: pool.spawned,
            alive: pool.alive,
            pooled: pool.free.len(),
            stack_high_water: touched.max().max(pool.high_water),
        }
    })
}

/// Sets how many unused stacks the current thread keeps for the next fibers: 1,024 if not set. Those
/// above it are unmapped, now and when fibers end. A kept stack holds the pages that were touched.
pub fn set_pool_limit(stacks: usize) {
    let unmapped = POOL.with(|pool| {
        let mut pool = pool.borrow_mut();
        pool.limit = stacks;
        let keep = pool.free.len().min(stacks);
        let unmapped = pool.free.split_off(keep);
        for stack in &unmapped {
            pool.forget(stack);
        }
        unmapped
    });
    drop(unmapped);
}
