//! Read-and-write protection, new in 7.3.

use faultless_uapi::ioctl::{UFFDIO_RWPROTECT, UFFDIO_SET_MODE};
use faultless_uapi::mode::rwprotect::{DONTWAKE, RWP};

use faultless_uapi::PmScanArg;
use faultless_uapi::scan::category::{PAGE_IS_ACCESSED, PAGE_IS_PRESENT, PAGE_IS_WRITTEN};

use super::prelude::*;
use crate::conform::call::SCAN_ROOM;

/// A populated page registered for RWP.
fn populated<'w>(w: &'w mut dyn World, features: u64) -> Verdict<(Stage<'w>, Area)> {
    let mut s = Stage::open(w, features)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.store(area.at(1), 1)?;
    s.register(area.range(), reg::RWP)?;
    Ok((s, area))
}

/// The same, protected.
fn protected<'w>(w: &'w mut dyn World, features: u64) -> Verdict<(Stage<'w>, Area)> {
    let (mut s, area) = populated(w, features)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    Ok((s, area))
}

/// Any access to a protected page is reported, loads too (section 14).
pub(super) fn loads_wait_too(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    let reader = s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::RWP)?;
    s.send(&request::rwprotect(area.range(), 0))?.ok()?;
    expect("byte", s.loaded(reader)?, 1)
}

/// The mode needs its feature, and excludes WP: EINVAL (section 14).
pub(super) fn mode_excludes_write_protection(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = s.anon(1)?;
    s.send(&request::register(area.range(), reg::RWP | reg::WP))?.refused(EINVAL)?;
    s.register(area.range(), reg::RWP | reg::MISSING)?;
    let plain = s.open_another(USUAL, 0)?;
    let other = s.anon(1)?;
    s.send_to(plain, &request::register(other.range(), reg::RWP))?.refused(EINVAL)
}

/// Protecting with DONTWAKE is EINVAL, memory without the mode ENOENT (section 14).
pub(super) fn arguments_must_be_possible(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP)?;
    s.send(&request::rwprotect(area.range(), RWP | DONTWAKE))?.gives(EINVAL)?;
    let plain = s.anon(1)?;
    s.send(&request::rwprotect(plain.range(), RWP))?.gives(ENOENT)
}

/// Unlike WRITEPROTECT a refusal protects nothing (section 14).
pub(super) fn a_refusal_protects_nothing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.register(area.one(0), reg::RWP)?;
    s.send(&request::rwprotect(area.range(), RWP))?.gives(ENOENT)?;
    expect("byte", s.load(area.at(0))?, 1)?;
    s.quiet()
}

/// In asynchronous mode an access takes the protection off silently (section 14).
pub(super) fn asynchronous_mode_takes_it_off(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP | FEATURE_RWP_ASYNC)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    expect("byte", s.load(area.at(0))?, 1)?;
    s.quiet()?;
    expect("touched", s.is_protected(area.at(0))?, false)?;
    expect("untouched", s.is_protected(area.at(1))?, true)
}

/// SET_MODE switches between the two; enabling wakes the sleepers (section 14).
pub(super) fn modes_can_be_switched(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    let reader = s.blocked_load(area.at(0))?;
    let (on, off) = (FEATURE_RWP_ASYNC, FEATURE_RWP_ASYNC);
    s.send(&request::set_mode(on, off))?.gives(EINVAL)?;
    s.send(&request::set_mode(FEATURE_RWP, 0))?.gives(EINVAL)?;
    s.send(&request::set_mode(on, 0))?.ok()?;
    expect("byte", s.loaded(reader)?, 1)
}

/// A store is reported with both flags, once (section 14).
pub(super) fn stores_wait_too(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    let who = s.blocked_store(area.at(1), 7)?;
    s.expect_fault(area.at(1), fault_flag::RWP | fault_flag::WRITE)?;
    s.send(&request::rwprotect(area.one(1), 0))?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(1))?, 7)?;
    expect("neighbour", s.is_protected(area.at(0))?, true)
}

/// A system call waits too (section 14).
pub(super) fn system_calls_wait_too(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    let who = s.blocked(Call::KernelLoad { at: area.at(0), len: 1 })?;
    s.expect_fault(area.at(0), fault_flag::RWP)?;
    s.send(&request::rwprotect(area.range(), 0))?.ok()?;
    expect("bytes", s.goes_on(who)?.bytes, vec![1])
}

/// Anonymous and shared memory, private mappings of objects (section 14).
pub(super) fn every_memory_can_be_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    for memory in [Memory::Anon, Memory::Shmem, Memory::SharedAnon, Memory::PrivateShmem] {
        let area = s.map(memory, 1)?;
        s.store(area.at(0), 3)?;
        s.register(area.range(), reg::RWP)?;
        s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
        expect("protected", s.is_protected(area.at(0))?, true)?;
        let who = s.blocked_load(area.at(0))?;
        s.expect_fault(area.at(0), fault_flag::RWP)?;
        s.send(&request::rwprotect(area.range(), 0))?.ok()?;
        expect("byte", s.loaded(who)?, 3)?;
    }
    Ok(())
}

/// There are no markers: what is not there stays unprotected (section 14).
pub(super) fn missing_pages_are_left_out(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP | FEATURE_WP_UNPOPULATED)?;
    for memory in [Memory::Anon, Memory::Shmem] {
        let area = s.map(memory, 1)?;
        s.register(area.range(), reg::RWP)?;
        s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
        expect("protected", s.is_protected(area.at(0))?, false)?;
        s.store(area.at(0), 1)?;
    }
    s.quiet()
}

/// The zero page can be protected (section 14).
pub(super) fn zero_page_is_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = s.anon(1)?;
    expect("byte", s.load(area.at(0))?, 0)?;
    s.register(area.range(), reg::RWP)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    let who = s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::RWP)?;
    s.send(&request::rwprotect(area.range(), 0))?.ok()?;
    expect("byte", s.loaded(who)?, 0)
}

/// Dropping pages by advice drops it, in shared memory too (section 14).
pub(super) fn dropping_pages_drops_it(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    for memory in [Memory::Anon, Memory::Shmem] {
        let area = s.map(memory, 1)?;
        s.store(area.at(0), 3)?;
        s.register(area.range(), reg::RWP)?;
        s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
        s.advise(area.range(), advice::DONTNEED)?;
        expect("protected", s.is_protected(area.at(0))?, false)?;
        s.store(area.at(0), 4)?;
    }
    s.quiet()
}

/// Protecting never wakes; unprotecting does, unless told DONTWAKE (section 14).
pub(super) fn unprotecting_wakes_unless_told_not_to(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    let who = s.blocked_load(area.at(0))?;
    s.message()?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    s.still_blocked(who)?;
    s.send(&request::rwprotect(area.range(), DONTWAKE))?.ok()?;
    s.still_blocked(who)?;
    s.wake(area.range())?;
    expect("byte", s.loaded(who)?, 1)
}

/// UNREGISTER opens the pages (section 14).
pub(super) fn unregistering_takes_it_off(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    s.unregister(area.range())?.ok()?;
    expect("protected", s.is_protected(area.at(0))?, false)?;
    expect("byte", s.load(area.at(0))?, 1)
}

/// Closing the last descriptor opens the pages, and who waits goes on (section 14).
pub(super) fn closing_takes_it_off(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    let who = s.blocked_load(area.at(0))?;
    s.value(Call::Close { fd: s.fd })?;
    expect("byte", s.loaded(who)?, 1)?;
    expect("protected", s.is_protected(area.at(1))?, false)
}

/// Registering again without the mode is EBUSY (section 14).
pub(super) fn registration_cannot_drop_it(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    s.send(&request::register(area.range(), reg::MISSING))?.refused(EBUSY)?;
    s.send(&request::register(area.range(), reg::WP))?.refused(EBUSY)?;
    s.register(area.range(), reg::RWP | reg::MISSING).map(|_| ())
}

/// Memory without any access cannot be registered for it: EINVAL (section 3).
pub(super) fn inaccessible_memory_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = s.anon(1)?;
    s.mprotect(area.range(), 0)?;
    s.send(&request::register(area.range(), reg::RWP))?.refused(EINVAL)
}

/// Without EVENT_FORK a child's pages are open (section 14).
pub(super) fn child_without_event_is_unprotected(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    let child = s.fork()?;
    let done = s.call_in(child, Call::Load { at: area.at(0), len: 1 })?;
    expect("child", done.bytes, vec![1])?;
    expect("parent", s.is_protected(area.at(0))?, true)
}

/// With EVENT_FORK they stay protected, and the child's descriptor tells (section 14).
pub(super) fn event_keeps_protection_in_the_child(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP | FEATURE_EVENT_FORK)?;
    let forking = s.blocked(Call::Fork)?;
    let fork = s.next_message()?;
    expect("event", fork.event, event::FORK)?;
    let child = child_thread(s.goes_on(forking)?.result.unwrap_or(0))?;
    let fd = s.fd;
    expect("child", s.acting(child, fd, |s| s.is_protected(area.at(0)))?, true)
}

/// A mapping that moves without EVENT_REMAP is unprotected (section 14).
pub(super) fn moved_mapping_without_event_is_unprotected(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    let moved = s.move_mapping(&area, remap::MAYMOVE | remap::FIXED)?;
    expect("protected", s.is_protected(moved.at(0))?, false)?;
    expect("byte", s.load(moved.at(0))?, 1)
}

/// A page that COPY installs is open, and can be protected afterwards (section 14).
pub(super) fn copied_pages_come_open(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::RWP | reg::MISSING)?;
    s.fill(area.range(), 6, 0)?;
    expect("byte", s.load(area.at(0))?, 6)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::RWP)
}

/// ACCESSED is told of present pages without protection, where the mode is registered; WRITTEN is
/// not (sections 12, 14).
pub(super) fn accessed_pages_are_told(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP | FEATURE_RWP_ASYNC)?;
    expect("byte", s.load(area.at(1))?, 1)?;
    let known = PAGE_IS_ACCESSED | PAGE_IS_WRITTEN | PAGE_IS_PRESENT;
    let arg = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        start: area.start,
        end: area.range().end(),
        vec: SCAN_ROOM,
        vec_len: 8,
        return_mask: known,
        ..PmScanArg::default()
    };
    let regions = s.scan(arg)?.regions;
    let told: Vec<u64> = regions.iter().map(|region| region.categories).collect();
    expect("told", told, vec![PAGE_IS_PRESENT, PAGE_IS_PRESENT | PAGE_IS_ACCESSED])?;
    let plain = s.anon(1)?;
    s.store(plain.at(0), 1)?;
    let arg = PmScanArg { start: plain.start, end: plain.range().end(), ..arg };
    let regions = s.scan(arg)?.regions;
    expect("plain", regions.first().map(|region| region.categories), Some(PAGE_IS_PRESENT))
}

/// A page shared with a child is opened by a load and copied by a store (section 14).
pub(super) fn a_page_shared_with_a_child_is_copied_only_when_written(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP | FEATURE_RWP_ASYNC)?;
    let child = s.fork()?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    expect("byte", s.load(area.at(0))?, 1)?;
    expect("opened", s.is_protected(area.at(0))?, false)?;
    s.store(area.at(1), 9)?;
    expect("written", s.load(area.at(1))?, 9)?;
    let done = s.call_in(child, Call::Load { at: area.at(1), len: 1 })?;
    expect("child", done.bytes, vec![1])
}

/// A page in swap is protected where it lies: it comes back closed, and is reported (section 14).
pub(super) fn swapped_pages_are_protected(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP)?;
    if !s.profile().has_swap {
        return skip("no swap here and no swap file could be made");
    }
    s.advise(area.range(), advice::PAGEOUT)?;
    if !s.is_swapped(area.at(0))? {
        return skip("the kernel would not swap the page out");
    }
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    let who = s.blocked_store(area.at(0), 8)?;
    s.expect_fault(area.at(0), fault_flag::RWP | fault_flag::WRITE)?;
    s.send(&request::rwprotect(area.range(), 0))?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 8)
}

/// Huge memory, and registered for RWP; skips where none is to be had.
fn huge(s: &mut Stage<'_>) -> Verdict<Area> {
    let (area, _) = s.huge_anon(1)?;
    s.store(area.at(0), 5)?;
    if s.value(Call::HugeBytes { at: area.at(0) })? == 0 {
        return skip("no huge page was free when one was wanted");
    }
    s.register(area.range(), reg::RWP)?;
    Ok(area)
}

/// A huge page is protected whole, and opened whole where accesses are only recorded (section 14).
pub(super) fn huge_pages_are_protected_whole(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP | FEATURE_RWP_ASYNC)?;
    let area = huge(&mut s)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    expect("protected", s.is_protected(area.at(9))?, true)?;
    expect("byte", s.load(area.at(0))?, 5)?;
    expect("opened", s.is_protected(area.at(9))?, false)?;
    expect("huge", s.value(Call::HugeBytes { at: area.at(0) })? > 0, true)
}

/// A part of one is protected by splitting it (section 14).
pub(super) fn huge_pages_are_split_for_a_part(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = huge(&mut s)?;
    s.send(&request::rwprotect(area.one(3), RWP))?.ok()?;
    expect("part", s.is_protected(area.at(3))?, true)?;
    expect("rest", s.is_protected(area.at(4))?, false)?;
    let who = s.blocked_load(area.at(3))?;
    s.expect_fault(area.at(3), fault_flag::RWP)?;
    s.send(&request::rwprotect(area.range(), 0))?.ok()?;
    expect("byte", s.loaded(who)?, 0)
}

/// It survives mprotect to no access and back (section 14).
pub(super) fn it_survives_mprotect(w: &mut dyn World) -> Verdict {
    let (mut s, area) = protected(w, FEATURE_RWP)?;
    s.mprotect(area.range(), 0)?;
    s.mprotect(area.range(), prot::READ_WRITE)?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::RWP)
}

/// What MOVE brings to memory registered for it arrives protected, whatever it was (sections 13,
/// 14).
pub(super) fn moved_pages_arrive_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP | FEATURE_MOVE)?;
    let area = s.anon(2)?;
    let src = s.anon(2)?;
    s.store(src.at(0), 7)?;
    expect("zeros", s.load(src.at(1))?, 0)?;
    s.register(area.range(), reg::RWP)?;
    s.move_pages(area.range(), src.start, 0)?.done(2 * area.page_size)?;
    for (page, byte) in [(0, 7), (1, 0)] {
        expect("protected", s.is_protected(area.at(page))?, true)?;
        let who = s.blocked_load(area.at(page))?;
        s.expect_fault(area.at(page), fault_flag::RWP)?;
        s.send(&request::rwprotect(area.one(page), 0))?.ok()?;
        expect("byte", s.loaded(who)?, byte)?;
    }
    Ok(())
}

/// Arguments that cannot be read are EFAULT (section 14).
pub(super) fn unreadable_arguments_fault(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    for request in [UFFDIO_RWPROTECT, UFFDIO_SET_MODE] {
        s.refuses(Call::IoctlWord { fd: s.fd, request, word: NOWHERE }, EFAULT)?;
    }
    Ok(())
}

/// Unaligned and empty ranges are EINVAL; where nothing is mapped it is ENOENT, and holes between
/// mappings are passed over (section 14).
pub(super) fn ranges_must_be_possible(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = s.anon(3)?;
    s.store(area.at(0), 1)?;
    s.store(area.at(2), 1)?;
    s.register(area.range(), reg::RWP)?;
    let Range { start, len } = area.range();
    for range in [Range { start: start + 1, len }, Range { start, len: 0 }] {
        s.send(&request::rwprotect(range, RWP))?.gives(EINVAL)?;
    }
    s.unmap(area.one(1))?;
    s.send(&request::rwprotect(area.one(1), RWP))?.gives(ENOENT)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    expect("behind the hole", s.is_protected(area.at(2))?, true)
}

/// A mode that was not asked for in the handshake cannot be switched on, and one that is on can be
/// switched off: accesses wait again (section 14).
pub(super) fn modes_can_be_switched_off(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP | FEATURE_RWP_ASYNC)?;
    s.send(&request::set_mode(0, FEATURE_RWP_ASYNC))?.ok()?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::RWP)?;
    s.fd = s.open_another(USUAL, 0)?;
    s.send(&request::set_mode(FEATURE_RWP_ASYNC, 0))?.gives(EINVAL)
}
