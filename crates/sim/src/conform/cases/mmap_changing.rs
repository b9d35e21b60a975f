//! While an event is pending, memory is about to change: filling it is EAGAIN.

use super::prelude::*;

/// A userfaultfd with a REMOVE of the last of four pages pending, and the thread that waits.
fn pending(w: &mut dyn World) -> Verdict<(Stage<'_>, Area, Thread)> {
    let features = FEATURE_EVENT_REMOVE | FEATURE_PAGEFAULT_FLAG_WP;
    let mut s = Stage::open(w, features)?;
    let area = s.anon(4)?;
    s.register(area.range(), reg::MISSING | reg::WP)?;
    let waiter = s.blocked(advise(area.one(3), advice::DONTNEED))?;
    Ok((s, area, waiter))
}

/// Every request that fills and that this world has.
fn filling(s: &Stage<'_>, range: Range, src: u64, mode: u64) -> Vec<Request> {
    let profile = s.profile();
    let mut requests = vec![
        request::copy(range, src, mode),
        request::zeropage(range, mode),
        request::continue_(range, mode),
    ];
    if profile.offers(FEATURE_POISON) {
        requests.push(request::poison(range, mode));
    }
    if profile.offers(FEATURE_MOVE) {
        requests.push(request::move_(range, src, mode));
    }
    requests
}

/// Expects EAGAIN, in the out field too where this world promises it.
fn expect_pending(s: &mut Stage<'_>, request: &Request) -> Verdict {
    let promise = s.profile().pending_event_is_in_out_field();
    let tried = s.send(request)?;
    tried.gives(EAGAIN)?;
    match promise {
        Promise::Yes => tried.failed(EAGAIN),
        Promise::No => tried.refused(EAGAIN),
        Promise::Either => tried.failed(EAGAIN).or(tried.refused(EAGAIN)),
    }
}

/// Every filling request is EAGAIN, and says -EAGAIN in its out field since 6.15 (section 7).
pub(super) fn filling_is_put_off(w: &mut dyn World) -> Verdict {
    let (mut s, area, _) = pending(w)?;
    let src = s.source(1)?;
    for request in filling(&s, area.one(0), src, 0) {
        expect_pending(&mut s, &request)?;
    }
    Ok(())
}

/// That comes before anything is examined: bad ranges and modes are EAGAIN too (section 7).
pub(super) fn nothing_is_examined_before(w: &mut dyn World) -> Verdict {
    let (mut s, area, _) = pending(w)?;
    let src = s.source(1)?;
    let unaligned = Range { start: area.start + 1, len: 0 };
    for request in filling(&s, unaligned, src, 1 << 40) {
        expect_pending(&mut s, &request)?;
    }
    Ok(())
}

/// WRITEPROTECT is EAGAIN as well, before its range is examined (sections 7, 11).
pub(super) fn protecting_is_put_off(w: &mut dyn World) -> Verdict {
    let (mut s, area, _) = pending(w)?;
    s.writeprotect(area.one(0), mode::writeprotect::WP)?.gives(EAGAIN)?;
    s.writeprotect(area.one(0), 0)?.gives(EAGAIN)?;
    let unaligned = Range { start: area.start + 1, len: 0 };
    s.writeprotect(unaligned, 0)?.gives(EAGAIN)
}

/// REGISTER, UNREGISTER and WAKE are not put off (section 7).
pub(super) fn registering_and_waking_go_on(w: &mut dyn World) -> Verdict {
    let (mut s, area, _) = pending(w)?;
    let other = s.anon(1)?;
    s.register(other.range(), reg::MISSING)?;
    s.unregister(other.range())?.ok()?;
    s.wake(area.range())
}

/// It concerns the whole userfaultfd: memory far from the event is put off too (section 7).
pub(super) fn all_memory_is_put_off(w: &mut dyn World) -> Verdict {
    let (mut s, _, _) = pending(w)?;
    let other = s.anon(1)?;
    let src = s.source(1)?;
    s.register(other.range(), reg::MISSING)?;
    s.copy(other.range(), src, 0)?.gives(EAGAIN)
}

/// It concerns that userfaultfd alone: another of the same process goes on (section 7).
pub(super) fn other_descriptors_go_on(w: &mut dyn World) -> Verdict {
    let (mut s, _, _) = pending(w)?;
    let other = s.anon(1)?;
    s.fd = s.open_another(USUAL, 0)?;
    s.register(other.range(), reg::MISSING)?;
    s.fill(other.range(), 1, 0)
}

/// Once the event is read and its thread has gone on, filling works (section 7).
pub(super) fn reading_the_event_ends_it(w: &mut dyn World) -> Verdict {
    let (mut s, area, waiter) = pending(w)?;
    let src = s.source(1)?;
    s.copy(area.one(0), src, 0)?.gives(EAGAIN)?;
    s.expect_gone(event::REMOVE, area.one(3))?;
    s.goes_on(waiter)?;
    s.copy(area.one(0), src, 0)?.done(area.page_size)
}

/// Faults are delivered meanwhile, and their pages can be filled afterwards (section 7).
pub(super) fn faults_are_delivered_meanwhile(w: &mut dyn World) -> Verdict {
    let (mut s, area, waiter) = pending(w)?;
    let who = s.blocked_load(area.at(0))?;
    let kinds: Vec<u8> = s.messages()?.iter().map(|m| m.event).collect();
    expect("messages", kinds, vec![event::PAGEFAULT, event::REMOVE])?;
    s.goes_on(waiter)?;
    s.fill(area.one(0), 2, 0)?;
    expect("byte", s.loaded(who)?, 2)
}

/// Every kind of event raises it: UNMAP, REMAP and FORK like REMOVE (section 7).
pub(super) fn every_event_puts_off(w: &mut dyn World) -> Verdict {
    let features = FEATURE_EVENT_UNMAP | FEATURE_EVENT_REMAP | FEATURE_EVENT_FORK;
    let mut s = Stage::open(w, features)?;
    let area = s.anon(1)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    let (unmapped, moved) = (s.anon(1)?, s.anon(1)?);
    s.register(unmapped.range(), reg::MISSING)?;
    s.register(moved.range(), reg::MISSING)?;
    let Range { start, len } = unmapped.range();
    let calls = [Call::Unmap { at: start, len }, s.moving(&moved, 0)?, Call::Fork];
    for call in calls {
        let waiter = s.blocked(call)?;
        s.copy(area.range(), src, 0)?.gives(EAGAIN)?;
        // mremap has two events, REMAP and the UNMAP of the old place.
        while s.world.settle(waiter)?.is_none() {
            s.messages()?;
        }
    }
    s.copy(area.range(), src, 0)?.done(area.page_size)
}

/// Several pending events must all be read before filling works (section 7).
pub(super) fn the_last_event_counts(w: &mut dyn World) -> Verdict {
    let (mut s, area, first) = pending(w)?;
    let src = s.source(1)?;
    let second = s.blocked(advise(area.one(2), advice::DONTNEED))?;
    s.read_from(s.fd, 1)?.ok();
    s.goes_on(first)?;
    s.copy(area.one(0), src, 0)?.gives(EAGAIN)?;
    s.read_from(s.fd, 1)?.ok();
    s.goes_on(second)?;
    s.copy(area.one(0), src, 0)?.done(area.page_size)
}

/// An argument that cannot be read is EFAULT only where the out field is written; the request is
/// put off all the same (section 7).
pub(super) fn unreadable_argument_is_put_off_or_faults(w: &mut dyn World) -> Verdict {
    let (mut s, _, _) = pending(w)?;
    let request = faultless_uapi::ioctl::UFFDIO_COPY;
    let stop = s.stopped(Call::IoctlWord { fd: s.fd, request, word: NOWHERE })?;
    // EFAULT comes from writing the out field, so it goes with that promise.
    let faults = s.profile().pending_event_is_in_out_field();
    let observed = stop == Stop::Refused(EFAULT);
    ensure(observed || stop == Stop::Refused(EAGAIN), format_args!("COPY: {stop:?}"))?;
    ensure(faults.allows(observed), format_args!("COPY: {stop:?}"))
}

/// RWPROTECT is EAGAIN too, before its range is examined (sections 7, 14).
pub(super) fn closing_is_put_off(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE | FEATURE_RWP)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING | reg::RWP)?;
    s.blocked(advise(area.one(1), advice::DONTNEED))?;
    let unaligned = Range { start: area.start + 1, len: 0 };
    for range in [area.one(0), unaligned] {
        for mode in [mode::rwprotect::RWP, 0] {
            s.send(&request::rwprotect(range, mode))?.gives(EAGAIN)?;
        }
    }
    Ok(())
}
