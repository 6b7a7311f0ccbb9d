//! Chains: operations that start one after the other.

use super::Queue;
use crate::backend::Backend;
use crate::error::SubmitError;
use crate::op::{Prepare, Support};
use crate::slot::{Slot, State, Token};

/// A chain of operations, from [`Queue::chain`]: each starts when the one before it has succeeded.
///
/// The chain breaks when an operation fails (a closure: when it panics), is cancelled or times out,
/// and when a read or a write of a file comes out short; the rest of it is then `Cancelled`, without
/// having begun. Every operation of a chain has its own completion. Deadlines count from when the
/// operation is added.
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
    /// Any of them may have ended already, by a cancel or a deadline, and its slot be another's.
    tokens: Vec<Token>,
}

impl<'q> Chain<'q> {
    pub(crate) fn new(queue: &'q Queue) -> Chain<'q> {
        Chain {
            queue,
            tokens: Vec::new(),
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
        if let Some(&last) = self.tokens.last() {
            match self.held(last) {
                Some(last) => last.chain(token),
                // The chain is broken before it.
                None if slot.state.get() == State::Held => {
                    self.queue.core.ledger.complete_cancelled(slot.index());
                }
                None => {}
            }
        }
        self.tokens.push(token);
        self.queue.core.run_followups();
        Ok(Token::from_bits(token.to_bits()))
    }

    /// An operation whose turn can still come.
    fn held(&self, token: Token) -> Option<&'q Slot> {
        let record = self.queue.core.ledger.slots.lookup(token);
        record.filter(|record| record.state.get() == State::Held)
    }

    /// Submits the chain.
    pub fn submit(mut self) {
        let core = &*self.queue.core;
        // If the first has ended already, those behind it have too.
        if let Some(first) = self.tokens.first().and_then(|&first| self.held(first)) {
            if !self.submit_natively() {
                core.start(first);
            }
        }
        // From now on they end by themselves.
        self.tokens.clear();
        core.run_followups();
    }

    /// Hands the whole chain to the backend, if it is whole and the backend links such operations.
    fn submit_natively(&self) -> bool {
        let core = &*self.queue.core;
        let linkable = |&token: &Token| {
            self.held(token)
                .is_some_and(|record| core.support[record.route.get() as usize] != Support::Pool)
        };
        let native = self.tokens.len() > 1
            && self.tokens.iter().all(linkable)
            && core
                .backend
                .borrow_mut()
                .submit_chain(&core.ledger, &self.tokens);
        if native {
            for record in self.tokens.iter().filter_map(|&token| self.held(token)) {
                record.native_link.set(true);
                record.state.set(State::InFlight);
            }
        }
        native
    }
}

impl Drop for Chain<'_> {
    fn drop(&mut self) {
        for &token in &self.tokens {
            self.queue.discard(token);
        }
    }
}
