//! Guards that can be left out, to prove that they are needed.
//!
//! Only with the feature `removable-guards`, which tests turn on: a build without it has them all.

/// A guard against something that went wrong in other pagers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "removable-guards"),
    expect(unreachable_pub, reason = "public where guards can be left out")
)]
pub enum Guard {
    /// A page that is there already is woken.
    WakesExisting,
    /// What a pending event turned away is tried again by the clock, not by the next message.
    RetriesByTimer,
    /// Events of a batch count before its faults.
    EventsFirst,
    /// Nothing is installed while messages are read.
    ReadsAlone,
    /// Where writes are told, pages come write-protected in one step.
    ProtectsAtOnce,
    /// A page that was given up is zeros.
    RemovedIsZeros,
    /// What was fetched is put only where the page is still waited for by this fetch.
    ChecksGeneration,
    /// A fault of a page that was served is looked into.
    ServesAgain,
    /// A fetch that failed is made again.
    RetriesFetches,
    /// A page that is lost is poisoned, and not zeros.
    PoisonsLost,
    /// Whoever waits for a page that is given up or moved away is woken.
    WakesRemoved,
    /// Of a request that was done in part, only the part counts as done.
    CountsPartial,
    /// Serving ends when every page is there.
    CompletesFirst,
    /// A page is fetched for who waits, though somebody already fetches it for later.
    DemandOvertakes,
}

/// Which guard is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guards {
    #[cfg(feature = "removable-guards")]
    missing: Option<Guard>,
}

impl Guards {
    #[cfg(feature = "removable-guards")]
    pub(super) fn has(self, guard: Guard) -> bool {
        self.missing != Some(guard)
    }

    #[cfg(not(feature = "removable-guards"))]
    #[expect(clippy::unused_self, reason = "the signature is that of the other build")]
    pub(super) fn has(self, _: Guard) -> bool {
        true
    }
}

#[cfg(feature = "removable-guards")]
impl super::Core {
    /// Leaves a guard out.
    pub fn leave_out(&mut self, guard: Guard) {
        self.guards.missing = Some(guard);
    }
}
