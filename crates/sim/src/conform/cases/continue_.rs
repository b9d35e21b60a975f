//! CONTINUE: minor faults, and mapping what the object holds.

use super::prelude::*;

/// An area with minor faults registered, and a second mapping to fill its object through.
fn minor(w: &mut dyn World, memory: Memory, pages: u64) -> Verdict<(Stage<'_>, Area, Area)> {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    let area = s.map(memory, pages)?;
    let alias = s.alias(&area)?;
    s.register(area.range(), reg::MINOR)?;
    Ok((s, area, alias))
}

/// A page the object holds and the mapping lacks is a minor fault; stores say so too
/// (section 9).
pub(super) fn minor_faults_are_flagged(w: &mut dyn World) -> Verdict {
    let (mut s, area, alias) = minor(w, Memory::Shmem, 2)?;
    s.store(alias.at(0), 1)?;
    s.store(alias.at(1), 1)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::MINOR)?;
    s.blocked_store(area.at(1), 2)?;
    s.expect_fault(area.at(1), fault_flag::MINOR | fault_flag::WRITE)
}

/// CONTINUE maps what the object holds and wakes the sleepers (section 8).
pub(super) fn maps_what_the_object_holds(w: &mut dyn World) -> Verdict {
    let (mut s, area, alias) = minor(w, Memory::Shmem, 2)?;
    s.store(alias.at(0), 1)?;
    s.store(alias.at(1), 2)?;
    let reader = s.blocked_load(area.at(0))?;
    let writer = s.blocked_store(area.at(1), 3)?;
    s.continue_(area.range(), 0)?.done(2 * area.page_size)?;
    expect("byte", s.loaded(reader)?, 1)?;
    s.goes_on(writer)?;
    expect("through the alias", s.load(alias.at(1))?, 3)
}

/// What the object lacks is EFAULT (section 8).
pub(super) fn absent_page_faults(w: &mut dyn World) -> Verdict {
    let (mut s, area, alias) = minor(w, Memory::Shmem, 2)?;
    s.continue_(area.one(0), 0)?.failed(EFAULT)?;
    s.store(alias.at(0), 1)?;
    s.continue_(area.range(), 0)?.partial(area.page_size)
}

/// What is mapped already is EEXIST (section 8).
pub(super) fn mapped_page_exists(w: &mut dyn World) -> Verdict {
    let (mut s, area, alias) = minor(w, Memory::Shmem, 1)?;
    s.store(alias.at(0), 1)?;
    s.continue_(area.range(), 0)?.done(area.page_size)?;
    s.continue_(area.range(), 0)?.failed(EEXIST)
}

/// Anonymous memory has no object: EINVAL (section 8).
pub(super) fn anonymous_memory_is_invalid(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.continue_(area.range(), 0)?.failed(EINVAL)
}

/// In a private mapping the object's page is mapped read-only: a store makes a copy, without a
/// message, and the object keeps its content (section 8).
pub(super) fn private_mapping_copies_on_write(w: &mut dyn World) -> Verdict {
    let (mut s, area, alias) = minor(w, Memory::PrivateShmem, 1)?;
    s.store(alias.at(0), 1)?;
    let reader = s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::MINOR)?;
    s.continue_(area.range(), 0)?.done(area.page_size)?;
    expect("byte", s.loaded(reader)?, 1)?;
    s.store(area.at(0), 2)?;
    s.quiet()?;
    expect("object", s.load(alias.at(0))?, 1)
}

/// It needs no minor mode: where MISSING is registered it maps too (section 8).
pub(super) fn any_registration_will_do(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 4)?;
    s.register(area.range(), reg::MISSING)?;
    s.continue_(area.range(), 0)?.done(area.page_size)?;
    expect("present", s.is_present(area.at(0))?, true)
}

/// Bad ranges and modes are EINVAL, out field untouched (section 8).
pub(super) fn arguments_must_be_possible(w: &mut dyn World) -> Verdict {
    let (mut s, area, _) = minor(w, Memory::Shmem, 1)?;
    let Range { start, len } = area.range();
    s.continue_(Range { start: start + 1, len }, 0)?.refused(EINVAL)?;
    s.continue_(Range { start, len: 0 }, 0)?.refused(EINVAL)?;
    s.continue_(area.range(), 1 << 40)?.refused(EINVAL)
}

/// MODE_WP maps the page protected, since 6.4 (section 8).
pub(super) fn page_can_come_protected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM | FEATURE_WP_HUGETLBFS_SHMEM)?;
    if !s.profile().continue_takes_wp() {
        return skip("CONTINUE takes a write-protect mode since 6.4");
    }
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 1)?;
    s.register(area.range(), reg::MINOR | reg::WP)?;
    s.continue_(area.range(), mode::continue_::WP)?.done(area.page_size)?;
    expect("protected", s.is_protected(area.at(0))?, true)?;
    s.blocked_store(area.at(0), 2)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)
}

/// MODE_WP where WP is not registered is EINVAL (section 8).
pub(super) fn protecting_needs_the_mode(w: &mut dyn World) -> Verdict {
    let (mut s, area, alias) = minor(w, Memory::Shmem, 1)?;
    if !s.profile().continue_takes_wp() {
        return skip("CONTINUE takes a write-protect mode since 6.4");
    }
    s.store(alias.at(0), 1)?;
    s.continue_(area.range(), mode::continue_::WP)?.failed(EINVAL)
}

/// Beyond the end of the object it is EINVAL, unlike COPY; EFAULT in 7.2 (sections 8, 15).
pub(super) fn beyond_the_end_of_the_object_is_refused(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    let page = s.page();
    let object = s.open_fd(Call::Memfd { len: page, huge: false })?;
    let area = s.map_object(Some(object), 2, page, map::SHARED, prot::READ_WRITE)?;
    s.register(area.range(), reg::MINOR)?;
    let tried = s.continue_(area.one(1), 0)?;
    match s.profile().tells_the_end_of_an_object() {
        Promise::Yes => tried.failed(EINVAL),
        Promise::No => tried.failed(EFAULT),
        Promise::Either => tried.failed(EINVAL).or(tried.failed(EFAULT)),
    }
}

/// A page dropped from the mapping alone is a minor fault again (section 9).
pub(super) fn dropped_mapping_is_minor_again(w: &mut dyn World) -> Verdict {
    let (mut s, area, alias) = minor(w, Memory::Shmem, 1)?;
    s.store(alias.at(0), 1)?;
    s.continue_(area.range(), 0)?.done(area.page_size)?;
    s.advise(area.range(), advice::DONTNEED)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::MINOR)
}

/// A system call that touches such a page waits too (section 9).
pub(super) fn system_calls_wait_too(w: &mut dyn World) -> Verdict {
    let (mut s, area, alias) = minor(w, Memory::Shmem, 1)?;
    s.store(alias.at(0), 6)?;
    let reader = s.blocked(Call::KernelLoad { at: area.at(0), len: 1 })?;
    s.expect_fault(area.at(0), fault_flag::MINOR)?;
    s.continue_(area.range(), 0)?.done(area.page_size)?;
    expect("byte", s.loaded(reader)?, 6)
}
