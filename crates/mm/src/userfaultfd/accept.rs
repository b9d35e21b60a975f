//! Which areas can be registered, and for what.

use faultless_uapi::feature::{
    FEATURE_MINOR_HUGETLBFS, FEATURE_MINOR_SHMEM, FEATURE_MISSING_HUGETLBFS, FEATURE_MISSING_SHMEM,
    FEATURE_MOVE, FEATURE_PAGEFAULT_FLAG_WP, FEATURE_POISON, FEATURE_RWP,
    FEATURE_WP_HUGETLBFS_SHMEM,
};
use faultless_uapi::ioctl::nr;
use faultless_uapi::mode::register;

use crate::kernel::State;
use crate::machine::Kind;
use crate::process::{Area, Backing};

impl State {
    /// Says whether an area can be registered for these modes at all, whoever asks.
    pub(super) fn accepts(&self, area: &Area, modes: u64, wp_async: bool) -> bool {
        if area.traits.droppable && self.profile.refuses_droppable {
            return false;
        }
        // Recording writes works on anything, as long as it is all that is asked for.
        let only_records = wp_async && modes == register::WP;
        let needs = |mode: u64, feature: u64| modes & mode == 0 || self.profile.offers(feature);
        let object = needs(register::WP, FEATURE_WP_HUGETLBFS_SHMEM);
        match area.backing {
            Backing::Anonymous => modes & register::MINOR == 0,
            Backing::Object { kind: Kind::Shmem, .. } => {
                object
                    && needs(register::MISSING, FEATURE_MISSING_SHMEM)
                    && needs(register::MINOR, FEATURE_MINOR_SHMEM)
            }
            Backing::Object { kind: Kind::Hugetlb(_), .. } => {
                object
                    && needs(register::MISSING, FEATURE_MISSING_HUGETLBFS)
                    && needs(register::MINOR, FEATURE_MINOR_HUGETLBFS)
            }
            Backing::Object { kind: Kind::Regular, .. } => object && only_records,
            Backing::Object { kind: Kind::Special, .. } => false,
        }
    }

    /// The mode bits REGISTER knows.
    pub(super) fn known_modes(&self) -> u64 {
        let minor = self.profile.features & (FEATURE_MINOR_HUGETLBFS | FEATURE_MINOR_SHMEM) != 0;
        let rwp = self.profile.offers(FEATURE_RWP);
        let wp = self.profile.offers(FEATURE_PAGEFAULT_FLAG_WP);
        register::MISSING
            | if wp { register::WP } else { 0 }
            | if minor { register::MINOR } else { 0 }
            | if rwp { register::RWP } else { 0 }
    }

    /// The requests told to make sense on a range. The kernel tells MOVE and ZEROPAGE for shared
    /// memory too, where MOVE never works.
    pub(super) fn offered(&self, modes: u64, hugetlb: bool) -> u64 {
        let bit = |number: u8, given: bool| u64::from(given) << number;
        let asked = |mode: u64| modes & mode != 0;
        bit(nr::WAKE, true)
            | bit(nr::COPY, true)
            | bit(nr::ZEROPAGE, !hugetlb)
            | bit(nr::MOVE, !hugetlb && self.profile.offers(FEATURE_MOVE))
            | bit(nr::POISON, self.profile.offers(FEATURE_POISON))
            | bit(nr::WRITEPROTECT, asked(register::WP))
            | bit(nr::CONTINUE, asked(register::MINOR))
            | bit(nr::RWPROTECT, asked(register::RWP))
    }
}
