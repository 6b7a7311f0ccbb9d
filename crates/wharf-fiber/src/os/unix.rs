//! Pages of stacks, on Unix.

#![expect(unsafe_code)]
// UNSAFETY: sysconf(3) and mincore(2) have no safe wrapper among the dependencies.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The size of a page in bytes.
pub(crate) fn page_size() -> usize {
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    match SIZE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: it has no preconditions.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let size = usize::try_from(size).unwrap_or(4096);
            SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// How many bytes lie between the lowest page in memory of the stack `from..to` and its end.
pub(crate) fn touched(from: usize, to: usize) -> Option<usize> {
    let page = page_size();
    let mut pages = vec![0; (to - from) / page];
    // SAFETY: the vector has an element for each page; the memory itself is only asked about.
    let result = unsafe {
        libc::mincore(
            std::ptr::with_exposed_provenance_mut(from),
            to - from,
            pages.as_mut_ptr(),
        )
    };
    if result != 0 {
        return None;
    }
    // The type of the elements differs between the systems.
    let lowest = pages.iter().position(|page| *page & 1 != 0)?;
    Some((pages.len() - lowest) * page)
}
