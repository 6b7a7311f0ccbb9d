//! Chains: operations that start one after the other.

use super::Queue;
use crate::backend::Backend;
use crate::error::SubmitError;
use crate::op::{Prepare, Support};
use crate::slot::{State, Token};

/// A chain of operations, from [`Queue::chain`]: each starts when the one before it has succeeded.
///
/// The chain breaks when an operation fails, is cancelled or times out, and when a read or a write
/// of a file comes out short; the rest of it is then `Cancelled`, without having begun. Every
/// operation of a chain has its own completion. Deadlines count from when the operation is added.
///
/// io_uring links the chain itself where it can, so that it runs without a turn of the loop between
/// its operations: chains of reads, writes and syncs of files, none of which waits for somebody
/// outside. The meaning is the same everywhere: a cancel or a deadline of an operation whose turn
/// has not come ends it, and the rest behind it, at once.
///
/// Dropping a chain that was not submitted drops its operations.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use wharf_queue::{Queue, op::Nop};
/// let queue = Queue::new()?;
/// let mut chain = queue.chain();
/// let first = chain.then(Nop::new())?;
/// let second = chain.then(Nop::new())?;
/// chain.submit();
/// let mut order = Vec::new();
/// while order.len() < 2 {
///     order.extend(queue.wait(None)?.map(|completion| completion.token()));
/// }
/// assert_eq!(order, [first.erase(), second.erase()]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a chain does nothing until it is submitted"]
pub struct Chain<'q> {
    queue: &'q Queue,
    slots: Vec<u32>,
}

impl<'q> Chain<'q> {
    pub(crate) fn new(queue: &'q Queue) -> Chain<'q> {
        Chain {
            queue,
            slots: Vec::new(),
        }
    }

    /// Adds an operation to the end of the chain.
    ///
    /// # Errors
    /// As for [`Queue::submit`]; and [`SubmitError::Invalid`] for a multishot operation, which has
    /// no end to wait for, and for a close, which must not be skipped.
    pub fn then<P: Prepare>(&mut self, operation: P) -> Result<Token<P::Op>, SubmitError<P::Op>> {
        use crate::op::{OpKind, Operation};
        let submission = operation.prepare();
        if P::Op::KIND.is_multishot() {
            let why = "a multishot operation cannot be part of a chain";
            return Err(SubmitError::Invalid(submission.op, why));
        }
        if P::Op::KIND == OpKind::Close {
            let why = "a close cannot be part of a chain, which may break before it";
            return Err(SubmitError::Invalid(submission.op, why));
        }
        let slot = self.queue.place(submission)?;
        let token = slot.token();
        if let Some(&last) = self.slots.last() {
            self.queue.core.ledger.slots.get(last).chain(token);
        }
        self.slots.push(slot.index());
        Ok(Token::from_bits(token.to_bits()))
    }

    /// Submits the chain.
    pub fn submit(mut self) {
        let slots = std::mem::take(&mut self.slots);
        let core = &*self.queue.core;
        let Some(&first) = slots.first() else { return };
        let native = slots.len() > 1
            && slots.iter().all(|&slot| {
                let slot = core.ledger.slots.get(slot);
                let in_pool = core.support[slot.route.get() as usize] == Support::Pool;
                slot.state.get() == State::Held && !in_pool
            })
            && core.backend.borrow_mut().submit_chain(&core.ledger, &slots);
        if native {
            for &slot in &slots {
                let record = core.ledger.slots.get(slot);
                record.native_link.set(true);
                record.state.set(State::InFlight);
            }
        } else {
            let first = core.ledger.slots.get(first);
            if first.state.get() == State::Held {
                core.start(first);
            }
        }
        core.run_followups();
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        for &slot in &self.slots {
            self.queue.discard(self.queue.core.ledger.slots.token(slot));
        }
    }
}
