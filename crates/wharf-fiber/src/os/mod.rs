//! What is asked of the operating system beside the switch: the memory of stacks, which of its pages
//! were touched, and a report when one has overflowed.
//!
//! Each system provides `page_size`, `StackMemory`, `touched(from, to)` and `report_overflows`. An
//! overflow without a report still ends the process at the guard pages.

use std::fmt::{self, Write};
use std::io;

use crate::switch::Control;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as imp;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as imp;

pub(crate) use imp::{StackMemory, page_size, report_overflows, touched};

/// How large a stack is. Two stacks of the same shape stand in for each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    /// In bytes, whole pages: what a fiber may use.
    pub(crate) size: usize,
    /// In bytes, whole pages, at least one: what lies below and must not be touched.
    pub(crate) guard: usize,
}

impl Shape {
    /// Both rounded up to whole pages, at least one of each.
    ///
    /// # Errors
    /// `InvalidInput` for sizes that no address space holds, and whose sums would overflow.
    pub(crate) fn new(size: usize, guard: usize) -> io::Result<Shape> {
        const LARGEST: usize = isize::MAX as usize / 4;
        if size > LARGEST || guard > LARGEST {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let page = page_size();
        Ok(Shape {
            size: size
                .max(corosensei::stack::MIN_STACK_SIZE)
                .next_multiple_of(page),
            guard: guard.max(1).next_multiple_of(page),
        })
    }
}

/// A line that is made without allocation, where nothing may be allocated.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let count = text.len().min(room.len());
        room[..count].copy_from_slice(&text.as_bytes()[..count]);
        self.len += count;
        Ok(())
    }
}

/// What is said of a fiber that has overflowed its stack.
fn overflow_line(control: &Control) -> Line {
    let mut line = Line {
        bytes: [0; 256],
        len: 0,
    };
    let name = control.name().unwrap_or("without a name");
    // It never fails: what does not fit is cut off.
    let _written = writeln!(
        line,
        "wharf: fiber '{name}' has overflowed its stack of {} KiB; \
         wharf_fiber::Builder::stack_size gives it more",
        control.stack_size() / 1024,
    );
    line
}
