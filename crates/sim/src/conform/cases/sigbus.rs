//! The SIGBUS feature: no message, no waiting, a signal instead.

use super::prelude::*;

fn bus_error(at: u64) -> Stop {
    Stop::Sigbus { code: code::BUS_ADRERR, at }
}

fn registered(w: &mut dyn World) -> Verdict<(Stage<'_>, Area)> {
    let mut s = Stage::open(w, FEATURE_SIGBUS)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    Ok((s, area))
}

/// An access to a missing page is SIGBUS with BUS_ADRERR, and no message is sent (section 9).
pub(super) fn missing_page_is_a_bus_error(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w)?;
    let at = area.at(1);
    expect("load", s.stopped(Call::Load { at, len: 1 })?, bus_error(at))?;
    expect("store", s.stopped(Call::Store { at, bytes: vec![1] })?, bus_error(at))?;
    s.quiet()?;
    expect("counts", s.counts()?, (0, 0))
}

/// A system call that meets one is EFAULT (section 9).
pub(super) fn system_calls_fail(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w)?;
    s.refuses(Call::KernelLoad { at: area.at(0), len: 1 }, EFAULT)?;
    s.refuses(Call::KernelStore { at: area.at(0), bytes: vec![1] }, EFAULT)?;
    s.refuses(advise(area.range(), advice::POPULATE_READ), EFAULT)?;
    s.refuses(advise(area.range(), advice::POPULATE_WRITE), EFAULT)
}

/// Another process that reads it gets EFAULT (section 16).
pub(super) fn remote_readers_fail(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w)?;
    let reader = s.world.spawn()?;
    let of = s.me.process;
    let done = s.call_in(reader, Call::RemoteLoad { of, at: area.at(0), len: 1 })?;
    expect("read", done.result, Err(Stop::Refused(EFAULT)))
}

/// Once the page is filled, accesses work (section 9).
pub(super) fn filled_page_is_ordinary(w: &mut dyn World) -> Verdict {
    let (mut s, area) = registered(w)?;
    s.fill(area.one(0), 3, 0)?;
    expect("byte", s.load(area.at(0))?, 3)?;
    s.store(area.at(0), 4)
}

/// A store to a protected page is SIGBUS too (section 9).
pub(super) fn protected_page_is_a_bus_error(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_SIGBUS | FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    let at = area.at(0);
    expect("store", s.stopped(Call::Store { at, bytes: vec![1] })?, bus_error(at))?;
    expect("load", s.load(at)?, 1)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    s.store(at, 2)
}

/// A minor fault is SIGBUS too (section 9).
pub(super) fn minor_fault_is_a_bus_error(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_SIGBUS | FEATURE_MINOR_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 4)?;
    s.register(area.range(), reg::MINOR)?;
    let at = area.at(0);
    expect("load", s.stopped(Call::Load { at, len: 1 })?, bus_error(at))?;
    s.continue_(area.range(), 0)?.done(area.page_size)?;
    expect("load", s.load(at)?, 4)
}

/// Shared memory raises it as anonymous memory does (section 9).
pub(super) fn missing_shared_page_is_a_bus_error(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_SIGBUS | FEATURE_MISSING_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    s.register(area.range(), reg::MISSING)?;
    let at = area.at(0);
    expect("load", s.stopped(Call::Load { at, len: 1 })?, bus_error(at))
}

/// Events are still sent and waited for (sections 9, 10).
pub(super) fn events_are_still_sent(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_SIGBUS | FEATURE_EVENT_REMOVE)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked(advise(area.range(), advice::DONTNEED))?;
    s.expect_gone(event::REMOVE, area.range())?;
    s.goes_on(who).map(|_| ())
}
