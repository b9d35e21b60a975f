//! What `/proc/PID/pagemap` says of each kind of page.

use faultless_uapi::scan::pagemap::{EXCLUSIVE, FILE_OR_SHARED, GUARD, PRESENT, SWAPPED, UFFD_WP};

use super::prelude::*;

/// The bits bodies look at: those whose meaning does not hang on the kernel's configuration.
const BITS: u64 = EXCLUSIVE | FILE_OR_SHARED | GUARD | PRESENT | SWAPPED | UFFD_WP;

/// A page never touched has no bits (section 11).
pub(super) fn untouched_page_has_no_bits(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = s.anon(1)?;
    expect("entry", s.entry(area.at(0))? & BITS, 0)
}

/// A page of anonymous memory is present and exclusive (section 11).
pub(super) fn written_page_is_exclusive(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    expect("entry", s.entry(area.at(0))? & BITS, PRESENT | EXCLUSIVE)
}

/// A page shared with a child is not exclusive; once written it is again (section 11).
pub(super) fn page_shared_with_a_child_is_not_exclusive(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.fork()?;
    expect("shared", s.entry(area.at(0))? & BITS, PRESENT)?;
    s.store(area.at(0), 2)?;
    expect("written", s.entry(area.at(0))? & BITS, PRESENT | EXCLUSIVE)
}

/// A page of shared memory says so, also when it was written (section 11).
pub(super) fn shared_memory_says_so(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = s.map(Memory::Shmem, 1)?;
    s.store(area.at(0), 1)?;
    let entry = s.entry(area.at(0))? & BITS;
    expect("entry", entry & !EXCLUSIVE, PRESENT | FILE_OR_SHARED)
}

/// In a private mapping of an object, a page read is the object's and a page written is the
/// mapping's own (section 11).
pub(super) fn private_mapping_shows_whose_page_it_is(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = s.map(Memory::PrivateShmem, 1)?;
    let alias = s.alias(&area)?;
    s.store(alias.at(0), 1)?;
    expect("byte", s.load(area.at(0))?, 1)?;
    let read = s.entry(area.at(0))? & (PRESENT | FILE_OR_SHARED);
    expect("read", read, PRESENT | FILE_OR_SHARED)?;
    s.store(area.at(0), 2)?;
    expect("written", s.entry(area.at(0))? & BITS, PRESENT | EXCLUSIVE)
}

/// The zero page is present and nobody's own (section 11).
pub(super) fn zero_page_is_nobodys(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    let area = s.anon(1)?;
    expect("byte", s.load(area.at(0))?, 0)?;
    expect("entry", s.entry(area.at(0))? & (PRESENT | EXCLUSIVE), PRESENT)
}

/// A protected page has bit 57, and loses it with its protection (section 11).
pub(super) fn protection_is_bit_57(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP)?;
    let area = s.anon(1)?;
    s.store(area.at(0), 1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("protected", s.entry(area.at(0))? & BITS, PRESENT | EXCLUSIVE | UFFD_WP)?;
    s.writeprotect(area.range(), 0)?.ok()?;
    expect("unprotected", s.entry(area.at(0))? & BITS, PRESENT | EXCLUSIVE)
}

/// A guard has bit 58, since 6.15, and looks swapped like every marker (section 11).
pub(super) fn guard_is_bit_58(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    if !s.profile().shows_guards() {
        return skip("guards are shown since 6.15");
    }
    let area = s.anon(1)?;
    s.advise(area.range(), advice::GUARD_INSTALL)?;
    expect("entry", s.entry(area.at(0))? & BITS, GUARD | SWAPPED)
}

/// A page that came with COPY is the mapping's own (sections 8, 11).
pub(super) fn copied_page_is_exclusive(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, 0)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.fill(area.range(), 1, 0)?;
    expect("entry", s.entry(area.at(0))? & BITS, PRESENT | EXCLUSIVE)
}

/// A page that came with MOVE is the mapping's own (sections 11, 13).
pub(super) fn moved_page_is_exclusive(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_MOVE)?;
    let area = s.anon(1)?;
    let src = s.source(1)?;
    s.register(area.range(), reg::MISSING)?;
    s.move_pages(area.range(), src, 0)?.done(area.page_size)?;
    expect("entry", s.entry(area.at(0))? & BITS, PRESENT | EXCLUSIVE)
}

/// A write-protect marker looks swapped out, without a page in swap (section 11 and
/// docs/kernel-notes.md).
pub(super) fn markers_look_swapped(w: &mut dyn World) -> Verdict {
    let mut s = Stage::open(w, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED)?;
    let area = s.anon(1)?;
    s.register(area.range(), reg::WP)?;
    s.protect(area.range())?;
    expect("entry", s.entry(area.at(0))? & BITS, SWAPPED | UFFD_WP)
}

/// Where nothing but the page of zeros is mapped a child inherits no entries; beside a page of its
/// own it does (section 11 and docs/kernel-notes.md).
pub(super) fn pages_of_zeros_alone_are_not_inherited(w: &mut dyn World) -> Verdict {
    let mut s = Stage::bare(w)?;
    for (own, inherited) in [(false, 0), (true, PRESENT)] {
        let area = s.anon(2)?;
        expect("byte", s.load(area.at(0))?, 0)?;
        if own {
            s.store(area.at(1), 1)?;
        }
        let (child, fd) = (s.fork()?, s.fd);
        let entry = s.acting(child, fd, |s| s.entry(area.at(0)))?;
        expect("child", entry & BITS, inherited)?;
    }
    Ok(())
}
