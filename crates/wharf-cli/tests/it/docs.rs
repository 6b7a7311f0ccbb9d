//! The table of operations in docs/contract.md says what the queue says.

use crate::Case;

pub(crate) const CASES: &[Case] = &[];
