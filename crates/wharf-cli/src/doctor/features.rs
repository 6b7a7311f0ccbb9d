//! What the features of the backends are good for, in a sentence each.

/// Whether wharf does something with a feature that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// It is used when it is there.
    Yes,
    /// It is looked for only; nothing is built on it so far.
    NotYet,
}

/// A feature that a backend reports.
pub(super) struct Feature {
    name: &'static str,
    pub(super) used: Use,
    /// The version of Linux that brought it, for orientation: whether it is there was tried out. Empty
    /// for what other systems have.
    pub(super) since: &'static str,
    pub(super) good_for: &'static str,
}

/// What is known of the feature of this name.
pub(super) fn feature(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

const fn used(name: &'static str, since: &'static str, good_for: &'static str) -> Feature {
    Feature {
        name,
        used: Use::Yes,
        since,
        good_for,
    }
}

const fn not_yet(name: &'static str, since: &'static str, good_for: &'static str) -> Feature {
    Feature {
        name,
        used: Use::NotYet,
        since,
        good_for,
    }
}

const FEATURES: &[Feature] = &[
    used(
        "afd_poll",
        "",
        "The driver of sockets tells when one of somebody else's is ready.",
    ),
    used(
        "buf_ring",
        "5.19",
        "The kernel takes a buffer when data is there, so that idle connections hold none.",
    ),
    used(
        "cqe_skip",
        "5.17",
        "A cancel that takes effect costs no completion of its own.",
    ),
    used(
        "defer_taskrun",
        "6.1",
        "Completions are made while the thread waits for them, and do not interrupt it.",
    ),
    used(
        "ext_arg",
        "5.11",
        "A wait has a time-out without an operation for it; wharf needs this.",
    ),
    used(
        "fast_poll",
        "5.7",
        "An operation on a quiet socket waits in the kernel without a thread.",
    ),
    used(
        "ftruncate",
        "6.9",
        "Files are truncated by the ring; where it is missing, the pool does it.",
    ),
    not_yet(
        "futex",
        "6.7",
        "Locks and wakes between threads could be completions.",
    ),
    used(
        "incremental_buffers",
        "6.12",
        "Many small messages share one large buffer, which takes less memory.",
    ),
    not_yet(
        "msg_ring",
        "5.18",
        "One ring could wake another without a descriptor; an eventfd does it so far.",
    ),
    used(
        "no_iowait",
        "6.15",
        "A thread that sleeps in wharf is not shown as one that waits for a disk.",
    ),
    used(
        "nodrop",
        "5.5",
        "No completion is lost when the ring of completions is full; wharf needs this.",
    ),
    used(
        "registered_ring_fd",
        "5.18",
        "Entering the ring spares a look into the table of descriptors.",
    ),
    not_yet(
        "send_zc",
        "6.0",
        "Large sends could go out without being copied; whether that pays is to be measured.",
    ),
    used(
        "socket",
        "5.19",
        "Sockets are made by the ring; where it is missing, the pool does it.",
    ),
    not_yet(
        "waitid",
        "6.7",
        "Children could be waited for by the ring; a poll of their pidfd does it so far.",
    ),
    used("eventfd", "2.6.22", "Other threads wake the queue by it."),
    used(
        "skip_on_success",
        "",
        "A call that is done at once posts no packet to the port.",
    ),
    used(
        "timerfd",
        "2.6.25",
        "A foreign loop that waits for the queue is woken at its deadlines.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_of_this_machine_is_explained() {
        for report in wharf_queue::probe() {
            for name in report.features.keys() {
                assert!(feature(name).is_some(), "{}: {name}", report.kind);
            }
        }
    }
}
