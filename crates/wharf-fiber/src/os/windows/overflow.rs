//! The report of an overflow, on Windows: a line that names the fiber. The exception then takes its way:
//! to the standard library, which names the thread, to a debugger, to the end of the process.
//!
//! Owns the handler. It runs on the stack that has overflowed, on the pages that
//! `SetThreadStackGuarantee` keeps for it.

#![expect(unsafe_code)]
// UNSAFETY: exception handlers have no safe interface: AddVectoredExceptionHandler.

use std::cell::Cell;
use std::ptr;
use std::sync::Once;

use windows_sys::Win32::Foundation::{
    EXCEPTION_ACCESS_VIOLATION, EXCEPTION_STACK_OVERFLOW, NTSTATUS,
};
use windows_sys::Win32::Storage::FileSystem::WriteFile;
use windows_sys::Win32::System::Console::{GetStdHandle, STD_ERROR_HANDLE};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS, EXCEPTION_RECORD,
};
use windows_sys::Win32::System::Threading::SetThreadStackGuarantee;

use super::guarantee;
use crate::os::overflow_line;
use crate::switch::{self, Control};

/// Bytes that are kept for handlers: this one formats a line, the standard library's another.
const FOR_HANDLERS: u32 = 32 * 1024;

/// Sees to it that an overflow of a fiber on this thread is reported. It costs a look into a
/// thread-local value when it was done before.
pub(crate) fn report_overflows() {
    static INSTALL: Once = Once::new();
    thread_local! {
        static DONE: Cell<bool> = const { Cell::new(false) };
    }
    if DONE.replace(true) {
        return;
    }
    INSTALL.call_once(|| {
        // SAFETY: the handler is a function, which stays. If it is refused, there is no report, and the
        // exception still is.
        let _handle = unsafe { AddVectoredExceptionHandler(1, Some(handle)) };
    });
    if guarantee() < FOR_HANDLERS as usize {
        let mut bytes = FOR_HANDLERS;
        // SAFETY: it changes the room that this thread's stacks keep, and writes to `bytes`.
        let _set = unsafe { SetThreadStackGuarantee(&mut bytes) };
    }
}

unsafe extern "system" fn handle(pointers: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the system gives valid records to a handler.
    let pointers = unsafe { &*pointers };
    // SAFETY: as before.
    let record = unsafe { &*pointers.ExceptionRecord };
    let code: NTSTATUS = record.ExceptionCode;
    if code == EXCEPTION_STACK_OVERFLOW || code == EXCEPTION_ACCESS_VIOLATION {
        switch::with_active(|control| match control {
            Some(control) if is_overflow(control, record) => report(control),
            _ => {}
        });
    }
    EXCEPTION_CONTINUE_SEARCH
}

/// Whether it is of this fiber's stack. An access that has jumped over the soft guard is one to memory
/// that is not there.
fn is_overflow(control: &Control, record: &EXCEPTION_RECORD) -> bool {
    record.ExceptionCode == EXCEPTION_STACK_OVERFLOW
        || (record.NumberParameters >= 2
            && control.guard().contains(&record.ExceptionInformation[1]))
}

fn report(control: &Control) {
    let line = overflow_line(control);
    // SAFETY: it has no preconditions.
    let handle = unsafe { GetStdHandle(STD_ERROR_HANDLE) };
    let mut written = 0;
    let len = u32::try_from(line.len).unwrap_or(0);
    // SAFETY: the bytes are those of the line. That it may fail changes nothing.
    let _result = unsafe {
        WriteFile(
            handle,
            line.bytes.as_ptr(),
            len,
            &mut written,
            ptr::null_mut(),
        )
    };
}
