//! MOVE and entries that are neither page nor hole: markers on either side.

use faultless_uapi::mode::move_::ALLOW_SRC_HOLES;

use super::prelude::*;

const FEATURES: u64 =
    FEATURE_MOVE | FEATURE_POISON | FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_UNPOPULATED;

/// Two registered mappings of three pages; in the first, page 0 is marked write-protected,
/// page 1 poisoned, page 2 guarded where guards exist.
fn marked(w: &mut dyn World) -> Verdict<(Stage<'_>, Area, Area, u64)> {
    let mut s = Stage::open(w, FEATURES)?;
    let (marked, other) = (s.anon(3)?, s.anon(3)?);
    s.register(marked.range(), reg::MISSING | reg::WP)?;
    s.register(other.range(), reg::MISSING | reg::WP)?;
    s.protect(marked.one(0))?;
    s.poison(marked.one(1), 0)?.done(marked.page_size)?;
    let guards = s.profile().has_guards();
    if guards {
        s.advise(marked.one(2), advice::GUARD_INSTALL)?;
    }
    Ok((s, marked, other, if guards { 3 } else { 2 }))
}

/// A marker at the source is EFAULT (section 13).
pub(super) fn markers_at_the_source_fault(w: &mut dyn World) -> Verdict {
    let (mut s, src, dst, count) = marked(w)?;
    for page in 0..count {
        s.move_pages(dst.one(page), src.at(page), 0)?.failed(EFAULT)?;
    }
    Ok(())
}

/// A marker is no hole: EFAULT with ALLOW_SRC_HOLES too (section 13).
pub(super) fn markers_are_no_holes(w: &mut dyn World) -> Verdict {
    let (mut s, src, dst, count) = marked(w)?;
    for page in 0..count {
        s.move_pages(dst.one(page), src.at(page), ALLOW_SRC_HOLES)?.failed(EFAULT)?;
    }
    Ok(())
}

/// A marker at the destination is EEXIST, and the source keeps its page (section 13).
pub(super) fn markers_at_the_destination_exist(w: &mut dyn World) -> Verdict {
    let (mut s, dst, _, count) = marked(w)?;
    for page in 0..count {
        let src = s.source(4)?;
        s.move_pages(dst.one(page), src, 0)?.failed(EEXIST)?;
        expect("source", s.load(src)?, 4)?;
    }
    Ok(())
}
