//! The behaviours in which kernels differ without a feature bit: what each release promises, the
//! body that tells one from the other, and what a world was observed to do.
//!
//! # How a behaviour is observed
//! Its body runs in a world that believes itself to be of a release that promises the behaviour.
//! If the body passes, the world behaves so. If not, it runs again with the belief of a release
//! that does not promise it.

use faultless_uapi::KernelVersion;

use super::cases::{CASES, Case};
use super::profile::{Profile, Promise};
use super::run::{Worlds, judge};
use super::verdict::Failure;

/// Releases a world can be made to believe in, oldest first.
const RELEASES: &[(u16, std::ops::RangeInclusive<u16>)] = &[(5, 4..=19), (6, 0..=19), (7, 0..=3)];

/// A behaviour some releases have and others do not.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// The behaviour, as a sentence.
    pub what: &'static str,
    /// What a release promises about it.
    pub promise: fn(&Profile) -> Promise,
    /// The full name of the body that tells.
    pub case: &'static str,
}

/// What a world was observed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It behaves so.
    Yes,
    /// It does not.
    No,
    /// It does something no release promises.
    Neither,
    /// Nobody can tell here.
    Unknown,
}

impl Observed {
    /// Says whether the observation keeps a promise; one that was not made keeps any.
    #[must_use]
    pub fn keeps(self, promise: Promise) -> bool {
        match self {
            Observed::Yes => promise.allows(true),
            Observed::No => promise.allows(false),
            Observed::Neither => false,
            Observed::Unknown => true,
        }
    }
}

/// Every behaviour of [`Profile`] that hangs on the release.
pub const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        what: "a request turned away by a pending event says -EAGAIN in its out field",
        promise: Profile::pending_event_is_in_out_field,
        case: "mmap_changing::filling_is_put_off",
    },
    Behaviour {
        what: "UNREGISTER through a userfaultfd that does not own the range is refused",
        promise: Profile::foreign_unregister_is_refused,
        case: "unregister::memory_of_another_is_invalid",
    },
    Behaviour {
        what: "memory made read-only before it was touched does not merge with touched memory",
        promise: Profile::untouched_stays_apart,
        case: "move_huge::untouched_memory_stays_apart",
    },
    Behaviour {
        what: "a store reuses a part of a huge page that one process alone maps",
        promise: Profile::large_pages_are_reused,
        case: "move_huge::part_is_kept_once_nobody_shares_it",
    },
    Behaviour {
        what: "droppable mappings cannot be registered",
        promise: Profile::droppable_is_refused,
        case: "register_memory::droppable_memory_is_refused",
    },
    Behaviour {
        what: "COPY and CONTINUE leave guard markers alone",
        promise: Profile::copy_respects_guards,
        case: "copy::guard_gives_way_or_exists",
    },
    Behaviour {
        what: "COPY that finds the hugetlb pool empty is EEXIST",
        promise: Profile::empty_pool_exists,
        case: "hugetlb::empty_pool_stops_it",
    },
    Behaviour {
        what: "mremap moves several mappings at once",
        promise: Profile::mappings_move_together,
        case: "register::mappings_move_together_or_not",
    },
    Behaviour {
        what: "beyond the end of an object COPY is EFAULT and CONTINUE is EINVAL",
        promise: Profile::tells_the_end_of_an_object,
        case: "copy::beyond_the_end_of_the_object_is_refused",
    },
    Behaviour {
        what: "COPY and CONTINUE leave poison alone",
        promise: Profile::copy_respects_poison,
        case: "copy::poison_gives_way_or_exists",
    },
    Behaviour {
        what: "registering again without write-protection is EBUSY",
        promise: Profile::dropping_wp_is_busy,
        case: "register::asking_for_another_mode_replaces",
    },
    Behaviour {
        what: "PAGEMAP_SCAN calls pages written only where write-protection is registered",
        promise: Profile::written_needs_wp,
        case: "pagemap_scan::plain_memory_counts_as_written",
    },
    Behaviour {
        what: "a mapping that moves without EVENT_REMAP loses its write-protection too",
        promise: Profile::moved_mapping_loses_wp,
        case: "events::moved_mapping_without_event_is_unprotected",
    },
    Behaviour {
        what: "collapsing where a userfaultfd waits for missing pages is EBUSY",
        promise: Profile::awaited_pages_make_collapse_busy,
        case: "move_huge::refused_collapse_says_why",
    },
    Behaviour {
        what: "closing the last descriptor takes write-protection off the pages",
        promise: Profile::closing_clears_protection,
        case: "lifetime::closing_takes_protection_off",
    },
    Behaviour {
        what: "COPY checks its source as a range before it looks at memory",
        promise: Profile::copy_checks_its_source,
        case: "copy::source_must_be_possible",
    },
    Behaviour {
        what: "WRITEPROTECT may span mappings and holes",
        promise: |profile| ability(profile.protection_spans_mappings()),
        case: "write_protect::range_may_span_mappings",
    },
    Behaviour {
        what: "CONTINUE takes a write-protect mode",
        promise: |profile| ability(profile.continue_takes_wp()),
        case: "continue_::page_can_come_protected",
    },
    Behaviour {
        what: "MADV_GUARD_INSTALL exists",
        promise: |profile| ability(profile.has_guards()),
        case: "zeropage::markers_exist",
    },
    Behaviour {
        what: "the pagemap shows guards",
        promise: |profile| ability(profile.shows_guards()),
        case: "pagemap_entry::guard_is_bit_58",
    },
    Behaviour {
        what: "a store over the huge page of zeros brings a huge page",
        promise: |profile| ability(profile.huge_zeros_grow()),
        case: "move_huge::store_over_huge_zeros",
    },
];

fn ability(there: bool) -> Promise {
    if there { Promise::Yes } else { Promise::No }
}

impl Behaviour {
    /// Finds out what the worlds do.
    #[must_use]
    pub fn observe(&self, worlds: &dyn Worlds) -> Observed {
        let Some(case) = self.body() else { return Observed::Unknown };
        let believing = |in_it: fn(Promise) -> bool| {
            let profile = self.nearest(worlds.profile(), in_it)?;
            Some(judge(case, worlds, &profile))
        };
        match believing(|promise| promise == Promise::Yes) {
            Some(Ok(())) => return Observed::Yes,
            Some(Err(Failure::Skip(_))) => return Observed::Unknown,
            Some(Err(_)) | None => {}
        }
        match believing(|promise| promise != Promise::Yes) {
            // A body skips where it is told that a release lacks what it is about.
            Some(Ok(()) | Err(Failure::Skip(_))) => Observed::No,
            Some(Err(_)) => Observed::Neither,
            None => Observed::Unknown,
        }
    }

    fn body(&self) -> Option<&'static Case> {
        CASES.iter().find(|case| case.full_name() == self.case)
    }

    /// Takes the release nearest to the world's own that promises what `fits`, so that whatever
    /// else the body expects of the release is likely to hold.
    fn nearest(&self, profile: &Profile, fits: fn(Promise) -> bool) -> Option<Profile> {
        let releases = releases();
        let own = releases.partition_point(|release| *release < profile.version);
        let believed =
            releases.iter().map(|&version| Profile { version, ..profile.clone() }).enumerate();
        let fitting = believed.filter(|(_, believed)| fits((self.promise)(believed)));
        let nearest = fitting.min_by_key(|(index, _)| index.abs_diff(own));
        nearest.map(|(_, believed)| believed)
    }
}

fn releases() -> Vec<KernelVersion> {
    let of = |(major, minors): &(u16, std::ops::RangeInclusive<u16>)| {
        let major = *major;
        minors.clone().map(move |minor| KernelVersion::new(major, minor))
    };
    RELEASES.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_behaviour_has_a_body() {
        for behaviour in BEHAVIOURS {
            assert!(behaviour.body().is_some(), "{}", behaviour.case);
        }
    }

    #[test]
    fn every_promise_that_hangs_on_the_release_is_listed() {
        let source = include_str!("profile.rs");
        let promises = source.matches("(&self) -> Promise").count();
        let abilities = source.matches("(&self) -> bool").count();
        assert_eq!(BEHAVIOURS.len(), promises + abilities);
    }

    #[test]
    fn an_observation_keeps_promises_that_allow_it() {
        assert!(Observed::No.keeps(Promise::Either));
        assert!(!Observed::Yes.keeps(Promise::No));
        assert!(!Observed::Neither.keeps(Promise::Either));
        assert!(Observed::Unknown.keeps(Promise::Yes));
    }
}
