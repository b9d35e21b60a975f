//! Each operation, and each typed outcome the running kernel can be brought to give.

use std::sync::PoisonError;

use crate::common::{Child, FORKS, anonymous, page, page_of, pages, skipped, uffd};
use faultless_pages::{Bytes, VaRange};
use faultless_uffd::{
    ContinueMode, CopyMode, Errno, Features, Ioctls, Mapping, Minor, Missing, Modes, MoveMode, Op,
    Outcome, Pagemap, PagemapEntry, PoisonMode, Protection, ReadWriteProtect, RetryReason, RwpMode,
    Situation, WpMode, WriteProtect, ZeropageMode, read_memory,
};

const COPY: CopyMode = CopyMode { wp: false, dontwake: false };
const ZERO: Bytes = Bytes::ZERO;

fn all_of(len: Bytes) -> Outcome {
    Outcome { done: len, stopped: None }
}

fn stopped(situation: Situation) -> Outcome {
    Outcome { done: ZERO, stopped: Some(situation) }
}

fn entry(mapping: &Mapping, index: u64) -> PagemapEntry {
    let mut entries = [PagemapEntry::default()];
    let range = mapping.range_of(pages(index), pages(1));
    let pagemap = Pagemap::of_self().expect("our own pagemap");
    pagemap.entries(range, &mut entries).expect("our own entries");
    entries[0]
}

fn byte(mapping: &Mapping, index: u64) -> u8 {
    mapping.load_u8(pages(index))
}

/// Maps pages that stay movable when another test forks.
fn movable(count: u64) -> Mapping {
    Mapping::builder(pages(count)).huge_pages(false).dont_fork().anonymous().expect("memory")
}

#[test]
fn copy_fills_a_missing_page_and_reports_a_present_one() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    let mapping = anonymous(2);
    let registered = uffd.register(&mapping, Missing).unwrap();

    assert_eq!(registered.copy(ZERO, &page_of(7), COPY), all_of(pages(1)));

    assert_eq!(byte(&mapping, 0), 7);
    let again = registered.copy(ZERO, &page_of(8), COPY);
    assert_eq!(again, stopped(Situation::AlreadyPresent));
    assert_eq!(byte(&mapping, 0), 7);
}

#[test]
fn copy_that_meets_a_present_page_keeps_its_partial_progress() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    let mapping = anonymous(4);
    mapping.store_u8(pages(2), 1);
    let registered = uffd.register(&mapping, Missing).unwrap();
    let src = page_of(9).repeat(4);

    let outcome = registered.copy(ZERO, &src, COPY);

    let partial = Some(Situation::Retry(RetryReason::Partial));
    assert_eq!(outcome, Outcome { done: pages(2), stopped: partial });
    let rest = registered.copy(outcome.done, &src[..page().bytes().as_usize()], COPY);
    assert_eq!(rest, stopped(Situation::AlreadyPresent));
    assert_eq!([byte(&mapping, 1), byte(&mapping, 2)], [9, 1]);
}

#[test]
fn copy_reads_from_another_mapping_and_reports_one_it_cannot_read() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    let mapping = anonymous(2);
    let registered = uffd.register(&mapping, Missing).unwrap();
    let source = anonymous(1);
    source.store_u8(ZERO, 5);

    assert!(registered.copy_from(ZERO, &source, ZERO, pages(1), COPY).is_complete());

    assert_eq!(byte(&mapping, 0), 5);
    source.protect(source.range(), Protection::None).unwrap();
    let unreadable = registered.copy_from(pages(1), &source, ZERO, pages(1), COPY);
    assert_eq!(unreadable, stopped(Situation::Fault));
}

#[test]
fn copy_installs_a_page_write_protected_where_that_is_registered() {
    let Some(uffd) = uffd(Features::PAGEFAULT_FLAG_WP) else { return };
    let mapping = anonymous(2);
    let protected = CopyMode { wp: true, dontwake: false };
    let registered = uffd.register(&mapping, (Missing, WriteProtect)).unwrap();
    assert!(registered.copy(ZERO, &page_of(1), protected).is_complete());
    assert!(registered.copy(pages(1), &page_of(1), COPY).is_complete());
    assert!(entry(&mapping, 0).is_uffd_wp());
    assert!(!entry(&mapping, 1).is_uffd_wp());

    let other = anonymous(1);
    let registered = uffd.register(&other, Missing).unwrap();
    let refused = registered.copy(ZERO, &page_of(1), protected);
    assert_eq!(refused, stopped(Situation::Refused(Errno::INVAL)));
}

#[test]
fn copy_refuses_a_misaligned_range_and_reports_an_unregistered_one() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    let mapping = anonymous(2);
    let registered = uffd.register_part(&mapping, ZERO, pages(1), Missing).unwrap();
    let misaligned = registered.copy(Bytes(8), &[0; 16], COPY);
    assert_eq!(misaligned, stopped(Situation::Refused(Errno::INVAL)));

    let outside = mapping.range_of(pages(1), pages(1));
    let src = page_of(1);
    // SAFETY: the destination belongs to a mapping, the source is readable for a page.
    let unregistered = unsafe { uffd.copy(outside, src.as_ptr(), COPY) };
    assert_eq!(unregistered, stopped(Situation::NotMapped));
}

#[test]
fn zeropage_fills_a_missing_page_with_zeros() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    let mapping = anonymous(1);
    let registered = uffd.register(&mapping, Missing).unwrap();
    let mode = ZeropageMode::default();
    assert_eq!(registered.zeropage(ZERO, pages(1), mode), all_of(pages(1)));
    assert_eq!(byte(&mapping, 0), 0);
    let again = registered.zeropage(ZERO, pages(1), mode);
    assert_eq!(again, stopped(Situation::AlreadyPresent));
}

#[test]
fn move_takes_pages_without_copying_and_counts_holes_only_if_allowed() {
    let Some(uffd) = uffd(Features::MOVE) else { return };
    let mapping = anonymous(4);
    let source = movable(4);
    source.store_u8(ZERO, 3);
    source.store_u8(pages(2), 4);
    let registered = uffd.register(&mapping, Missing).unwrap();

    let first = registered.move_pages(ZERO, &source, ZERO, pages(4), MoveMode::default());

    let partial = Some(Situation::Retry(RetryReason::Partial));
    assert_eq!(first, Outcome { done: pages(1), stopped: partial });
    let hole = registered.move_pages(pages(1), &source, pages(1), pages(1), MoveMode::default());
    assert_eq!(hole, stopped(Situation::NotMapped));
    let allowed = MoveMode { allow_src_holes: true, dontwake: false };
    let rest = registered.move_pages(pages(1), &source, pages(1), pages(3), allowed);
    assert_eq!(rest, all_of(pages(3)));
    assert!(!entry(&mapping, 1).is_present());
    assert!(!entry(&source, 0).is_present());
    drop(registered);
    assert_eq!([byte(&mapping, 0), byte(&mapping, 2), byte(&source, 0)], [3, 4, 0]);
}

#[test]
fn move_reports_an_occupied_destination_and_refuses_shared_memory() {
    let Some(uffd) = uffd(Features::MOVE) else { return };
    let mapping = anonymous(1);
    let source = movable(1);
    source.store_u8(ZERO, 3);
    mapping.store_u8(ZERO, 4);
    let registered = uffd.register(&mapping, Missing).unwrap();
    let occupied = registered.move_pages(ZERO, &source, ZERO, pages(1), MoveMode::default());
    assert_eq!(occupied, stopped(Situation::AlreadyPresent));

    let shared = Mapping::memfd(pages(1)).unwrap();
    shared.store_u8(ZERO, 3);
    let refused = registered.move_pages(ZERO, &shared, ZERO, pages(1), MoveMode::default());
    assert_eq!(refused, stopped(Situation::Refused(Errno::INVAL)));
}

#[test]
fn move_reports_a_page_shared_with_a_child_as_busy() {
    let Some(uffd) = uffd(Features::MOVE) else { return };
    let mapping = anonymous(1);
    let source = anonymous(1);
    source.store_u8(ZERO, 3);
    let registered = uffd.register(&mapping, Missing).unwrap();
    let _alone = FORKS.lock().unwrap_or_else(PoisonError::into_inner);

    let child = Child::fork();

    let shared = registered.move_pages(ZERO, &source, ZERO, pages(1), MoveMode::default());
    assert_eq!(shared, stopped(Situation::Busy));
    drop(child);
    source.store_u8(ZERO, 4);
    assert!(
        registered.move_pages(ZERO, &source, ZERO, pages(1), MoveMode::default()).is_complete()
    );
    assert_eq!(byte(&mapping, 0), 4);
}

#[test]
fn continue_maps_what_a_second_mapping_filled_and_reports_a_hole() {
    let Some(uffd) = uffd(Features::MINOR_SHMEM) else { return };
    let mapping = Mapping::memfd(pages(2)).unwrap();
    let alias = mapping.alias().unwrap();
    let registered = uffd.register(&mapping, Minor).unwrap();
    let mode = ContinueMode::default();
    assert_eq!(registered.continue_(ZERO, pages(1), mode), stopped(Situation::Fault));

    alias.store_u8(ZERO, 6);

    assert_eq!(registered.continue_(ZERO, pages(1), mode), all_of(pages(1)));
    assert_eq!(byte(&mapping, 0), 6);
    let again = registered.continue_(ZERO, pages(1), mode);
    assert_eq!(again, stopped(Situation::AlreadyPresent));
}

#[test]
fn continue_maps_a_page_write_protected() {
    let Some(uffd) = uffd(Features::MINOR_SHMEM | Features::WP_HUGETLBFS_SHMEM) else { return };
    let mapping = Mapping::memfd(pages(1)).unwrap();
    let alias = mapping.alias().unwrap();
    alias.store_u8(ZERO, 6);
    let registered = uffd.register(&mapping, (WriteProtect, Minor)).unwrap();
    let mode = ContinueMode { wp: true, dontwake: false };
    if registered.continue_(ZERO, pages(1), mode) == stopped(Situation::Refused(Errno::INVAL)) {
        skipped("this kernel has no CONTINUE with write-protection (Linux 6.4)");
        return;
    }
    assert!(entry(&mapping, 0).is_uffd_wp());
}

#[test]
fn write_protect_sets_and_clears_the_bit_and_needs_the_mode() {
    let Some(uffd) = uffd(Features::PAGEFAULT_FLAG_WP) else { return };
    let mapping = anonymous(2);
    mapping.store_u8(ZERO, 1);
    mapping.store_u8(pages(1), 1);
    let registered = uffd.register(&mapping, WriteProtect).unwrap();
    assert!(registered.write_protect(ZERO, pages(2), WpMode::Protect).is_complete());
    assert!(entry(&mapping, 1).is_uffd_wp());
    let unprotect = WpMode::Unprotect { dontwake: false };
    assert_eq!(registered.write_protect(pages(1), pages(1), unprotect), all_of(pages(1)));
    assert!(entry(&mapping, 0).is_uffd_wp());
    assert!(!entry(&mapping, 1).is_uffd_wp());

    let other = anonymous(1);
    let _registered = uffd.register(&other, Missing).unwrap();
    // SAFETY: the range belongs to a mapping of this test.
    let outcome = unsafe { uffd.write_protect(other.range(), WpMode::Protect) };
    assert_eq!(outcome, stopped(Situation::NotMapped));
}

#[test]
fn poison_makes_a_page_unreadable() {
    let Some(uffd) = uffd(Features::POISON) else { return };
    let mapping = anonymous(1);
    let registered = uffd.register(&mapping, Missing).unwrap();
    let mode = PoisonMode::default();
    assert_eq!(registered.poison(ZERO, pages(1), mode), all_of(pages(1)));
    let mut bytes = [0; 1];
    // Reading it here would raise SIGBUS; the kernel's own access fails instead.
    let own = faultless_uffd::Pid::from_raw(std::process::id().cast_signed()).expect("a pid");
    let read = read_memory(own, &[mapping.range_of(ZERO, Bytes(1))], &mut bytes);
    assert!(!matches!(read, Ok(len) if len > 0), "{read:?}");
    let again = registered.poison(ZERO, pages(1), mode);
    assert_eq!(again, stopped(Situation::AlreadyPresent));
}

#[test]
fn read_write_protection_works_or_is_refused_by_name() {
    let Some(plain) = uffd(Features::empty()) else { return };
    let mapping = anonymous(1);
    mapping.store_u8(ZERO, 1);
    if plain.supported().contains(Features::RWP) {
        let Some(uffd) = uffd(Features::RWP | Features::RWP_ASYNC) else { return };
        let registered = uffd.register(&mapping, ReadWriteProtect).unwrap();
        assert!(registered.rw_protect(ZERO, pages(1), RwpMode::Protect).is_complete());
        let unprotect = RwpMode::Unprotect { dontwake: false };
        assert!(registered.rw_protect(ZERO, pages(1), unprotect).is_complete());
        // SAFETY: the only registered range is that of this test.
        unsafe { uffd.set_mode(Features::empty(), Features::RWP_ASYNC) }.unwrap();
        return;
    }
    let error = plain.register(&mapping, ReadWriteProtect).unwrap_err();
    assert_eq!((error.op, error.errno), (Op::Register, Errno::INVAL));
    let _registered = plain.register(&mapping, Missing).unwrap();
    // SAFETY: the range belongs to a mapping of this test.
    let outcome = unsafe { plain.rw_protect(mapping.range(), RwpMode::Protect) };
    assert_eq!(outcome, stopped(Situation::Refused(Errno::INVAL)));
    // SAFETY: the only registered range is that of this test.
    let error = unsafe { plain.set_mode(Features::RWP_ASYNC, Features::empty()) }.unwrap_err();
    assert_eq!((error.op, error.errno), (Op::SetMode, Errno::INVAL));
}

#[test]
fn registering_lists_the_requests_and_errors_name_the_range() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    let mapping = anonymous(2);
    let registered = uffd.register(&mapping, Missing).unwrap();
    assert!(registered.ioctls().contains(Ioctls::WAKE | Ioctls::COPY | Ioctls::ZEROPAGE));
    assert!(!registered.ioctls().contains(Ioctls::WRITEPROTECT));
    assert_eq!(registered.offset_of(mapping.range().start().add(pages(1))), Some(pages(1)));
    assert_eq!(registered.offset_of(mapping.range().end()), None);

    let misaligned = VaRange::of(mapping.range().start().add(Bytes(1)), pages(1));
    // SAFETY: a misaligned range is refused.
    let error = unsafe { uffd.register_range(misaligned, Modes::MISSING) }.unwrap_err();
    assert_eq!((error.op, error.range, error.errno), (Op::Register, misaligned, Errno::INVAL));
    assert!(error.to_string().contains(&misaligned.to_string()));
}

#[test]
fn minor_faults_of_anonymous_memory_are_refused() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    let mapping = anonymous(1);
    let error = uffd.register(&mapping, Minor).unwrap_err();
    assert_eq!(error.errno, Errno::INVAL);
}

#[test]
#[should_panic(expected = "leaves the registered")]
fn an_offset_outside_the_registration_is_a_bug_of_the_caller() {
    let Some(uffd) = uffd(Features::empty()) else { panic!("leaves the registered: skipped") };
    let mapping = anonymous(2);
    let registered = uffd.register_part(&mapping, ZERO, pages(1), Missing).unwrap();
    let _ = registered.zeropage(pages(1), pages(1), ZeropageMode::default());
}
