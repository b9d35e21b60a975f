//! poll: when there is something, and when it cannot be used.

use super::prelude::*;

/// Nothing pending is no event; a pending fault is IN until it is read (section 6).
pub(super) fn pending_fault_is_readable(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    expect("before", s.poll()?, 0)?;
    s.blocked_load(area.at(0))?;
    expect("pending", s.poll()?, poll::IN)?;
    s.message()?;
    expect("read", s.poll()?, 0)
}

/// A pending event is IN (section 6).
pub(super) fn pending_event_is_readable(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked(advise(area.range(), advice::DONTNEED))?;
    expect("pending", s.poll()?, poll::IN)?;
    s.message()?;
    expect("read", s.poll()?, 0)
}

/// A blocking descriptor cannot be polled: always an error, even with a fault pending
/// (section 6).
pub(super) fn blocking_descriptor_is_an_error(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open_with(w, open::CLOEXEC, 0)?;
    expect("idle", s.poll()?, poll::ERR)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    expect("pending", s.poll()?, poll::ERR)
}

/// A waiting poll returns when a fault arrives (section 6).
pub(super) fn waiting_poll_wakes_on_a_fault(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let poller = s.blocked(Call::PollWait { fd: s.fd })?;
    s.blocked_load(area.at(0))?;
    expect("poll", s.goes_on(poller)?.result, Ok(poll::IN))
}

/// A waiting poll returns when an event arrives, too (section 6).
pub(super) fn waiting_poll_wakes_on_an_event(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let poller = s.blocked(Call::PollWait { fd: s.fd })?;
    s.blocked(advise(area.range(), advice::DONTNEED))?;
    expect("poll", s.goes_on(poller)?.result, Ok(poll::IN))
}
