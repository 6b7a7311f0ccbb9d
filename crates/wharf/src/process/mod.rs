//! Child processes: started as `std::process` does it, with pipes that are asynchronous streams, and
//! waited for without a thread or a signal handler.
//!
//! ```
//! # wharf::Runtime::new().unwrap().block_on(async {
//! use wharf::process::{Command, Stdio};
//! let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
//! let mut stdin = child.stdin.take().expect("it is piped");
//! stdin.write_all(b"meow").await?;
//! stdin.close().await?;
//! let output = child.wait_with_output().await?;
//! assert!(output.status.success());
//! assert_eq!(output.stdout, b"meow");
//! # std::io::Result::Ok(()) }).unwrap();
//! ```
//!
//! # What dropping does
//!
//! | what | when it is dropped |
//! |---|---|
//! | the future of [`Child::wait`] | nothing is lost: the next wait gives the status |
//! | the future of [`Child::kill`] | the process is killed all the same; the next wait gives the status |
//! | the future of [`ChildStdin::close`] | as dropping the [`ChildStdin`] |
//! | the future of [`Child::wait_with_output`], [`Command::output`], [`Command::status`] | as dropping the [`Child`] and its pipes |
//! | [`Child`] | the process goes on, unless [`Command::kill_on_drop`] was set. In either case it is waited for in the background when it ends, so that no zombie is left |
//! | [`ChildStdin`] | what was written is passed on, then the pipe is closed |
//! | [`ChildStdout`], [`ChildStderr`] | the pipe is closed: writing to it is then an error, and on Unix a signal, for the child |
//! | reads and writes of the pipes | as everywhere: a dropped read leaves its bytes to the next, a pending write has begun nothing |
//! | the runtime | children go on; a thread of their own waits for those that are left |

mod child;
mod command;
mod orphans;
mod pipes;

pub use child::Child;
pub use command::Command;
pub use pipes::{ChildStderr, ChildStdin, ChildStdout};
pub use std::process::{ExitStatus, Output, Stdio};
