//! Write-protection of hugetlb memory.

use super::prelude::*;

const WP_FAULT: u64 = fault_flag::WRITE | fault_flag::WP;
const FEATURES: u64 = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM;

fn registered(w: &mut dyn World, memory: Memory) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, FEATURES)?;
    let area = s.map(memory, 2)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    Ok((s, area))
}

fn expect_guarded(s: &mut Stage<'_>, area: &Area, page: u64) -> Verdict {
    let who = s.blocked_store(area.at(page), 7)?;
    s.expect_fault(area.at(page), WP_FAULT)?;
    s.writeprotect(area.one(page), 0)?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(page))?, 7)
}

/// Present huge pages are protected (section 11).
pub(super) fn present_pages_are_protected(w: &mut dyn World) -> Verdict {
    for memory in [Memory::Hugetlb, Memory::PrivateHugetlb] {
        let (mut s, area) = registered(w, memory)?;
        s.protect(area.range())?;
        expect("byte", s.load(area.at(0))?, 1)?;
        expect_guarded(&mut s, &area, 0)?;
        s.world.kill(s.me.process)?;
    }
    Ok(())
}

/// Missing huge pages are protected by markers (section 11).
pub(super) fn missing_pages_are_protected(w: &mut dyn World) -> Verdict {
    for memory in [Memory::Hugetlb, Memory::PrivateHugetlb] {
        let (mut s, area) = registered(w, memory)?;
        s.protect(area.range())?;
        expect_guarded(&mut s, &area, 1)?;
        s.world.kill(s.me.process)?;
    }
    Ok(())
}

/// A range of less than a huge page is EINVAL (section 11).
pub(super) fn ranges_are_whole_huge_pages(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, Memory::Hugetlb)?;
    let page = s.page();
    let wp = mode::writeprotect::WP;
    let short = Range { start: area.start, len: page };
    s.writeprotect(short, wp)?.gives(EINVAL)?;
    let shifted = Range { start: area.start + page, len: area.page_size };
    s.writeprotect(shifted, wp)?.gives(EINVAL)
}

/// COPY with MODE_WP installs a protected huge page (section 8).
pub(super) fn page_can_come_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES | FEATURE_MISSING_HUGETLBFS)?;
    let area = s.map(Memory::Hugetlb, 1)?;
    let flags = map::PRIVATE | map::ANONYMOUS;
    let src = s.map_object(None, 1, area.page_size, flags, prot::READ_WRITE)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.copy(area.range(), src.start, mode::copy::WP)?.done(area.page_size)?;
    expect_guarded(&mut s, &area, 0)
}

/// With WP_ASYNC a store takes the protection off silently (section 11).
pub(super) fn asynchronous_protection_works(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_WP_ASYNC | FEATURE_WP_HUGETLBFS_SHMEM)?;
    let area = s.map(Memory::Hugetlb, 2)?;
    s.store(area.at(0), 1)?;
    s.store(area.at(1), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.store(area.at(0), 2)?;
    s.quiet()?;
    expect("written", s.is_protected(area.at(0))?, false)?;
    expect("not written", s.is_protected(area.at(1))?, true)
}

/// Unregistering takes the protection off (section 4).
pub(super) fn unregistering_takes_it_off(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w, Memory::Hugetlb)?;
    s.protect(area.range())?;
    s.unregister(area.range())?.ok()?;
    s.store(area.at(0), 2)?;
    s.store(area.at(1), 2)
}
