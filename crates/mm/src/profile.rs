//! Which kernel is played: what it offers, where versions differ, which historic bugs are on.
//!
//! A profile is plain data, made of a version. A feature is taken away by clearing its bit; a
//! behaviour is changed by setting its field; a [`Bugs`] field brings a bug back that kernels once
//! had, so that tests can prove that they would find it.

use faultless_pages::{Bytes, PageSize};
use faultless_uapi::KernelVersion;
use faultless_uapi::feature::{Feature, HISTORY};

use crate::errno::{EBUSY, EFAULT, EINVAL, ENOMEM, Errno};

/// A kernel to play.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent behaviours, each switchable")]
pub struct Profile {
    /// What the kernel calls itself; no behaviour hangs on it.
    pub version: KernelVersion,
    /// The base page.
    pub page_size: PageSize,
    /// Feature bits the handshake offers.
    pub features: u64,
    /// Everybody may handle faults of system calls (`vm.unprivileged_userfaultfd`).
    pub unprivileged_allowed: bool,
    /// The transparent huge page, where there is one.
    pub transparent_huge_page: Option<PageSize>,
    /// The hugetlb page, and how many the pool holds.
    pub hugetlb: Option<(PageSize, u64)>,
    /// Slots of the swap area.
    pub swap_slots: usize,
    /// Frames of memory; allocation beyond them is ENOMEM.
    pub frames: usize,
    /// Areas of an address space (`vm.max_map_count`).
    pub areas: usize,
    /// Memory errors are modelled as such (`CONFIG_MEMORY_FAILURE`).
    pub has_memory_failure: bool,
    /// WRITEPROTECT spans areas and holes (6.4).
    pub protection_spans_areas: bool,
    /// CONTINUE can bring pages write-protected (6.4).
    pub continue_takes_wp: bool,
    /// COPY checks its source as a range before it looks at memory (6.6).
    pub copy_checks_its_source: bool,
    /// PAGEMAP_SCAN exists (6.7).
    pub has_scan: bool,
    /// Private memory that is made read-only before it was ever touched counts as promised no
    /// longer (6.7), and does not merge with memory that does.
    pub untouched_is_uncharged: bool,
    /// An object sealed against writes can be mapped shared, to read (6.7).
    pub shares_sealed_objects: bool,
    /// Faults and requests that fill lock the area only, not the map (faults since 6.7, requests
    /// since 6.9; here both at once).
    pub locks_areas: bool,
    /// Droppable memory exists (6.11).
    pub has_droppable: bool,
    /// Collapsing pages of which some are missing, where a userfaultfd waits for them, fails so
    /// (6.12: EBUSY; EINVAL in 6.1).
    pub awaited_pages_refuse_collapse: Errno,
    /// Closing the last descriptor takes protection off the pages (6.12).
    pub closing_clears_protection: bool,
    /// An area that moves without being told of loses its protection too (6.13).
    pub moved_area_loses_wp: bool,
    /// Guards exist (6.13).
    pub has_guards: bool,
    /// DONTNEED gives empty page tables back (6.14, as configured on most machines).
    pub reclaims_tables: bool,
    /// The pagemap shows guards (6.15).
    pub shows_guards: bool,
    /// A pending event is told in the out field too (6.15).
    pub pending_event_in_out_field: bool,
    /// UNREGISTER through a descriptor that does not own the range is refused (6.17).
    pub refuses_foreign_unregister: bool,
    /// Droppable memory cannot be registered (6.17).
    pub refuses_droppable: bool,
    /// A store to the huge page of zeros brings a huge page (6.13), not a base page.
    pub huge_zeros_grow: bool,
    /// The pagemap tells of each page of a huge mapping what it knows of the first (seen on 6.18).
    pub pagemap_tells_first_part: bool,
    /// A huge page that is split leaves parts of zeros to the page of zeros (6.12).
    pub split_drops_zeros: bool,
    /// A store through a base entry reuses a part of a huge page that one process alone maps
    /// (6.15); it was copied before.
    pub reuses_large_pages: bool,
    /// A huge page that MADV_FREE gave up is reclaimed whole (6.11), not split first.
    pub lazy_goes_whole: bool,
    /// `mremap` to a given place takes several areas along (6.17).
    pub moves_many_areas: bool,
    /// MOVE locks the family a page leaves, and walks of the reverse map need not lock the page
    /// (up to 6.17). Since then every walk holds the page.
    pub move_locks_family: bool,
    /// MOVE moves pages behind the first with the tables still locked (6.18).
    pub move_batches: bool,
    /// COPY that finds the hugetlb pool empty says that something is there already (measured on
    /// 6.18), not that there is no memory.
    pub empty_pool_exists: bool,
    /// COPY and CONTINUE leave guards alone (7.2).
    pub copy_respects_guards: bool,
    /// COPY is EAGAIN when it had to read its source with nothing locked and finds another kind
    /// of area afterwards (7.2).
    pub copy_rechecks_area: bool,
    /// What COPY says beyond the end of an object.
    pub copy_beyond_end: Errno,
    /// What CONTINUE says beyond the end of an object.
    pub continue_beyond_end: Errno,
    /// Registering again without write-protection is EBUSY (7.3).
    pub dropping_wp_is_busy: bool,
    /// PAGEMAP_SCAN calls pages written only where write-protection is registered (7.3).
    pub written_needs_wp: bool,
    /// Pages hold identities instead of bytes: a store makes the whole page the word it begins
    /// with. For questions of speed and of order, where bytes would only cost.
    pub identities: bool,
    /// Bugs, of this kernel and of the past.
    pub bugs: Bugs,
}

/// Bugs that kernels have or had. By default all are off; profiles switch on those of their kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent bugs, each switchable")]
pub struct Bugs {
    /// MOVE takes the write-protection off what it moves, and makes it writable.
    pub move_drops_wp: bool,
    /// UNREGISTER wakes nobody where MISSING was not registered.
    pub unregister_leaves_wp_waiters: bool,
    /// COPY and CONTINUE overwrite poison (up to 7.2).
    pub copy_over_poison: bool,
    /// A fault does not look again after it queued itself: a page that came meanwhile wakes
    /// nobody, and who is told EEXIST and wakes nobody leaves the thread asleep for good.
    pub lost_wake: bool,
    /// MOVE does not look for the page in the swap cache (6.8 to 6.13).
    pub move_forgets_swap_cache: bool,
    /// MOVE that found no page in the swap cache does not look again once the tables are locked
    /// (up to 6.15).
    pub move_forgets_swap_recheck: bool,
    /// A walk of the reverse map does not look again, once it has the lock, whether MOVE gave
    /// the page another root meanwhile.
    pub walk_forgets_root_check: bool,
}

impl Bugs {
    /// Those of every kernel up to 7.3.
    pub const UP_TO_7_3: Bugs = Bugs {
        move_drops_wp: true,
        unregister_leaves_wp_waiters: true,
        copy_over_poison: false,
        lost_wake: false,
        move_forgets_swap_cache: false,
        move_forgets_swap_recheck: false,
        walk_forgets_root_check: false,
    };

    /// Those of every kernel up to 7.2.
    pub const UP_TO_7_2: Bugs = Bugs { copy_over_poison: true, ..Bugs::UP_TO_7_3 };
}

impl Profile {
    /// The kernel of a version on x86-64, with everything it can be configured to offer. What
    /// was mended in a stable release is as in its first.
    ///
    /// Bugs that were mended by now are off, those of its MOVE too: switch them on in
    /// [`Profile::bugs`].
    #[must_use]
    pub fn of(version: KernelVersion) -> Profile {
        let since = |major, minor| version >= KernelVersion::new(major, minor);
        let offered = HISTORY.iter().filter(|feature| feature.since <= version);
        Profile {
            version,
            page_size: PageSize::KIB4,
            features: offered.map(Feature::mask).sum(),
            unprivileged_allowed: false,
            transparent_huge_page: Some(PageSize::MIB2),
            hugetlb: Some((PageSize::MIB2, 64)),
            swap_slots: 1 << 16,
            frames: 1 << 24,
            areas: 65530,
            has_memory_failure: false,
            protection_spans_areas: since(6, 4),
            continue_takes_wp: since(6, 4),
            copy_checks_its_source: since(6, 6),
            has_scan: since(6, 7),
            untouched_is_uncharged: since(6, 7),
            shares_sealed_objects: since(6, 7),
            locks_areas: since(6, 9),
            has_droppable: since(6, 11),
            awaited_pages_refuse_collapse: if since(6, 12) { EBUSY } else { EINVAL },
            closing_clears_protection: since(6, 12),
            moved_area_loses_wp: since(6, 13),
            has_guards: since(6, 13),
            huge_zeros_grow: since(6, 13),
            reclaims_tables: since(6, 14),
            shows_guards: since(6, 15),
            pending_event_in_out_field: since(6, 15),
            refuses_foreign_unregister: since(6, 17),
            refuses_droppable: since(6, 17),
            reuses_large_pages: since(6, 15),
            lazy_goes_whole: since(6, 11),
            split_drops_zeros: since(6, 12),
            moves_many_areas: since(6, 17),
            pagemap_tells_first_part: since(6, 18),
            move_locks_family: !since(6, 18),
            move_batches: since(6, 18),
            empty_pool_exists: since(6, 18),
            copy_respects_guards: since(7, 2),
            copy_rechecks_area: since(7, 2),
            copy_beyond_end: if since(7, 2) { ENOMEM } else { EFAULT },
            continue_beyond_end: if since(7, 2) { EFAULT } else { EINVAL },
            dropping_wp_is_busy: since(7, 3),
            written_needs_wp: since(7, 3),
            identities: false,
            bugs: if since(7, 3) { Bugs::UP_TO_7_3 } else { Bugs::UP_TO_7_2 },
        }
    }

    /// Linux 6.1.
    #[must_use]
    pub fn linux_6_1() -> Profile {
        Profile::of(KernelVersion::new(6, 1))
    }

    /// Linux 6.12.
    #[must_use]
    pub fn linux_6_12() -> Profile {
        Profile::of(KernelVersion::new(6, 12))
    }

    /// Linux 6.18.
    #[must_use]
    pub fn linux_6_18() -> Profile {
        Profile::of(KernelVersion::new(6, 18))
    }

    /// Linux 7.2.
    #[must_use]
    pub fn linux_7_2() -> Profile {
        Profile::of(KernelVersion::new(7, 2))
    }

    /// Linux 7.3.
    #[must_use]
    pub fn linux_7_3() -> Profile {
        Profile::of(KernelVersion::new(7, 3))
    }

    /// Says whether every bit of `features` is offered.
    #[must_use]
    pub fn offers(&self, features: u64) -> bool {
        self.features & features == features
    }

    /// What a table of base entries covers: 512 pages.
    pub(crate) fn table_span(&self) -> PageSize {
        let span = Bytes(self.page().0 * 512);
        PageSize::new(span).expect("a power of two")
    }

    /// How many frames a huge page has.
    pub(crate) fn huge_frames(&self) -> usize {
        self.table_span().bytes().as_usize() / self.page().as_usize()
    }

    /// Bytes of a base page.
    #[must_use]
    pub fn page(&self) -> Bytes {
        self.page_size.bytes()
    }
}
