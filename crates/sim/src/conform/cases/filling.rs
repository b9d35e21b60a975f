//! What every request that fills memory has in common: COPY, ZEROPAGE, CONTINUE, POISON, MOVE.

use super::prelude::*;

/// A request that fills one page, and the page it fills.
struct Filler {
    range: Range,
    request: Request,
}

/// Every filling request this world has, each about to work on a page of its own.
fn fillers(s: &mut Stage<'_>) -> Verdict<Vec<Filler>> {
    let (poison, move_) = (s.profile().offers(FEATURE_POISON), s.profile().offers(FEATURE_MOVE));
    let area = s.anon(4)?;
    s.register(area.range(), reg::MISSING)?;
    let src = s.source(1)?;
    let mut requests = vec![
        request::copy(area.one(0), src, 0),
        request::zeropage(area.one(1), 0),
    ];
    if poison {
        requests.push(request::poison(area.one(2), 0));
    }
    if move_ {
        let src = s.source(1)?;
        requests.push(request::move_(area.one(3), src, 0));
    }
    let mut fillers: Vec<Filler> = requests.into_iter().map(filler).collect();
    fillers.push(continuing(s)?);
    Ok(fillers)
}

/// The destination is the first pair of words in every argument but that of COPY and MOVE, whose
/// length is the third.
fn filler(request: Request) -> Filler {
    let words: Vec<u64> =
        request.argument.as_chunks::<8>().0.iter().map(|raw| u64::from_ne_bytes(*raw)).collect();
    let len = if request.argument.len() == 40 { words[2] } else { words[1] };
    Filler { range: Range { start: words[0], len }, request }
}

fn continuing(s: &mut Stage<'_>) -> Verdict<Filler> {
    let area = s.map(Memory::Shmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 1)?;
    s.register(area.range(), reg::MINOR)?;
    Ok(filler(request::continue_(area.range(), 0)))
}

/// An argument that cannot be read is EFAULT (section 8).
pub(super) fn unreadable_arguments_fault(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    for Filler { request, .. } in fillers(&mut s)? {
        let call = Call::IoctlWord { fd: s.fd, request: request.number, word: NOWHERE };
        s.refuses(call, EFAULT)?;
    }
    Ok(())
}

/// An out field that cannot be written is EFAULT, after the work is done: again is EEXIST
/// (section 8).
pub(super) fn unwritable_out_fields_come_too_late(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    for Filler { request, .. } in fillers(&mut s)? {
        let argument = s.anon(1)?;
        s.value(Call::Store { at: argument.start, bytes: request.argument.clone() })?;
        s.mprotect(argument.range(), prot::READ)?;
        let call = Call::IoctlWord { fd: s.fd, request: request.number, word: argument.start };
        s.refuses(call, EFAULT)?;
        s.send(&request)?.failed(EEXIST)?;
    }
    Ok(())
}

/// The bytes done are in the out field (section 8).
pub(super) fn success_tells_the_bytes(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    for Filler { range, request } in fillers(&mut s)? {
        s.send(&request)?.done(range.len)?;
    }
    Ok(())
}

/// A second time is EEXIST (section 8).
pub(super) fn filling_twice_exists(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    for Filler { request, .. } in fillers(&mut s)? {
        s.send(&request)?.ok()?;
        s.send(&request)?.failed(EEXIST)?;
    }
    Ok(())
}

/// The sleepers of the page wake (section 8).
pub(super) fn sleepers_wake(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    for Filler { range, request } in fillers(&mut s)? {
        let who = s.blocked_load(range.start)?;
        s.send(&request)?.ok()?;
        s.outcome(who)?;
    }
    Ok(())
}

/// A destination that was unmapped meanwhile is ENOENT (section 8).
pub(super) fn unmapped_destinations_are_noent(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MINOR_SHMEM)?;
    for Filler { range, request } in fillers(&mut s)? {
        s.unmap(range)?;
        s.send(&request)?.failed(ENOENT)?;
    }
    Ok(())
}
