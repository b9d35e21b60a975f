//! What an operation did before it stopped, and why it stopped.
//!
//! The kernel answers in two places: the errno and the out field of the argument struct. Its
//! EAGAIN alone has three encodings. They are told apart here, once.

use std::fmt;

use faultless_pages::Bytes;
use rustix::io::Errno;

use crate::errno::Described;

/// The result of an operation on a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an operation may stop before its end"]
pub struct Outcome {
    /// Bytes done, from the start of the range. The whole length exactly if nothing stopped it.
    /// WRITEPROTECT and RWPROTECT do not report progress: if they stop, this is 0 although a part
    /// may be done.
    pub done: Bytes,
    /// Why the operation stopped; `None` if it is complete.
    pub stopped: Option<Situation>,
}

impl Outcome {
    /// Says whether the whole range is done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.stopped.is_none()
    }
}

/// Why an operation stopped. All but the last are ordinary: a pager meets each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Situation {
    /// EEXIST: a page is there already. Wake the page all the same: a thread may have gone to
    /// sleep between the other party's install and its wake-up.
    AlreadyPresent,
    /// ESRCH: the process has exited.
    Gone,
    /// ENOENT: the range is not mapped, not registered, or crosses mappings; for MOVE also, a
    /// page of the source is missing.
    NotMapped,
    /// EBUSY: a page to be moved is shared or pinned.
    Busy,
    /// EAGAIN: nothing is wrong, try the rest again.
    Retry(RetryReason),
    /// EFAULT: the source cannot be read, the page lies behind the end of its file, the page
    /// cache does not hold it (CONTINUE), or the source holds a marker (MOVE).
    Fault,
    /// ENOMEM.
    OutOfMemory,
    /// EINTR: the calling thread is being killed.
    Interrupted,
    /// EIO or EHWPOISON: the memory has failed.
    Poisoned,
    /// Any other errno: a request this memory or mode does not allow.
    Refused(Errno),
}

/// Why an operation should be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// An event is unread, or its thread has not gone on yet. Read all events, then retry after
    /// a moment: nothing announces that the way is free.
    EventPending,
    /// A part is done; the rest stopped for a reason that only a new call on it tells.
    Partial,
    /// Another thread was changing the mapping.
    Contended,
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Situation::AlreadyPresent => f.write_str("a page is already present"),
            Situation::Gone => f.write_str("the process has exited"),
            Situation::NotMapped => f.write_str("the range is not mapped or not registered"),
            Situation::Busy => f.write_str("a page is shared or pinned"),
            Situation::Retry(RetryReason::EventPending) => f.write_str("an event is unread"),
            Situation::Retry(RetryReason::Partial) => f.write_str("a part is done"),
            Situation::Retry(RetryReason::Contended) => f.write_str("the mapping is changing"),
            Situation::Fault => f.write_str("the page or its source cannot be reached"),
            Situation::OutOfMemory => f.write_str("out of memory"),
            Situation::Interrupted => f.write_str("interrupted"),
            Situation::Poisoned => f.write_str("the memory has failed"),
            Situation::Refused(errno) => write!(f, "refused ({})", Described(*errno)),
        }
    }
}

impl std::error::Error for Situation {}

/// Classifies the answer to an operation on `len` bytes.
///
/// `out` is the out field, zero before the call and zero for operations without one; `events`
/// says whether the userfaultfd reports events. On EAGAIN:
///
/// | `out` | events | kernel | is |
/// |---|---|---|---|
/// | `0 < out < len` | any | any | `Partial` |
/// | `-EAGAIN` | on | 6.15 and later | `EventPending` |
/// | 0, untouched | on | before 6.15; no out field | `EventPending` |
/// | `-EAGAIN` or 0 | off | any | `Contended` |
///
/// With events on, contention looks the same as a pending event, and the answer to both is to
/// read events and retry.
pub(crate) fn classify(result: Result<(), Errno>, out: i64, len: Bytes, events: bool) -> Outcome {
    let Err(errno) = result else {
        return Outcome { done: len, stopped: None };
    };
    // A negative value repeats the errno. Progress beyond the length does not exist.
    let done = Bytes(u64::try_from(out).unwrap_or(0).min(len.0));
    Outcome { done, stopped: Some(situation(errno, done, events)) }
}

fn situation(errno: Errno, done: Bytes, events: bool) -> Situation {
    match errno {
        Errno::AGAIN if done > Bytes::ZERO => Situation::Retry(RetryReason::Partial),
        Errno::AGAIN if events => Situation::Retry(RetryReason::EventPending),
        Errno::AGAIN => Situation::Retry(RetryReason::Contended),
        Errno::EXIST => Situation::AlreadyPresent,
        Errno::SRCH => Situation::Gone,
        Errno::NOENT => Situation::NotMapped,
        Errno::BUSY => Situation::Busy,
        Errno::FAULT => Situation::Fault,
        Errno::NOMEM => Situation::OutOfMemory,
        Errno::INTR => Situation::Interrupted,
        Errno::IO | Errno::HWPOISON => Situation::Poisoned,
        other => Situation::Refused(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: Bytes = Bytes(0x4000);

    fn again(out: i64, events: bool) -> (Bytes, Option<Situation>) {
        let outcome = classify(Err(Errno::AGAIN), out, LEN, events);
        (outcome.done, outcome.stopped)
    }

    #[test]
    fn success_is_the_whole_length() {
        let outcome = classify(Ok(()), 0x4000, LEN, true);
        assert_eq!(outcome, Outcome { done: LEN, stopped: None });
        assert!(outcome.is_complete());
    }

    #[test]
    fn again_with_a_repeated_errno_is_a_pending_event() {
        let pending = Some(Situation::Retry(RetryReason::EventPending));
        assert_eq!(again(-11, true), (Bytes(0), pending));
    }

    #[test]
    fn again_with_an_untouched_field_is_a_pending_event_of_an_older_kernel() {
        let pending = Some(Situation::Retry(RetryReason::EventPending));
        assert_eq!(again(0, true), (Bytes(0), pending));
    }

    #[test]
    fn again_with_progress_is_partial_and_keeps_it() {
        let partial = Some(Situation::Retry(RetryReason::Partial));
        assert_eq!(again(0x1000, true), (Bytes(0x1000), partial));
        assert_eq!(again(0x1000, false), (Bytes(0x1000), partial));
    }

    #[test]
    fn again_without_events_is_contention() {
        let contended = Some(Situation::Retry(RetryReason::Contended));
        assert_eq!(again(-11, false), (Bytes(0), contended));
        assert_eq!(again(0, false), (Bytes(0), contended));
    }

    #[test]
    fn a_negative_out_field_is_never_progress() {
        let outcome = classify(Err(Errno::EXIST), -17, LEN, false);
        assert_eq!(outcome.done, Bytes(0));
        assert_eq!(outcome.stopped, Some(Situation::AlreadyPresent));
    }

    #[test]
    fn each_errno_has_its_situation() {
        for (errno, expected) in [
            (Errno::SRCH, Situation::Gone),
            (Errno::NOENT, Situation::NotMapped),
            (Errno::BUSY, Situation::Busy),
            (Errno::FAULT, Situation::Fault),
            (Errno::NOMEM, Situation::OutOfMemory),
            (Errno::INTR, Situation::Interrupted),
            (Errno::IO, Situation::Poisoned),
            (Errno::HWPOISON, Situation::Poisoned),
            (Errno::INVAL, Situation::Refused(Errno::INVAL)),
        ] {
            assert_eq!(classify(Err(errno), 0, LEN, true).stopped, Some(expected));
        }
    }
}
