//! Guards: pages that `madvise` makes inaccessible, and how they stand to everything else that can
//! be where a page is not.

use super::prelude::*;

/// Memory of two pages, the first of which was written and then guarded.
fn guarded(w: &mut dyn World, memory: Memory, features: u64) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, features)?;
    needs_guards(&s, memory)?;
    let area = s.map(memory, 2)?;
    s.store(area.at(0), 1)?;
    s.advise(area.one(0), advice::GUARD_INSTALL)?;
    Ok((s, area))
}

/// Skips where there are no guards in this memory.
fn needs_guards(s: &Stage<'_>, memory: Memory) -> Verdict {
    if !s.profile().has_guards() {
        return skip("no guard markers: they came with 6.13");
    }
    // Objects were taken by the version that began to show guards.
    if memory != Memory::Anon && !s.profile().shows_guards() {
        return skip("no guard markers in objects' mappings: they came with 6.15");
    }
    Ok(())
}

#[track_caller]
fn expect_guarded(s: &mut Stage<'_>, at: u64) -> Verdict {
    let wanted = Stop::Sigsegv { code: code::SEGV_MAPERR, at };
    expect("load", s.stopped(Call::Load { at, len: 1 })?, wanted)?;
    expect("store", s.stopped(Call::Store { at, bytes: vec![1] })?, wanted)
}

/// An access is SIGSEGV, and no fault is reported, whatever is registered (section 11).
pub(super) fn access_is_a_segmentation_fault(w: &mut dyn World) -> Verdict {
    let (mut s, area) = guarded(w, Memory::Anon, FEATURE_PAGEFAULT_FLAG_WP)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    expect_guarded(&mut s, area.at(0))?;
    s.quiet()
}

/// A system call that touches it fails with EFAULT, and so does populating (section 11).
pub(super) fn system_calls_fail(w: &mut dyn World) -> Verdict {
    let (mut s, area) = guarded(w, Memory::Anon, 0)?;
    s.refuses(Call::KernelLoad { at: area.at(0), len: 1 }, EFAULT)?;
    s.refuses(advise(area.one(0), advice::POPULATE_READ), EFAULT)
}

/// What was there is dropped: without its guard the page is zeros, or missing (section 11).
pub(super) fn content_is_dropped(w: &mut dyn World) -> Verdict {
    let (mut s, area) = guarded(w, Memory::Anon, 0)?;
    s.advise(area.one(0), advice::GUARD_REMOVE)?;
    expect("byte", s.load(area.at(0))?, 0)?;
    s.advise(area.one(0), advice::GUARD_INSTALL)?;
    s.register(area.range(), reg::MISSING)?;
    s.advise(area.one(0), advice::GUARD_REMOVE)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// Taking guards away leaves pages alone that are none (section 11).
pub(super) fn removing_leaves_pages_alone(w: &mut dyn World) -> Verdict {
    let (mut s, area) = guarded(w, Memory::Anon, 0)?;
    s.store(area.at(1), 4)?;
    s.advise(area.range(), advice::GUARD_REMOVE)?;
    expect("byte", s.load(area.at(1))?, 4)
}

/// Dropping pages leaves guards (section 11).
pub(super) fn dropping_pages_leaves_them(w: &mut dyn World) -> Verdict {
    let (mut s, area) = guarded(w, Memory::Anon, 0)?;
    s.advise(area.range(), advice::DONTNEED)?;
    expect_guarded(&mut s, area.at(0))?;
    s.advise(area.range(), advice::FREE)?;
    expect_guarded(&mut s, area.at(0))
}

/// Locked memory takes no guards, but lets them be taken away: EINVAL (section 11).
pub(super) fn locked_memory_is_refused(w: &mut dyn World) -> Verdict {
    let (mut s, area) = guarded(w, Memory::Anon, 0)?;
    let Range { start, len } = area.one(1);
    s.value(Call::Lock { at: start, len })?;
    s.refuses(advise(area.one(1), advice::GUARD_INSTALL), EINVAL)?;
    s.advise(area.one(1), advice::GUARD_REMOVE)
}

/// Mappings before one that is refused are done (section 11).
pub(super) fn a_refusal_leaves_the_beginning_guarded(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    needs_guards(&s, Memory::Anon)?;
    let area = s.anon(2)?;
    let Range { start, len } = area.one(1);
    s.value(Call::Lock { at: start, len })?;
    s.refuses(advise(area.range(), advice::GUARD_INSTALL), EINVAL)?;
    expect_guarded(&mut s, area.at(0))
}

/// Holes are ENOMEM, after everything else was done (section 11).
pub(super) fn holes_are_told_at_the_end(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    needs_guards(&s, Memory::Anon)?;
    let area = s.anon(3)?;
    s.unmap(area.one(1))?;
    s.refuses(advise(area.range(), advice::GUARD_INSTALL), ENOMEM)?;
    expect_guarded(&mut s, area.at(0))?;
    expect_guarded(&mut s, area.at(2))?;
    s.refuses(advise(area.range(), advice::GUARD_REMOVE), ENOMEM)?;
    expect("byte", s.load(area.at(2))?, 0)
}

/// hugetlb memory takes none: EINVAL (section 11).
pub(super) fn hugetlb_is_refused(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    needs_guards(&s, Memory::Hugetlb)?;
    let area = s.map(Memory::Hugetlb, 1)?;
    s.refuses(advise(area.range(), advice::GUARD_INSTALL), EINVAL)
}

/// Poison gives way to a guard, and in anonymous memory so does a write-protect marker (section
/// 11).
pub(super) fn other_markers_give_way(w: &mut dyn World) -> Verdict {
    let features = FEATURE_POISON | FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED;
    let (mut s, area) = guarded(w, Memory::Anon, features)?;
    s.advise(area.range(), advice::GUARD_REMOVE)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    s.poison(area.one(0), 0)?.done(area.page_size)?;
    s.protect(area.one(1))?;
    s.advise(area.range(), advice::GUARD_INSTALL)?;
    expect_guarded(&mut s, area.at(0))?;
    expect_guarded(&mut s, area.at(1))
}

/// WRITEPROTECT passes them over (section 11).
pub(super) fn protecting_passes_them_over(w: &mut dyn World) -> Verdict {
    let features = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED;
    let (mut s, area) = guarded(w, Memory::Anon, features)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("guard", s.is_protected(area.at(0))?, false)?;
    expect("neighbour", s.is_protected(area.at(1))?, true)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    expect_guarded(&mut s, area.at(0))
}

/// In a mapping of an object the guard is in the mapping: the object keeps its page, and another
/// mapping shows it (section 11).
pub(super) fn it_is_in_the_mapping(w: &mut dyn World) -> Verdict {
    let (mut s, area) = guarded(w, Memory::Shmem, 0)?;
    let alias = s.alias(&area)?;
    expect_guarded(&mut s, area.at(0))?;
    expect("through the alias", s.load(alias.at(0))?, 1)?;
    s.advise(area.range(), advice::GUARD_REMOVE)?;
    expect("byte", s.load(area.at(0))?, 1)
}

/// A hole punched into the object leaves it (section 11).
pub(super) fn punching_a_hole_leaves_it(w: &mut dyn World) -> Verdict {
    for memory in [Memory::Shmem, Memory::PrivateShmem] {
        let (mut s, area) = guarded(w, memory, 0)?;
        let Some(fd) = area.object else { return Ok(()) };
        s.value(Call::Punch { fd, offset: 0, len: area.page_size })?;
        expect_guarded(&mut s, area.at(0))?;
        s.world.kill(s.me.process)?;
    }
    Ok(())
}

/// Children inherit it, in shared memory too (section 11).
pub(super) fn children_inherit_it(w: &mut dyn World) -> Verdict {
    for memory in [Memory::Anon, Memory::Shmem] {
        let (mut s, area) = guarded(w, memory, 0)?;
        let child = s.fork()?;
        let done = s.call_in(child, Call::Load { at: area.at(0), len: 1 })?;
        let wanted = Stop::Sigsegv { code: code::SEGV_MAPERR, at: area.at(0) };
        expect("child", done.result, Err(wanted))?;
        s.world.kill(child.process)?;
        s.world.kill(s.me.process)?;
    }
    Ok(())
}

/// A mapping that moves takes it along (section 11).
pub(super) fn it_moves_with_its_mapping(w: &mut dyn World) -> Verdict {
    let (mut s, area) = guarded(w, Memory::Anon, 0)?;
    let moved = s.move_mapping(&area, remap::MAYMOVE | remap::FIXED)?;
    expect_guarded(&mut s, moved.at(0))?;
    expect("byte", s.load(moved.at(1))?, 0)
}
