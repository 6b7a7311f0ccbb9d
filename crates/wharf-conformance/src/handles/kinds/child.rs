//! Children whose end is waited for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::process::Stdio;

use wharf::process::{Child, Command};

use super::{Kind, until};
use crate::fixture::child::exits_as_told;
use crate::fixture::host::{IS_UNIX, exists};
use crate::fixture::pipe::pipe;
use crate::handles::{After, BoxFuture, Scene};
use crate::program::started;

/// Children that are waited for in the order in which they were started. Each ends when it is told
/// with which status.
struct Children {
    children: VecDeque<(Child, i32)>,
    /// The ways to tell those that were not told.
    untold: VecDeque<(File, i32)>,
    next: i32,
    outstanding: usize,
}

impl Children {
    fn scene() -> Box<dyn Scene> {
        Box::new(Children {
            children: VecDeque::new(),
            untold: VecDeque::new(),
            next: 0,
            outstanding: 0,
        })
    }

    fn start(&mut self) {
        let (reader, writer) = pipe();
        let mut command = Command::from(exits_as_told());
        command.stdin(Stdio::from(reader));
        let child = started(|| command.spawn()).expect("this very program");
        let status = self.next % 200;
        self.children.push_back((child, status));
        self.untold.push_back((File::from(writer), status));
        self.next += 1;
    }
}

impl Scene for Children {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        if self.children.is_empty() {
            self.start();
        }
        Box::pin(async {
            let (child, expected) = self.children.front_mut().expect("one was started");
            let status = child.wait().await?;
            assert_eq!(status.code(), Some(*expected));
            self.children.pop_front();
            self.outstanding = self.outstanding.checked_sub(1).expect("one was told");
            Ok(())
        })
    }

    fn bring(&mut self) {
        if self.untold.is_empty() {
            self.start();
        }
        let (mut writer, status) = self.untold.pop_front().expect("one was started");
        writeln!(writer, "{status}").expect("it listens");
        self.outstanding += 1;
    }

    fn is_outstanding(&self) -> bool {
        self.outstanding > 0
    }

    /// A process costs much, and more where it is not forked.
    fn rounds(&self, many: usize) -> usize {
        if IS_UNIX { many / 10 } else { many / 20 }
    }

    /// A child whose handle is dropped goes on, and is waited for when it ends.
    fn close(self: Box<Self>) -> After {
        let ids: Vec<u32> = self
            .children
            .iter()
            .filter_map(|(child, _)| child.id())
            .collect();
        drop(self.children);
        // Until it has ended, the worker waits for it.
        for (mut writer, status) in self.untold {
            writeln!(writer, "{status}").expect("it goes on, and listens");
        }
        Box::new(move || {
            for id in ids {
                until("a child is not waited for", || !exists(id));
            }
        })
    }
}

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "child_wait",
    make: || Box::pin(async { Children::scene() }),
}];
