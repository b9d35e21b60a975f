//! What the kernel says, in the engine's words.

use faultless_pages::{Bytes, VaRange};
use faultless_uffd::{self as uffd, OpError, RetryReason, Situation};

use crate::port::{Again, Outcome, Stop};

/// Translates the outcome of an operation that may stop half-way.
pub(super) fn outcome(outcome: uffd::Outcome) -> Outcome {
    Outcome { done: outcome.done, stopped: outcome.stopped.map(stop) }
}

fn stop(situation: Situation) -> Stop {
    match situation {
        Situation::AlreadyPresent => Stop::Present,
        Situation::Gone => Stop::Gone,
        Situation::NotMapped => Stop::NotMapped,
        Situation::Busy => Stop::Busy,
        Situation::Retry(RetryReason::EventPending) => Stop::Again(Again::Pending),
        Situation::Retry(RetryReason::Partial) => Stop::Again(Again::Partial),
        // A thread that is being killed comes to no second attempt.
        Situation::Retry(RetryReason::Contended) | Situation::Interrupted => {
            Stop::Again(Again::Contended)
        }
        Situation::Fault => Stop::Nothing,
        Situation::OutOfMemory => Stop::NoMemory,
        Situation::Poisoned => Stop::Broken,
        _ => Stop::Refused,
    }
}

/// Translates the result of an operation that either happens or does not. What can go wrong are
/// ranges that are no longer as they were, and processes that have ended.
pub(super) fn whole(result: Result<(), OpError>, range: VaRange) -> Outcome {
    match result {
        Ok(()) => Outcome::complete(range),
        Err(_) => Outcome { done: Bytes::ZERO, stopped: Some(Stop::Refused) },
    }
}
