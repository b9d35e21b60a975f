//! Write-protection of each kind of memory: present pages, missing pages, how long it lasts.

use super::prelude::*;

const WP_FAULT: u64 = fault_flag::WRITE | fault_flag::WP;
const FEATURES: u64 = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_HUGETLBFS_SHMEM;
const SHARED: [Memory; 2] = [Memory::Shmem, Memory::SharedAnon];

/// Expects a store to wait for unprotection and then to go on.
fn expect_guarded(s: &mut Stage<'_>, area: &Area, page: u64) -> Verdict {
    expect("protected", s.is_protected(area.at(page))?, true)?;
    let who = s.blocked_store(area.at(page), 77)?;
    s.expect_fault(area.at(page), WP_FAULT)?;
    s.writeprotect(area.one(page), 0)?.ok()?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(page))?, 77)
}

/// Pages that are present are protected in every kind of memory (section 11).
pub(super) fn present_pages_are_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    for memory in [Memory::Anon, Memory::Shmem, Memory::PrivateShmem, Memory::SharedAnon] {
        let area = s.map(memory, 1)?;
        s.store(area.at(0), 1)?;
        s.register(area.range(), reg::WP)?;
        s.protect(area.range())?;
        expect_guarded(&mut s, &area, 0)?;
    }
    Ok(())
}

/// Missing pages of shared memory are protected by a marker, without any further feature
/// (section 11).
pub(super) fn missing_shared_pages_are_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    for memory in [Memory::Shmem, Memory::SharedAnon, Memory::PrivateShmem] {
        let area = s.map(memory, 1)?;
        s.register(area.range(), reg::WP)?;
        s.protect(area.range())?;
        expect("present", s.is_present(area.at(0))?, false)?;
        expect_guarded(&mut s, &area, 0)?;
    }
    Ok(())
}

/// A page the object holds but the mapping lacks is protected by a marker; reading it keeps the
/// protection (section 11).
pub(super) fn unmapped_object_pages_are_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 6)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("byte", s.load(area.at(0))?, 6)?;
    expect_guarded(&mut s, &area, 0)
}

/// Protection is in the mapping, not in the object: another mapping writes freely (section 11).
pub(super) fn other_mappings_write_freely(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.store(alias.at(0), 2)?;
    s.quiet()?;
    expect("byte", s.load(area.at(0))?, 2)?;
    expect("protected", s.is_protected(area.at(0))?, true)
}

/// In shared memory DONTNEED leaves a marker where a page was protected (section 11).
pub(super) fn dropping_the_mapping_leaves_a_marker(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    for memory in SHARED {
        let area = s.map(memory, 1)?;
        s.store(area.at(0), 1)?;
        s.register(area.range(), reg::WP)?;
        s.protect(area.range())?;
        s.advise(area.range(), advice::DONTNEED)?;
        expect_guarded(&mut s, &area, 0)?;
    }
    Ok(())
}

/// MADV_REMOVE leaves a marker, contrary to what the kernel's own text says (section 11).
pub(super) fn removing_pages_leaves_a_marker(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    let area = s.map(Memory::Shmem, 1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.advise(area.range(), advice::REMOVE)?;
    expect("present", s.is_present(area.at(0))?, false)?;
    expect_guarded(&mut s, &area, 0)
}

/// Punching a hole leaves a marker (section 11).
pub(super) fn punching_a_hole_leaves_a_marker(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    let area = s.map(Memory::Shmem, 1)?;
    let Some(fd) = area.object else { return Ok(()) };
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.value(Call::Punch { fd, offset: 0, len: area.page_size })?;
    expect_guarded(&mut s, &area, 0)
}

/// In a private mapping of an object, a protected page of the object is copied only after it is
/// unprotected (section 11).
pub(super) fn private_pages_of_the_object_are_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    let area = s.map(Memory::PrivateShmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 6)?;
    expect("byte", s.load(area.at(0))?, 6)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect_guarded(&mut s, &area, 0)?;
    expect("object", s.load(alias.at(0))?, 6)
}

/// With MINOR registered too, a store to a marker is a minor fault first; CONTINUE without MODE_WP
/// takes the marker off, and the store goes on (sections 8, 9).
pub(super) fn minor_comes_before_protection(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES | FEATURE_MINOR_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 1)?;
    s.register(area.range(), reg::MINOR | reg::WP)?;
    s.protect(area.range())?;
    let who = s.blocked_store(area.at(0), 2)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::MINOR)?;
    s.continue_(area.range(), 0)?.done(area.page_size)?;
    s.goes_on(who)?;
    expect("byte", s.load(alias.at(0))?, 2)
}

/// A marker left behind by a registration that was replaced is taken away by the next fault,
/// before that is reported (sections 3, 9).
pub(super) fn stranded_markers_are_forgotten(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURES)?;
    if s.profile().dropping_wp_is_busy() == Promise::Yes {
        return skip("since 7.3 a registration cannot drop write-protection");
    }
    let area = s.map(Memory::Shmem, 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    s.register(area.range(), reg::MISSING)?;
    expect("stranded", s.is_protected(area.at(0))?, true)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)?;
    expect("forgotten", s.is_protected(area.at(0))?, false)
}
