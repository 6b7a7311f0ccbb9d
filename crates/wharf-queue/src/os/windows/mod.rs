//! Windows: overlapped calls that wharf does not know, named pipes, and the console's events.

mod console;
mod pipe;
mod raw;

pub use console::{ControlEvent, on_control_event};
pub use pipe::{ConnectPipe, PipeOptions, connect_pipe, open_pipe, pipe};
pub use raw::{RawOp, Start};

pub use crate::sys::RawEntry;
