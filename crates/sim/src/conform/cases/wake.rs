//! Who wakes whom: WAKE, the wake that comes with filling, and threads that wake by themselves.

use super::prelude::*;

/// A thread woken with nothing resolved faults again: a second message (section 5).
pub(super) fn waking_without_resolving_faults_again(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)?;
    s.wake(area.range())?;
    s.still_blocked(who)?;
    s.expect_fault(area.at(0), 0)
}

/// Only threads whose reported address lies in the range wake (section 5).
pub(super) fn waking_is_by_range(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(3)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(1))?;
    s.message()?;
    s.wake(area.one(0))?;
    s.wake(area.one(2))?;
    s.still_blocked(who)?;
    s.quiet()?;
    s.wake(area.one(1))?;
    s.still_blocked(who)?;
    s.message().map(|_| ())
}

/// Waking what is not registered, or not even mapped, succeeds (section 5).
pub(super) fn waking_nobody_succeeds(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.wake(area.range())?;
    s.unmap(area.range())?;
    s.wake(area.range())
}

/// Unaligned and empty ranges are EINVAL (section 5).
pub(super) fn ranges_must_be_possible(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let Range { start, len } = s.anon(1)?.range();
    let unaligned = Range { start: start + 1, len };
    s.send(&request::wake(unaligned))?.gives(EINVAL)?;
    s.send(&request::wake(Range { start, len: 0 }))?.gives(EINVAL)
}

/// Every request that fills wakes the threads of its range, unless told DONTWAKE; then WAKE does
/// (sections 5, 8).
pub(super) fn filling_wakes_unless_told_not_to(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    let (first, second) = (area.one(0), area.one(1));
    for (range, fill) in [
        (first, request::copy(first, src, mode::copy::DONTWAKE)),
        (second, request::zeropage(second, mode::zeropage::DONTWAKE)),
    ] {
        let who = s.blocked_load(range.start)?;
        s.send(&fill)?.done(range.len)?;
        s.still_blocked(who)?;
        s.wake(range)?;
        s.goes_on(who)?;
    }
    Ok(())
}

/// Filling wakes the threads of the pages filled and of no others (section 8).
pub(super) fn filling_wakes_its_pages_only(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    let first = s.blocked_load(area.at(0))?;
    let second = s.blocked_load(area.at(1))?;
    s.fill(area.one(1), 2, 0)?;
    expect("byte", s.loaded(second)?, 2)?;
    s.still_blocked(first)
}

/// A refusal with EEXIST wakes nobody: a thread asleep on a page that came without a wake stays
/// asleep until WAKE (section 5).
pub(super) fn refusal_as_existing_wakes_nobody(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    let src = s.source(4)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    s.message()?;
    s.copy(area.range(), src, mode::copy::DONTWAKE)?.done(area.page_size)?;
    s.copy(area.range(), src, 0)?.failed(EEXIST)?;
    s.still_blocked(who)?;
    s.wake(area.range())?;
    expect("byte", s.loaded(who)?, 4)
}

/// Threads that sleep on one page all wake when it is filled (section 5).
pub(super) fn all_sleepers_of_a_page_wake(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let early = s.blocked_load(area.at(0))?;
    s.message()?;
    let late = s.blocked_load(area.at(0) + 100)?;
    s.fill(area.range(), 6, 0)?;
    expect("read fault", s.loaded(early)?, 6)?;
    expect("unread fault", s.loaded(late)?, 6)
}

/// A signal makes a thread leave the queue, run its handler and fault again: a second message
/// for one access (section 5).
pub(super) fn signal_duplicates_the_message(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)?;
    s.world.interrupt(who)?;
    s.still_blocked(who)?;
    s.expect_fault(area.at(0), 0)?;
    s.fill(area.range(), 1, 0)?;
    expect("byte", s.loaded(who)?, 1)
}

/// A signal does not end a system call that faults: it goes on once the page is filled. Until then
/// the kernel retries the fault over and over, as docs/kernel-notes.md says (section 5).
pub(super) fn signal_does_not_end_a_kernel_fault(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    let src = s.source(7)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked(Call::KernelLoad { at: area.at(0), len: 1 })?;
    s.expect_fault(area.at(0), 0)?;
    s.world.interrupt(who)?;
    s.copy(area.range(), src, 0)?.done(area.page_size)?;
    expect("byte", s.loaded(who)?, 7)
}

/// A fault that was never read disappears when its page is filled (section 5).
pub(super) fn unread_fault_disappears_when_resolved(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    expect("poll", s.poll()?, poll::IN)?;
    s.fill(area.range(), 1, 0)?;
    s.goes_on(who)?;
    expect("poll", s.poll()?, 0)?;
    expect("read", s.read_from(s.fd, 1)?, Err(EAGAIN))?;
    expect("counts", s.counts()?, (0, 0))
}

/// A page can be filled before anybody asks: no message, no sleep (section 9).
pub(super) fn filling_ahead_avoids_the_fault(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.fill(area.range(), 8, 0)?;
    expect("byte", s.load(area.at(0))?, 8)?;
    s.quiet()
}
