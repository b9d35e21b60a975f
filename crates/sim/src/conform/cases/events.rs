//! REMAP, REMOVE, UNMAP: when they are sent, what they say, who waits.

use faultless_uapi::RemapArg;

use super::prelude::*;

/// mremap sends REMAP with old place, new place and length, and waits (section 10).
pub(super) fn remap_says_from_where_to_where(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMAP)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    let call = s.moving(&area, 0)?;
    let Call::Remap { from, to, len, .. } = call else { return Ok(()) };
    let mover = s.blocked(call)?;
    let message = s.message()?;
    expect("event", message.event, event::REMAP)?;
    expect("move", message.remap(), RemapArg { from, to, len })?;
    expect("mremap", s.goes_on(mover)?.result, Ok(to))
}

/// With EVENT_REMAP the memory stays registered at its new place (section 10).
pub(super) fn remapped_memory_stays_registered(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMAP)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 5)?;
    s.register(area.range(), reg::MISSING)?;
    let call = s.moving(&area, 0)?;
    let mover = s.blocked(call)?;
    s.message()?;
    let start = s.goes_on(mover)?.result.unwrap_or(0);
    let moved = Area { start, ..area };
    expect("present page", s.load(moved.at(0))?, 5)?;
    let who = s.blocked_load(moved.at(1))?;
    s.expect_fault(moved.at(1), 0)?;
    s.fill(moved.one(1), 6, 0)?;
    expect("missing page", s.loaded(who)?, 6)
}

/// With UNMAP on as well, the old range is reported after REMAP (section 10).
pub(super) fn remap_is_followed_by_unmap(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMAP | FEATURE_EVENT_UNMAP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let call = s.moving(&area, 0)?;
    let mover = s.blocked(call)?;
    expect("first", s.next_message()?.event, event::REMAP)?;
    s.still_blocked(mover)?;
    s.expect_gone(event::UNMAP, area.range())?;
    s.goes_on(mover).map(|_| ())
}

/// Without EVENT_REMAP a moved mapping is no longer registered: it fills with zeros, and filling
/// it is ENOENT (section 10).
pub(super) fn moved_mapping_without_event_is_ordinary(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    let moved = s.move_mapping(&area, 0)?;
    let src = s.source(1)?;
    s.copy(moved.one(0), src, 0)?.failed(ENOENT)?;
    expect("byte", s.load(moved.at(0))?, 0)?;
    s.quiet()
}

/// Without EVENT_REMAP a moved mapping loses its write-protection (section 10).
pub(super) fn moved_mapping_without_event_is_unprotected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    let moved = s.move_mapping(&area, 0)?;
    let lost = !s.is_protected(moved.at(0))?;
    let promise = s.profile().moved_mapping_loses_wp();
    ensure(promise.allows(lost), format_args!("protection lost: {lost}"))?;
    if lost { s.store(moved.at(0), 2) } else { Ok(()) }
}

/// With EVENT_REMAP write-protection moves along (section 10).
pub(super) fn protection_moves_along(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMAP | FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    let call = s.moving(&area, 0)?;
    let mover = s.blocked(call)?;
    s.message()?;
    let start = s.goes_on(mover)?.result.unwrap_or(0);
    expect("protected", s.is_protected(start)?, true)?;
    s.blocked_store(start, 2)?;
    s.expect_fault(start, fault_flag::WRITE | fault_flag::WP)
}

/// Shrinking with mremap unmaps the tail: UNMAP (section 10).
pub(super) fn shrinking_unmaps_the_tail(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_UNMAP)?;
    let area = s.anon(3)?;
    s.register(area.range(), reg::MISSING)?;
    let call = Call::Remap {
        from: area.start,
        len: area.range().len,
        new_len: area.page_size,
        flags: 0,
        to: 0,
    };
    let who = s.blocked(call)?;
    s.expect_gone(event::UNMAP, area.part(1, 2))?;
    s.goes_on(who).map(|_| ())
}

/// Each way to drop pages by advice sends REMOVE, and waits (section 10).
pub(super) fn dropping_by_advice_sends_remove(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    for (memory, how) in [
        (Memory::Anon, advice::DONTNEED),
        (Memory::Anon, advice::FREE),
        (Memory::Shmem, advice::DONTNEED),
        (Memory::Shmem, advice::REMOVE),
    ] {
        let area = s.map(memory, 3)?;
        s.register(area.range(), reg::MISSING)?;
        let who = s.blocked(advise(area.part(1, 2), how))?;
        s.expect_gone(event::REMOVE, area.part(1, 2))?;
        s.goes_on(who)?;
    }
    Ok(())
}

/// MADV_DONTNEED_LOCKED sends REMOVE too (section 10).
pub(super) fn dropping_locked_pages_sends_remove(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.value(Call::Lock { at: area.start, len: area.page_size })?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked(advise(area.range(), advice::DONTNEED_LOCKED))?;
    s.expect_gone(event::REMOVE, area.range())?;
    s.goes_on(who).map(|_| ())
}

/// REMOVE comes before pages are dropped: while it waits they are still there (section 10).
pub(super) fn remove_precedes_the_dropping(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 7)?;
    s.register(area.range(), reg::MISSING)?;
    let dropper = s.blocked(advise(area.range(), advice::DONTNEED))?;
    expect("byte", s.load(area.at(0))?, 7)?;
    s.message()?;
    s.goes_on(dropper)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// Advice over several mappings sends one REMOVE for each, one after the other (section 10).
pub(super) fn remove_comes_per_mapping(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    s.mprotect(area.one(1), prot::READ)?;
    let who = s.blocked(advise(area.range(), advice::DONTNEED))?;
    s.expect_gone(event::REMOVE, area.one(0))?;
    s.still_blocked(who)?;
    s.expect_gone(event::REMOVE, area.one(1))?;
    s.goes_on(who).map(|_| ())
}

/// munmap sends UNMAP with the whole range of the call, not clipped to what was registered
/// (section 10).
pub(super) fn unmap_tells_the_whole_call(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_UNMAP)?;
    let area = s.anon(3)?;
    s.register(area.one(1), reg::MISSING)?;
    let Range { start, len } = area.range();
    let who = s.blocked(Call::Unmap { at: start, len })?;
    s.expect_gone(event::UNMAP, area.range())?;
    s.goes_on(who).map(|_| ())
}

/// UNMAP comes after the memory is gone: while it waits an access is SIGSEGV (section 10).
pub(super) fn unmap_follows_the_unmapping(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_UNMAP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::MISSING)?;
    let Range { start, len } = area.range();
    let who = s.blocked(Call::Unmap { at: start, len })?;
    let stop = s.stopped(Call::Load { at: start, len: 1 })?;
    expect("access", stop, Stop::Sigsegv { code: code::SEGV_MAPERR, at: start })?;
    s.message()?;
    s.goes_on(who).map(|_| ())
}

/// One munmap over two registered pieces of one userfaultfd sends one UNMAP (section 10).
pub(super) fn unmap_comes_once_per_call(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_UNMAP)?;
    let area = s.anon(3)?;
    s.register(area.one(0), reg::MISSING)?;
    s.register(area.one(2), reg::MISSING)?;
    let Range { start, len } = area.range();
    let who = s.blocked(Call::Unmap { at: start, len })?;
    s.expect_gone(event::UNMAP, area.range())?;
    s.goes_on(who)?;
    s.quiet()
}

/// Mapping something over registered memory sends UNMAP (section 10).
pub(super) fn mapping_over_sends_unmap(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_UNMAP)?;
    let area = s.anon(3)?;
    s.register(area.range(), reg::MISSING)?;
    let over = Call::Map {
        at: area.at(1),
        len: area.page_size,
        prot: prot::READ_WRITE,
        flags: map::PRIVATE | map::ANONYMOUS | map::FIXED,
        fd: None,
        offset: 0,
    };
    let who = s.blocked(over)?;
    s.expect_gone(event::UNMAP, area.one(1))?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(1))?, 0)
}

/// Moving another mapping over registered memory sends UNMAP for the target (section 10).
pub(super) fn moving_over_sends_unmap(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_UNMAP)?;
    let area = s.anon(1)?;
    let other = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let Range { start: from, len } = other.range();
    let flags = remap::MAYMOVE | remap::FIXED;
    let who = s.blocked(Call::Remap { from, len, new_len: len, flags, to: area.start })?;
    s.expect_gone(event::UNMAP, area.range())?;
    s.goes_on(who).map(|_| ())
}

/// Several threads may wait for their events at the same time; each goes on with its own
/// (section 10).
pub(super) fn every_thread_waits_for_its_own_event(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    let first = s.blocked(advise(area.one(0), advice::DONTNEED))?;
    let second = s.blocked(advise(area.one(1), advice::DONTNEED))?;
    let read = s.read_from(s.fd, 1)?.unwrap_or_default();
    expect("first", read.first().map(|m| m.remove().start), Some(area.at(0)))?;
    s.goes_on(first)?;
    s.still_blocked(second)?;
    s.message()?;
    s.goes_on(second).map(|_| ())
}

/// With no event asked for, nothing waits and nothing is sent (section 10).
pub(super) fn nothing_is_sent_unasked(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(3)?;
    s.register(area.range(), reg::MISSING)?;
    s.advise(area.range(), advice::DONTNEED)?;
    s.fork()?;
    s.move_mapping(&Area { pages: 1, ..area }, 0)?;
    s.unmap(area.part(1, 2))?;
    s.quiet()
}

/// Memory that is not registered sends nothing, whatever happens to it (section 10).
pub(super) fn ordinary_memory_sends_nothing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE | FEATURE_EVENT_UNMAP | FEATURE_EVENT_REMAP)?;
    let area = s.anon(3)?;
    let watched = s.anon(1)?;
    s.register(watched.range(), reg::MISSING)?;
    s.advise(area.range(), advice::DONTNEED)?;
    s.move_mapping(&Area { pages: 1, ..area }, 0)?;
    s.unmap(area.part(1, 2))?;
    s.quiet()
}

/// Reclaim, mprotect, mlock of present pages and guards send nothing (section 10).
pub(super) fn quiet_operations_send_nothing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE | FEATURE_EVENT_UNMAP | FEATURE_EVENT_REMAP)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::MISSING)?;
    s.advise(area.one(0), advice::COLD)?;
    s.advise(area.one(0), advice::PAGEOUT)?;
    s.mprotect(area.range(), prot::READ)?;
    s.mprotect(area.range(), prot::READ_WRITE)?;
    s.value(Call::Lock { at: area.start, len: area.page_size })?;
    if s.profile().has_guards() {
        s.advise(area.one(1), advice::GUARD_INSTALL)?;
    }
    s.quiet()
}

/// Punching a hole and truncating through the descriptor send nothing, though pages go
/// (section 10).
pub(super) fn changes_through_the_object_send_nothing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE | FEATURE_EVENT_UNMAP)?;
    let area = s.map(Memory::Shmem, 2)?;
    let Some(fd) = area.object else { return Ok(()) };
    s.store(area.at(0), 1)?;
    s.store(area.at(1), 1)?;
    s.register(area.range(), reg::MISSING)?;
    s.value(Call::Punch { fd, offset: 0, len: area.page_size })?;
    s.quiet()?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)?;
    s.value(Call::Resize { fd, len: area.page_size })?;
    s.quiet()
}

/// A thread that waits for its event can be killed (section 10).
pub(super) fn waiting_threads_can_be_killed(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked(advise(area.range(), advice::DONTNEED))?;
    let watcher = s.world.spawn()?;
    let fd = s.world.pass(s.me, s.fd, watcher)?;
    s.world.kill(s.me.process)?;
    s.acting(watcher, fd, |s| s.quiet())
}

/// MREMAP_DONTUNMAP leaves the old place mapped, empty and registered: it faults there
/// (section 10).
pub(super) fn old_place_left_mapped_stays_registered(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMAP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 5)?;
    s.register(area.range(), reg::MISSING)?;
    let call = s.moving(&area, remap::DONTUNMAP)?;
    let mover = s.blocked(call)?;
    expect("event", s.next_message()?.event, event::REMAP)?;
    let start = s.goes_on(mover)?.result.unwrap_or(0);
    expect("new place", s.load(start)?, 5)?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// A mapping that grows stays registered as a whole, without an event (section 10).
pub(super) fn growing_in_place_extends_the_registration(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMAP)?;
    let area = s.anon(2)?;
    s.unmap(area.one(1))?;
    s.register(area.one(0), reg::MISSING)?;
    let (len, new_len) = (area.page_size, 2 * area.page_size);
    let call = Call::Remap { from: area.start, len, new_len, flags: 0, to: 0 };
    expect("mremap", s.value(call)?, area.start)?;
    s.quiet()?;
    s.blocked_load(area.at(1))?;
    s.expect_fault(area.at(1), 0)
}
