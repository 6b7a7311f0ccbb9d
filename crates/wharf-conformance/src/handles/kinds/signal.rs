//! Signals, of which the one that every system has stands for all: Ctrl-C.

use std::io;
use std::task::{Context, Waker};

use wharf::signal::{Signal, SignalKind, signal};

use super::{Kind, until};
use crate::fixture::signal::interrupt_this_process;
use crate::handles::{After, BoxFuture, Fate, Scene};

/// A listener for a signal that somebody else listens for as well.
struct Signalled {
    signal: Signal,
    twin: Signal,
    is_outstanding: bool,
}

impl Signalled {
    fn scene() -> Box<dyn Scene> {
        let listen = || signal(SignalKind::interrupt()).expect("it can be caught");
        Box::new(Signalled {
            signal: listen(),
            twin: listen(),
            is_outstanding: false,
        })
    }
}

impl Scene for Signalled {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            self.signal.recv().await.expect("it never ends");
            assert!(self.is_outstanding, "it was not sent");
            self.is_outstanding = false;
            Ok(())
        })
    }

    fn bring(&mut self) {
        // The system may make one of several, so that no second one is sent before the first is got.
        if !self.is_outstanding {
            self.is_outstanding = true;
            interrupt_this_process();
        }
    }

    fn is_outstanding(&self) -> bool {
        self.is_outstanding
    }

    fn fate(&self) -> Fate {
        Fate::GoesOn
    }

    fn close(self: Box<Self>) -> After {
        let mut twin = self.twin;
        drop(self.signal);
        Box::new(move || {
            let mut cx = Context::from_waker(Waker::noop());
            // What it has not been asked for so far; then what comes now.
            let _earlier = twin.poll_recv(&mut cx);
            interrupt_this_process();
            until("the other listener hears nothing", || {
                twin.poll_recv(&mut cx).is_ready()
            });
        })
    }
}

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "signal",
    make: || Box::pin(async { Signalled::scene() }),
}];
