//! Read-and-write protection, new in 7.3.

use faultless_uapi::mode::rwprotect::{DONTWAKE, RWP};

use super::prelude::*;

/// A populated page registered for RWP.
fn populated<'w>(w: &'w mut dyn World, features: u64) -> Verdict<(Stage<'w>, Area)> {
    let mut s = Stage::open(w, features)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.store(area.at(1), 1)?;
    s.register(area.range(), reg::RWP)?;
    Ok((s, area))
}

/// Any access to a protected page is reported, loads too (section 14).
pub(super) fn loads_wait_too(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    let reader = s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), fault_flag::RWP)?;
    s.send(&request::rwprotect(area.range(), 0))?.ok()?;
    expect("byte", s.loaded(reader)?, 1)
}

/// The mode needs its feature, and excludes WP: EINVAL (section 14).
pub(super) fn mode_excludes_write_protection(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = s.anon(1)?;
    s.send(&request::register(area.range(), reg::RWP | reg::WP))?.refused(EINVAL)?;
    s.register(area.range(), reg::RWP | reg::MISSING)?;
    let plain = s.open_another(USUAL, 0)?;
    let other = s.anon(1)?;
    s.send_to(plain, &request::register(other.range(), reg::RWP))?.refused(EINVAL)
}

/// Protecting with DONTWAKE is EINVAL, memory without the mode ENOENT (section 14).
pub(super) fn arguments_must_be_possible(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP)?;
    s.send(&request::rwprotect(area.range(), RWP | DONTWAKE))?.gives(EINVAL)?;
    let plain = s.anon(1)?;
    s.send(&request::rwprotect(plain.range(), RWP))?.gives(ENOENT)
}

/// Unlike WRITEPROTECT a refusal protects nothing (section 14).
pub(super) fn a_refusal_protects_nothing(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_RWP)?;
    let area = s.anon(2)?;
    s.store(area.at(0), 1)?;
    s.register(area.one(0), reg::RWP)?;
    s.send(&request::rwprotect(area.range(), RWP))?.gives(ENOENT)?;
    expect("byte", s.load(area.at(0))?, 1)?;
    s.quiet()
}

/// In asynchronous mode an access takes the protection off silently (section 14).
pub(super) fn asynchronous_mode_takes_it_off(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP | FEATURE_RWP_ASYNC)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    expect("byte", s.load(area.at(0))?, 1)?;
    s.quiet()?;
    expect("touched", s.is_protected(area.at(0))?, false)?;
    expect("untouched", s.is_protected(area.at(1))?, true)
}

/// SET_MODE switches between the two; enabling wakes the sleepers (section 14).
pub(super) fn modes_can_be_switched(w: &mut dyn World) -> Verdict {
    let (mut s, area) = populated(w, FEATURE_RWP)?;
    s.send(&request::rwprotect(area.range(), RWP))?.ok()?;
    let reader = s.blocked_load(area.at(0))?;
    let (on, off) = (FEATURE_RWP_ASYNC, FEATURE_RWP_ASYNC);
    s.send(&request::set_mode(on, off))?.gives(EINVAL)?;
    s.send(&request::set_mode(FEATURE_RWP, 0))?.gives(EINVAL)?;
    s.send(&request::set_mode(on, 0))?.ok()?;
    expect("byte", s.loaded(reader)?, 1)
}
