//! Sockets.

use std::cell::RefCell;
use std::rc::Rc;

use wharf_queue::Completion;

use crate::engine::Locals;
use crate::runtime::worker::Worker;
use crate::slab::Slab;

/// What lives on a worker and is reached by handles.
pub(crate) struct Sources {
    pub(crate) locals: RefCell<Locals>,
}

impl Default for Sources {
    fn default() -> Sources {
        Sources {
            locals: RefCell::new(Slab::new()),
        }
    }
}

impl Worker {
    pub(crate) fn source_completed(self: &Rc<Worker>, completion: Completion<'_>) {
        drop(completion);
    }

    pub(crate) fn flush_sources(&self) {}

    pub(crate) fn close_sources(&self) {
        let locals = std::mem::replace(&mut *self.sources.locals.borrow_mut(), Slab::new());
        drop(locals);
    }
}
