//! POISON: pages lost for good.

use super::prelude::*;

fn poisoned(w: &mut dyn World, memory: Memory) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.map(memory, 2)?;
    s.register(area.range(), reg::MISSING)?;
    s.poison(area.one(0), 0)?.done(area.page_size)?;
    Ok((s, area))
}

fn expect_poison(s: &mut Stage<'_>, at: u64) -> Verdict {
    let code = s.profile().poison_code();
    let wanted = Stop::Sigbus { code, at };
    expect("load", s.stopped(Call::Load { at, len: 1 })?, wanted)?;
    expect("store", s.stopped(Call::Store { at, bytes: vec![1] })?, wanted)
}

/// An access is SIGBUS: BUS_MCEERR_AR, or BUS_ADRERR in a kernel without memory failure handling;
/// no message is sent (section 8).
pub(super) fn access_is_a_bus_error(w: &mut dyn World) -> Verdict {
    let (mut s, area) = poisoned(w, Memory::Anon)?;
    expect_poison(&mut s, area.at(0))?;
    s.quiet()
}

/// In shared memory the poison is in the mapping, not in the object (section 8).
pub(super) fn poison_is_in_the_mapping(w: &mut dyn World) -> Verdict {
    let (mut s, area) = poisoned(w, Memory::Shmem)?;
    expect_poison(&mut s, area.at(0))?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 3)?;
    expect("through the alias", s.load(alias.at(0))?, 3)
}

/// A system call that touches it fails: EFAULT, or EHWPOISON (section 8).
pub(super) fn system_calls_fail(w: &mut dyn World) -> Verdict {
    let (mut s, area) = poisoned(w, Memory::Anon)?;
    let stop = s.stopped(Call::KernelLoad { at: area.at(0), len: 1 })?;
    let wanted = [EFAULT, EHWPOISON].map(Stop::Refused);
    ensure(wanted.contains(&stop), format_args!("write(2) of poison: {stop:?}"))
}

/// A sleeper wakes into a bus error (section 8).
pub(super) fn sleepers_get_a_bus_error(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    s.poison(area.range(), mode::poison::DONTWAKE)?.done(area.page_size)?;
    s.still_blocked(who)?;
    s.wake(area.range())?;
    let code = s.profile().poison_code();
    expect("load", s.outcome(who)?.result, Err(Stop::Sigbus { code, at: area.at(0) }))
}

/// Without DONTWAKE the sleepers wake at once (section 8).
pub(super) fn poisoning_wakes(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    s.poison(area.range(), 0)?.done(area.page_size)?;
    let code = s.profile().poison_code();
    expect("load", s.outcome(who)?.result, Err(Stop::Sigbus { code, at: area.at(0) }))
}

/// Anything that is there is EEXIST: a page, poison, a write-protect marker (section 8).
pub(super) fn what_is_there_exists(w: &mut dyn World) -> Verdict {
    let features = FEATURE_POISON | FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED;
    let mut s = Stage::open(w, features)?;
    let area = s.anon(3)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.poison(area.one(0), 0)?.failed(EEXIST)?;
    s.poison(area.one(1), 0)?.done(area.page_size)?;
    s.poison(area.one(1), 0)?.failed(EEXIST)?;
    s.protect(area.one(2))?;
    s.poison(area.one(2), 0)?.failed(EEXIST)
}

/// A present page half-way stops it: EAGAIN with the bytes done (section 8).
pub(super) fn present_page_stops_it_half_way(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.anon(3)?;
    s.store(area.at(2), 1)?;
    s.register(area.range(), reg::MISSING)?;
    s.poison(area.range(), 0)?.partial(2 * area.page_size)
}

/// Dropping the page by advice takes the poison away: it is missing again (section 8).
pub(super) fn dropping_takes_it_away(w: &mut dyn World) -> Verdict {
    let (mut s, area) = poisoned(w, Memory::Anon)?;
    s.advise(area.one(0), advice::DONTNEED)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// Mapping anew takes the poison away (section 8).
pub(super) fn mapping_anew_takes_it_away(w: &mut dyn World) -> Verdict {
    let (mut s, area) = poisoned(w, Memory::Anon)?;
    let over = Call::Map {
        at: area.at(0),
        len: area.page_size,
        prot: prot::READ_WRITE,
        flags: map::PRIVATE | map::ANONYMOUS | map::FIXED,
        fd: None,
        offset: 0,
    };
    s.value(over)?;
    expect("byte", s.load(area.at(0))?, 0)
}

/// Every registration of every memory will do (section 8).
pub(super) fn any_registration_will_do(w: &mut dyn World) -> Verdict {
    let features = FEATURE_POISON | FEATURE_WP_HUGETLBFS_SHMEM | FEATURE_MINOR_SHMEM;
    let mut s = Stage::open(w, features)?;
    for (memory, mode) in [
        (Memory::Anon, reg::WP),
        (Memory::Shmem, reg::WP),
        (Memory::Shmem, reg::MINOR),
        (Memory::PrivateShmem, reg::MISSING),
        (Memory::SharedAnon, reg::MISSING),
    ] {
        let area = s.map(memory, 1)?;
        s.register(area.range(), mode)?;
        s.poison(area.range(), 0)?.done(area.page_size)?;
        expect_poison(&mut s, area.at(0))?;
    }
    Ok(())
}

/// Bad ranges and modes are EINVAL, out field untouched (section 8).
pub(super) fn arguments_must_be_possible(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.anon(1)?;
    let Range { start, len } = area.range();
    s.register(area.range(), reg::MISSING)?;
    s.poison(Range { start: start + 1, len }, 0)?.refused(EINVAL)?;
    s.poison(Range { start, len: 0 }, 0)?.refused(EINVAL)?;
    s.poison(area.range(), 1 << 40)?.refused(EINVAL)
}

/// Memory not registered is ENOENT (section 8).
pub(super) fn destination_must_be_registered(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.anon(1)?;
    s.poison(area.range(), 0)?.failed(ENOENT)
}

/// A hole punched into the object leaves it in the mapping (section 8 and docs/kernel-notes.md).
pub(super) fn punching_a_hole_leaves_it(w: &mut dyn World) -> Verdict {
    let (mut s, area) = poisoned(w, Memory::Shmem)?;
    let Some(fd) = area.object else { return Ok(()) };
    s.value(Call::Punch { fd, offset: 0, len: area.page_size })?;
    expect_poison(&mut s, area.at(0))
}

/// Cutting the object off before it takes it away (section 8).
pub(super) fn cutting_the_object_takes_it_away(w: &mut dyn World) -> Verdict {
    let (mut s, area) = poisoned(w, Memory::Shmem)?;
    let Some(fd) = area.object else { return Ok(()) };
    s.value(Call::Resize { fd, len: 0 })?;
    s.value(Call::Resize { fd, len: area.page_size })?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// Children inherit it in private memory. In shared memory they do not: their page is missing
/// (section 8 and docs/kernel-notes.md).
pub(super) fn children_inherit_it_in_private_memory_only(w: &mut dyn World) -> Verdict {
    for (memory, inherits) in
        [(Memory::Anon, true), (Memory::PrivateShmem, true), (Memory::Shmem, false)]
    {
        let (mut s, area) = poisoned(w, memory)?;
        let child = s.fork()?;
        let done = s.call_in(child, Call::Load { at: area.at(0), len: 1 })?;
        let wanted = Stop::Sigbus { code: s.profile().poison_code(), at: area.at(0) };
        expect("child", done.result, if inherits { Err(wanted) } else { Ok(0) })?;
        s.world.kill(child.process)?;
        s.world.kill(s.me.process)?;
    }
    Ok(())
}
