//! Closing: what happens to sleepers, events and protection when the last descriptor goes.

use faultless_uapi::mode::writeprotect;

use super::prelude::*;

fn close(s: &mut Stage<'_>) -> Verdict {
    let fd = s.fd;
    s.value(Call::Close { fd }).map(|_| ())
}

/// Closing wakes every sleeper, and they read zeros: silent corruption, no signal (section 6).
pub(super) fn closing_lets_sleepers_read_zeros(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(2)?;
    s.register(area.range(), reg::MISSING)?;
    let read = s.blocked_load(area.at(0))?;
    s.message()?;
    let unread = s.blocked_load(area.at(1))?;
    close(&mut s)?;
    expect("read fault", s.loaded(read)?, 0)?;
    expect("unread fault", s.loaded(unread)?, 0)?;
    expect("present", s.is_present(area.at(0))?, true)
}

/// Closing takes write-protection off, and sleeping writers go on; up to 6.11 the bits stayed in
/// the page table, without effect (section 6).
pub(super) fn closing_takes_protection_off(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.store(area.at(1), 1)?;
    s.register(area.range(), reg::WP)?;
    s.writeprotect(area.range(), writeprotect::WP)?.ok()?;
    let writer = s.blocked_store(area.at(0), 2)?;
    close(&mut s)?;
    s.goes_on(writer)?;
    let cleared = !s.is_protected(area.at(1))?;
    let promise = s.profile().closing_clears_protection();
    ensure(promise.allows(cleared), format_args!("protection cleared: {cleared}"))?;
    s.store(area.at(1), 2)
}

/// Closing unregisters: another userfaultfd may take the memory (section 6).
pub(super) fn closing_frees_the_memory(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    close(&mut s)?;
    s.fd = s.open_another(USUAL, 0)?;
    s.register(area.range(), reg::MISSING)?;
    Ok(())
}

/// Only the last descriptor counts: with a duplicate open, nothing happens (section 6).
pub(super) fn duplicates_keep_it_alive(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    let duplicate = s.open_fd(Call::Duplicate { fd: s.fd })?;
    close(&mut s)?;
    s.still_blocked(who)?;
    s.fd = duplicate;
    s.expect_fault(area.at(0), 0)?;
    s.fill(area.range(), 3, 0)?;
    expect("byte", s.loaded(who)?, 3)
}

/// A thread waiting for its event to be read goes on when the descriptor is closed (section 6).
pub(super) fn closing_completes_pending_events(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::MISSING)?;
    let who = s.blocked(advise(area.range(), advice::DONTNEED))?;
    close(&mut s)?;
    s.goes_on(who)?;
    expect("byte", s.load(area.at(0))?, 0)
}

/// A process that ends sends no message, and poll stays silent (section 6).
pub(super) fn a_death_sends_no_message(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_REMOVE | FEATURE_EVENT_UNMAP)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let watcher = s.world.spawn()?;
    let fd = s.world.pass(s.me, s.fd, watcher)?;
    s.world.kill(s.me.process)?;
    s.acting(watcher, fd, |s| {
        expect("poll", s.poll()?, 0)?;
        expect("read", s.read_from(fd, 1)?, Err(EAGAIN))
    })
}

/// A thread killed while it sleeps in a fault dies: its message disappears (section 6).
pub(super) fn sleepers_can_be_killed(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.blocked_load(area.at(0))?;
    let watcher = s.world.spawn()?;
    let fd = s.world.pass(s.me, s.fd, watcher)?;
    s.world.kill(s.me.process)?;
    s.acting(watcher, fd, |s| {
        expect("read", s.read_from(fd, 1)?, Err(EAGAIN))?;
        expect("counts", s.counts()?, (0, 0))
    })
}
