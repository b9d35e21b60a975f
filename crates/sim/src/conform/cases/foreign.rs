//! A userfaultfd used from another process, and one whose process is gone.

use super::prelude::*;

/// A process with registered memory, and a stranger that was passed its userfaultfd.
fn shared_with_a_stranger(
    w: &mut dyn World,
    features: u64,
    mode: u64,
) -> Verdict<(Stage<'_>, Area, Thread, Fd)> {
    let mut s = Stage::open(w, features)?;
    let area = s.anon(4)?;
    s.register(area.range(), mode)?;
    let stranger = s.world.spawn()?;
    let fd = s.world.pass(s.me, s.fd, stranger)?;
    Ok((s, area, stranger, fd))
}

/// A stranger reads the faults and fills the memory of the process that made the descriptor;
/// the source is the stranger's own memory (section 16).
pub(super) fn a_stranger_serves_faults(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, 0, reg::MISSING)?;
    let who = s.blocked_load(area.at(0))?;
    s.acting(stranger, fd, |s| {
        s.expect_fault(area.at(0), 0)?;
        s.fill(area.one(0), 6, 0)
    })?;
    expect("byte", s.loaded(who)?, 6)
}

/// Registering, protecting, zero pages and poison work from outside (section 16).
pub(super) fn a_stranger_may_do_nearly_everything(w: &mut dyn World) -> Verdict {
    let features = FEATURE_PAGEFAULT_FLAG_WP;
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, features, reg::MISSING)?;
    let other = s.anon(1)?;
    s.store(other.at(0), 1)?;
    let poison = s.profile().offers(FEATURE_POISON);
    s.acting(stranger, fd, |s| {
        s.zeropage(area.one(0), 0)?.done(area.page_size)?;
        if poison {
            s.poison(area.one(1), 0)?.done(area.page_size)?;
        }
        s.register(other.range(), reg::WP)?;
        s.protect(other.range())?;
        s.wake(area.range())?;
        s.unregister(area.one(3))?.ok()
    })?;
    expect("zero page", s.load(area.at(0))?, 0)?;
    expect("protected", s.is_protected(other.at(0))?, true)?;
    expect("unregistered", s.load(area.at(3))?, 0)
}

/// CONTINUE works from outside: the object is filled through the stranger's own mapping
/// (section 16).
pub(super) fn a_stranger_may_continue(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    let area = s.map(Memory::Shmem, 1)?;
    let Some(object) = area.object else { return Ok(()) };
    s.register(area.range(), reg::MINOR)?;
    let stranger = s.world.spawn()?;
    let fd = s.world.pass(s.me, s.fd, stranger)?;
    let object = s.world.pass(s.me, object, stranger)?;
    s.acting(stranger, fd, |s| {
        let mapped = s.map_object(Some(object), 1, area.page_size, map::SHARED, prot::READ_WRITE)?;
        s.store(mapped.at(0), 8)
    })?;
    let who = s.blocked_load(area.at(0))?;
    s.acting(stranger, fd, |s| {
        s.expect_fault(area.at(0), fault_flag::MINOR)?;
        s.continue_(area.range(), 0)?.done(area.page_size)
    })?;
    expect("byte", s.loaded(who)?, 8)
}

/// MOVE alone must come from the process itself: EINVAL, out field untouched (section 13).
pub(super) fn a_stranger_may_not_move(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, FEATURE_MOVE, reg::MISSING)?;
    s.acting(stranger, fd, |s| {
        let src = s.source(1)?;
        s.move_pages(area.one(0), src, 0)?.refused(EINVAL)
    })
}

/// That is checked before the ranges are (section 13).
pub(super) fn moving_from_outside_is_refused_first(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, FEATURE_MOVE, reg::MISSING)?;
    s.world.kill(s.me.process)?;
    s.acting(stranger, fd, |s| {
        let src = s.source(1)?;
        // A dead address space would be ESRCH.
        s.move_pages(area.one(0), src, 0)?.refused(EINVAL)
    })
}

/// A child that inherits the descriptor works on its parent's memory, with sources of its own
/// (section 16).
pub(super) fn a_child_works_on_its_parents_memory(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    let child = s.fork()?;
    let fd = s.fd;
    let page = vec![2; usize::try_from(area.page_size).unwrap_or(4096)];
    s.acting(child, fd, |s| {
        // The child's copy of the source differs from its parent's.
        s.value(Call::Store { at: src, bytes: page })?;
        s.copy(area.range(), src, 0)?.done(area.page_size)?;
        expect("child's own memory", s.load(area.at(0))?, 0)
    })?;
    expect("parent's memory", s.load(area.at(0))?, 2)
}

/// The descriptor outlives its process in a stranger's hands; the address space is dead: filling
/// and protecting are ESRCH, out field untouched (section 16).
pub(super) fn filling_the_dead_is_esrch(w: &mut dyn World) -> Verdict {
    let features = FEATURE_PAGEFAULT_FLAG_WP;
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, features, reg::MISSING | reg::WP)?;
    let poison = s.profile().offers(FEATURE_POISON);
    s.world.kill(s.me.process)?;
    s.acting(stranger, fd, |s| {
        let src = s.source(1)?;
        s.copy(area.one(0), src, 0)?.refused(ESRCH)?;
        s.zeropage(area.one(0), 0)?.refused(ESRCH)?;
        s.continue_(area.one(0), 0)?.refused(ESRCH)?;
        if poison {
            s.poison(area.one(0), 0)?.refused(ESRCH)?;
        }
        s.writeprotect(area.one(0), mode::writeprotect::WP)?.gives(ESRCH)
    })
}

/// RWPROTECT of the dead is ESRCH, and so is switching its mode (sections 14, 16).
pub(super) fn protecting_the_reads_of_the_dead_is_esrch(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, FEATURE_RWP, reg::RWP)?;
    s.world.kill(s.me.process)?;
    s.acting(stranger, fd, |s| {
        s.send(&request::rwprotect(area.range(), mode::rwprotect::RWP))?.gives(ESRCH)?;
        s.send(&request::set_mode(FEATURE_RWP_ASYNC, 0))?.gives(ESRCH)
    })
}

/// Registering and unregistering the dead is ENOMEM (section 16).
pub(super) fn registering_the_dead_is_enomem(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, 0, reg::MISSING)?;
    s.world.kill(s.me.process)?;
    s.acting(stranger, fd, |s| {
        s.send(&request::register(area.range(), reg::MISSING))?.refused(ENOMEM)?;
        s.unregister(area.range())?.gives(ENOMEM)
    })
}

/// Waking the dead succeeds, reading is EAGAIN, polling silent (section 16).
pub(super) fn the_dead_are_silent(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, 0, reg::MISSING)?;
    s.world.kill(s.me.process)?;
    s.acting(stranger, fd, |s| {
        s.wake(area.range())?;
        expect("read", s.read_from(fd, 1)?, Err(EAGAIN))?;
        expect("poll", s.poll()?, 0)
    })
}

/// Bad arguments are still told before the death is (sections 8, 16).
pub(super) fn arguments_are_checked_before_the_death(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, 0, reg::MISSING)?;
    s.world.kill(s.me.process)?;
    s.acting(stranger, fd, |s| {
        let src = s.source(1)?;
        let Range { start, len } = area.one(0);
        s.copy(Range { start: start + 1, len }, src, 0)?.refused(EINVAL)?;
        s.copy(area.one(0), src, 1 << 40)?.refused(EINVAL)?;
        s.send(&request::register(area.one(0), 0))?.refused(EINVAL)
    })
}

/// When the process closes its own descriptor, a stranger's keeps the memory registered
/// (sections 6, 16).
pub(super) fn a_strangers_descriptor_keeps_it_registered(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, fd) = shared_with_a_stranger(w, 0, reg::MISSING)?;
    s.value(Call::Close { fd: s.fd })?;
    let who = s.blocked_load(area.at(0))?;
    s.acting(stranger, fd, |s| s.fill(area.one(0), 4, 0))?;
    expect("byte", s.loaded(who)?, 4)
}

/// When the stranger that holds the last descriptor dies, sleepers go on and read zeros
/// (sections 6, 16).
pub(super) fn the_death_of_the_last_holder_lets_go(w: &mut dyn World) -> Verdict {
    let (mut s, area, stranger, _) = shared_with_a_stranger(w, 0, reg::MISSING)?;
    s.value(Call::Close { fd: s.fd })?;
    let who = s.blocked_load(area.at(0))?;
    s.world.kill(stranger.process)?;
    expect("byte", s.loaded(who)?, 0)
}

/// A process that dies closes its descriptor: who was reading its missing page from outside goes
/// on and reads zeros (sections 6, 16).
pub(super) fn readers_of_the_dying_go_on(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    s.needs_kernel_faults()?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let reader = s.world.spawn()?;
    let of = s.me.process;
    s.world.start(reader, Call::RemoteLoad { of, at: area.at(0), len: 1 })?;
    s.still_blocked(reader)?;
    s.world.kill(of)?;
    expect("byte", s.loaded(reader)?, 0)
}
