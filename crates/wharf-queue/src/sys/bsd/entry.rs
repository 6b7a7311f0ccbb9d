//! Operations that wharf does not know exist on rings only, and there is none here.

/// No value of it can be made.
#[derive(Clone, Debug)]
pub(crate) enum RawEntry {}
