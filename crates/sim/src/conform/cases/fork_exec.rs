//! fork and exec: what a child inherits, with and without the event.

use super::prelude::*;

/// A fork under way in a thread of its own, its FORK message read.
struct Forked {
    child: Thread,
    /// The child's userfaultfd, in the reader's process.
    fd: Fd,
}

fn fork_with_event(s: &mut Stage<'_>) -> Verdict<Forked> {
    let forker = s.blocked(Call::Fork)?;
    let message = s.message()?;
    expect("event", message.event, event::FORK)?;
    let value = s.goes_on(forker)?.result.unwrap_or(0);
    Ok(Forked { child: child_thread(value)?, fd: Fd(message.fork_ufd()) })
}

/// Without EVENT_FORK a child's memory is ordinary, and the parent's is not disturbed
/// (section 6).
pub(super) fn child_without_event_is_ordinary(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let child = s.fork()?;
    let byte = s.call_in(child, Call::Load { at: area.at(0), len: 1 })?;
    expect("child", byte.bytes, vec![0])?;
    s.quiet()?;
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// Without EVENT_FORK write-protection is taken off the child's pages, and stays on the parent's
/// (section 6).
pub(super) fn child_without_event_is_unprotected(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    let child = s.fork()?;
    let fd = s.fd;
    s.acting(child, fd, |s| {
        expect("child protected", s.is_protected(area.at(0))?, false)?;
        s.store(area.at(0), 2)
    })?;
    expect("parent protected", s.is_protected(area.at(0))?, true)?;
    s.blocked_store(area.at(0), 3)?;
    s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)
}

/// MADV_DONTFORK is honoured: the child has nothing there (section 6).
pub(super) fn dontfork_is_honoured(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_FORK)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.advise(area.range(), advice::DONTFORK)?;
    // Nothing registered is copied, so there is no event to wait for.
    let child = s.fork()?;
    let stop = s.call_in(child, Call::Load { at: area.at(0), len: 1 })?.result;
    let wanted = Stop::Sigsegv { code: code::SEGV_MAPERR, at: area.at(0) };
    expect("child", stop, Err(wanted))
}

/// With EVENT_FORK the forking thread waits until the event is read, and the message brings a
/// userfaultfd for the child's memory (section 10).
pub(super) fn event_brings_the_childs_descriptor(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_FORK)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let Forked { child, fd } = fork_with_event(&mut s)?;
    s.world.start(child, Call::Load { at: area.at(0), len: 1 })?;
    s.still_blocked(child)?;
    s.quiet()?;
    s.acting(s.me, fd, |s| {
        s.expect_fault(area.at(0), 0)?;
        s.fill(area.range(), 9, 0)
    })?;
    expect("child", s.loaded(child)?, 9)?;
    // The parent's page is still missing.
    s.blocked_load(area.at(0))?;
    s.expect_fault(area.at(0), 0)
}

/// With EVENT_FORK the child's pages keep their write-protection (sections 6, 11).
pub(super) fn event_keeps_protection_in_the_child(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_FORK | FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    let Forked { child, fd } = fork_with_event(&mut s)?;
    s.world.start(child, Call::Store { at: area.at(0), bytes: vec![2] })?;
    s.still_blocked(child)?;
    s.acting(s.me, fd, |s| {
        s.expect_fault(area.at(0), fault_flag::WRITE | fault_flag::WP)?;
        s.writeprotect(area.range(), 0)?.ok()
    })?;
    s.goes_on(child)?;
    expect("parent", s.load(area.at(0))?, 1)
}

/// When the reader can have no more descriptors, reading FORK fails with that error; the event
/// stays, and is read once there is room (section 6).
pub(super) fn event_waits_for_a_free_descriptor(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_FORK)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let reader = s.world.spawn()?;
    let fd = s.world.pass(s.me, s.fd, reader)?;
    let forker = s.blocked(Call::Fork)?;
    s.acting(reader, fd, |s| {
        s.value(Call::LimitDescriptors { count: 3 })?;
        expect("read", s.read_from(fd, 1)?, Err(EMFILE))?;
        expect("poll", s.poll()?, poll::IN)?;
        s.value(Call::LimitDescriptors { count: 64 })?;
        expect("event", s.message()?.event, event::FORK)
    })?;
    s.goes_on(forker).map(|_| ())
}

/// The child's descriptor has the parent's features, and is non-blocking like it (section 6).
pub(super) fn childs_descriptor_is_like_its_parents(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_FORK | FEATURE_THREAD_ID)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let Forked { child: _, fd } = fork_with_event(&mut s)?;
    let features = |text: &str| {
        text.lines().find_map(|line| Some(line.strip_prefix("API:")?.to_owned()))
    };
    let parent = features(&s.fdinfo()?);
    s.acting(s.me, fd, |s| {
        expect("features", features(&s.fdinfo()?), parent)?;
        expect("read", s.read_from(fd, 1)?, Err(EAGAIN))
    })
}

/// The child's descriptor reports the child's own fork in turn (section 10).
pub(super) fn grandchildren_are_reported_too(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_FORK)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    let Forked { child, fd } = fork_with_event(&mut s)?;
    s.world.start(child, Call::Fork)?;
    s.still_blocked(child)?;
    let message = s.acting(s.me, fd, |s| s.message())?;
    expect("event", message.event, event::FORK)?;
    let value = s.goes_on(child)?.result.unwrap_or(0);
    let grandchild = child_thread(value)?;
    s.world.start(grandchild, Call::Load { at: area.at(0), len: 1 })?;
    s.still_blocked(grandchild)?;
    let fd = Fd(message.fork_ufd());
    s.acting(s.me, fd, |s| s.fill(area.range(), 4, 0))?;
    expect("grandchild", s.loaded(grandchild)?, 4)
}

/// Each userfaultfd of the parent has its own FORK event (section 10).
pub(super) fn every_descriptor_has_its_event(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_EVENT_FORK)?;
    let (first, second) = (s.fd, s.open_another(USUAL, FEATURE_EVENT_FORK)?);
    let area = s.anon(2)?;
    s.send_to(first, &request::register(area.one(0), reg::MISSING))?.ok()?;
    s.send_to(second, &request::register(area.one(1), reg::MISSING))?.ok()?;
    let forker = s.blocked(Call::Fork)?;
    let mut events = [0; 2];
    // Which event comes first is not promised.
    while s.world.settle(forker)?.is_none() {
        for (count, fd) in events.iter_mut().zip([first, second]) {
            s.fd = fd;
            *count += s.messages()?.iter().filter(|m| m.event == event::FORK).count();
        }
    }
    expect("events", events, [1, 1])
}

/// Poison is inherited; it needs no event (section 8).
pub(super) fn poison_is_inherited(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_POISON)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.poison(area.range(), 0)?.done(area.page_size)?;
    let child = s.fork()?;
    let code = s.profile().poison_code();
    let stop = s.call_in(child, Call::Load { at: area.at(0), len: 1 })?.result;
    expect("child", stop, Err(Stop::Sigbus { code, at: area.at(0) }))
}

/// exec replaces the memory without a word; what keeps the descriptor finds a dead address space
/// (section 6).
pub(super) fn exec_sends_no_event(w: &mut dyn World) -> Verdict {
    let features = FEATURE_EVENT_UNMAP | FEATURE_EVENT_REMOVE;
    let mut s = Stage::open_with(w, open::NONBLOCK, features)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.value(Call::Exec)?;
    s.quiet()?;
    expect("poll", s.poll()?, 0)?;
    s.zeropage(area.range(), 0)?.refused(ESRCH)?;
    s.send(&request::register(area.range(), reg::MISSING))?.refused(ENOMEM)
}

/// CLOEXEC closes the descriptor at exec (section 0).
pub(super) fn close_on_exec_closes(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    s.value(Call::Exec)?;
    s.refuses(Call::Read { fd: s.fd, len: 32 }, EBADF)
}

/// A write-protect marker is inherited with EVENT_FORK, and left out without (sections 6, 11).
pub(super) fn markers_follow_the_event(w: &mut dyn World) -> Verdict {
    let features = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED;
    for (feature, wanted) in [(FEATURE_EVENT_FORK, true), (0, false)] {
        let mut s = Stage::open(&mut *w, features | feature)?;
        let area = s.anon(1)?;
        s.register(area.range(), reg::WP)?;
        s.protect(area.range())?;
        let child = if wanted { fork_with_event(&mut s)?.child } else { s.fork()? };
        let fd = s.fd;
        s.acting(child, fd, |s| expect("child", s.is_protected(area.at(0))?, wanted))?;
    }
    Ok(())
}
