//! What a world can do, and the behaviours in which kernels differ.
//!
//! Abilities are probed by the world. The few behaviours that changed without a feature bit are
//! told by the version; where a fix was also carried to older stable kernels, both are right.

use faultless_uapi::KernelVersion;

/// What a world can do.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent abilities, each probed alone")]
pub struct Profile {
    /// The kernel version it behaves like.
    pub version: KernelVersion,
    /// Bytes of a base page.
    pub page_size: u64,
    /// Why no userfaultfd can be opened; `None` when one can.
    pub closed: Option<String>,
    /// Every feature bit the handshake offers.
    pub features: u64,
    /// Descriptor-wide requests the handshake reports.
    pub api_ioctls: u64,
    /// A process starts with CAP_SYS_PTRACE.
    pub privileged: bool,
    /// The setting that lets everybody use userfaultfd.
    pub unprivileged_allowed: bool,
    /// The device node exists.
    pub has_device: bool,
    /// Bytes of a transparent huge page, where `madvise` gives one.
    pub transparent_huge_page: Option<u64>,
    /// Bytes of a hugetlb page, where some are reserved.
    pub hugetlb_page: Option<u64>,
    /// Reclaimed anonymous memory has somewhere to go.
    pub has_swap: bool,
    /// Regular files can be made.
    pub has_regular_files: bool,
    /// Memory errors are modelled as such (CONFIG_MEMORY_FAILURE).
    pub has_memory_failure: bool,
    /// `PAGEMAP_SCAN` exists.
    pub has_scan: bool,
    /// Pages of a process can be pinned for good through an io_uring.
    pub has_pinning: bool,
    /// The heap of a process can be given another place (CAP_SYS_RESOURCE).
    pub places_heap: bool,
}

/// What a version promises about a behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It behaves so.
    Yes,
    /// It does not.
    No,
    /// Either, for fixes were carried back.
    Either,
}

impl Promise {
    /// Says whether an observation keeps the promise.
    #[must_use]
    pub fn allows(self, observed: bool) -> bool {
        match self {
            Promise::Yes => observed,
            Promise::No => !observed,
            Promise::Either => true,
        }
    }
}

impl Profile {
    /// A release with base pages of 4 KiB and no ability that would have to be probed.
    #[must_use]
    pub fn bare(version: KernelVersion) -> Profile {
        Profile {
            version,
            page_size: 4096,
            closed: None,
            features: 0,
            api_ioctls: 0,
            privileged: true,
            unprivileged_allowed: false,
            has_device: true,
            transparent_huge_page: None,
            hugetlb_page: None,
            has_swap: false,
            has_regular_files: false,
            has_memory_failure: false,
            has_scan: false,
            has_pinning: false,
            places_heap: false,
        }
    }

    fn is_at_least(&self, major: u16, minor: u16) -> bool {
        self.version >= KernelVersion::new(major, minor)
    }

    fn since(&self, major: u16, minor: u16) -> Promise {
        if self.is_at_least(major, minor) { Promise::Yes } else { Promise::No }
    }

    /// Private memory that is made read-only before it was ever touched stays apart from a
    /// read-only neighbour that was.
    #[must_use]
    pub fn untouched_stays_apart(&self) -> Promise {
        if self.is_at_least(6, 7) { Promise::Yes } else { Promise::Either }
    }

    /// A store reuses a part of a huge page that one process alone maps.
    #[must_use]
    pub fn large_pages_are_reused(&self) -> Promise {
        self.since(6, 15)
    }

    /// Says whether every bit of `features` is offered.
    #[must_use]
    pub fn offers(&self, features: u64) -> bool {
        self.features & features == features
    }

    /// A request turned away by a pending event says `-EAGAIN` in its out field: since 6.15,
    /// and on stable kernels that took the fix.
    #[must_use]
    pub fn pending_event_is_in_out_field(&self) -> Promise {
        if self.is_at_least(6, 15) { Promise::Yes } else { Promise::Either }
    }

    /// UNREGISTER through a userfaultfd that does not own the range is refused: since 6.17.
    #[must_use]
    pub fn foreign_unregister_is_refused(&self) -> Promise {
        self.since(6, 17)
    }

    /// Droppable mappings cannot be registered: since 6.17. They exist since 6.11.
    #[must_use]
    pub fn droppable_is_refused(&self) -> Promise {
        self.since(6, 17)
    }

    /// COPY and CONTINUE leave guard markers alone: since 7.2.
    #[must_use]
    pub fn copy_respects_guards(&self) -> Promise {
        self.since(7, 2)
    }

    /// COPY and CONTINUE leave poison alone: not up to 7.2.
    #[must_use]
    pub fn copy_respects_poison(&self) -> Promise {
        if self.is_at_least(7, 3) { Promise::Either } else { Promise::No }
    }

    /// COPY that finds the hugetlb pool empty is EEXIST: so measured on 6.18. It was ENOMEM once.
    #[must_use]
    pub fn empty_pool_exists(&self) -> Promise {
        match (self.is_at_least(6, 18), self.is_at_least(7, 0)) {
            (true, false) => Promise::Yes,
            _ => Promise::Either,
        }
    }

    /// `mremap` moves several mappings at once to a given place: since 6.17.
    #[must_use]
    pub fn mappings_move_together(&self) -> Promise {
        self.since(6, 17)
    }

    /// Beyond the end of an object COPY is EFAULT and CONTINUE is EINVAL: up to 6.18. In 7.2 they
    /// are ENOMEM and EFAULT.
    #[must_use]
    pub fn tells_the_end_of_an_object(&self) -> Promise {
        match (self.is_at_least(7, 0), self.is_at_least(7, 2)) {
            (false, _) => Promise::Yes,
            (true, false) => Promise::Either,
            (true, true) => Promise::No,
        }
    }

    /// Registering again without write-protection is EBUSY: since 7.3.
    #[must_use]
    pub fn dropping_wp_is_busy(&self) -> Promise {
        self.since(7, 3)
    }

    /// PAGEMAP_SCAN calls pages written only where write-protection is registered: since 7.3.
    #[must_use]
    pub fn written_needs_wp(&self) -> Promise {
        self.since(7, 3)
    }

    /// A mapping that moves without EVENT_REMAP loses its write-protection too: since 6.13.
    #[must_use]
    pub fn moved_mapping_loses_wp(&self) -> Promise {
        if self.is_at_least(6, 13) { Promise::Yes } else { Promise::Either }
    }

    /// A store over the huge page of zeros brings a huge page: since 6.13.
    #[must_use]
    pub fn huge_zeros_grow(&self) -> bool {
        self.is_at_least(6, 13)
    }

    /// Closing the last descriptor takes write-protection off the pages: since 6.12. Before, the
    /// bits stayed, without effect.
    #[must_use]
    pub fn closing_clears_protection(&self) -> Promise {
        if self.is_at_least(6, 12) { Promise::Yes } else { Promise::Either }
    }

    /// Collapsing base pages where a userfaultfd waits for the missing ones is EBUSY: in 6.12. In
    /// 6.1 it was EINVAL.
    #[must_use]
    pub fn awaited_pages_make_collapse_busy(&self) -> Promise {
        if self.is_at_least(6, 12) { Promise::Yes } else { Promise::Either }
    }

    /// COPY checks its source as a range, EINVAL before it looks at memory: since 6.6.
    #[must_use]
    pub fn copy_checks_its_source(&self) -> Promise {
        if self.is_at_least(6, 6) { Promise::Yes } else { Promise::Either }
    }

    /// WRITEPROTECT may span mappings and holes: since 6.4. Before, more than one mapping was
    /// ENOENT.
    #[must_use]
    pub fn protection_spans_mappings(&self) -> bool {
        self.is_at_least(6, 4)
    }

    /// `MADV_GUARD_INSTALL` exists: since 6.13.
    #[must_use]
    pub fn has_guards(&self) -> bool {
        self.is_at_least(6, 13)
    }

    /// The pagemap shows guards: since 6.15.
    #[must_use]
    pub fn shows_guards(&self) -> bool {
        self.is_at_least(6, 15)
    }

    /// CONTINUE takes a write-protect mode: since 6.4.
    #[must_use]
    pub fn continue_takes_wp(&self) -> bool {
        self.is_at_least(6, 4)
    }

    /// The `si_code` of SIGBUS on a poisoned page.
    #[must_use]
    pub fn poison_code(&self) -> u64 {
        use super::linux::code;
        if self.has_memory_failure { code::BUS_MCEERR_AR } else { code::BUS_ADRERR }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(major: u16, minor: u16) -> Profile {
        Profile::bare(KernelVersion::new(major, minor))
    }

    #[test]
    fn behaviours_change_with_the_version_they_changed_in() {
        assert_eq!(of(6, 16).foreign_unregister_is_refused(), Promise::No);
        assert_eq!(of(6, 17).foreign_unregister_is_refused(), Promise::Yes);
        assert_eq!(of(6, 18).copy_respects_guards(), Promise::No);
        assert_eq!(of(7, 2).copy_respects_guards(), Promise::Yes);
        assert_eq!(of(6, 18).tells_the_end_of_an_object(), Promise::Yes);
        assert_eq!(of(7, 1).tells_the_end_of_an_object(), Promise::Either);
        assert_eq!(of(7, 2).dropping_wp_is_busy(), Promise::No);
        assert_eq!(of(7, 3).dropping_wp_is_busy(), Promise::Yes);
    }

    #[test]
    fn fixes_carried_back_allow_either() {
        let promise = of(6, 12).pending_event_is_in_out_field();
        assert!(promise.allows(true));
        assert!(promise.allows(false));
        assert!(!of(6, 15).pending_event_is_in_out_field().allows(false));
    }

    #[test]
    fn features_are_offered_all_or_not() {
        let profile = Profile { features: 0b110, ..of(6, 18) };
        assert!(profile.offers(0b100));
        assert!(!profile.offers(0b101));
    }
}
