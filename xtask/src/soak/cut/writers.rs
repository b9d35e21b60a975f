//! The promises of the writer threads, checked against their registers.

use std::collections::BTreeMap;

use anyhow::Result;

use super::layout::{
    Header, MARK_WRITER, WORD_FIRST, WORD_IDENTITY, WORD_LAST, WORD_MIDDLE, WORD_SEEN,
    page_identity,
};
use super::snapshot::{Content, PAGE, Page, Registers, Snapshot, ZEROS, word};
use super::verdict::{Promise, Verdict};

/// Checks every page of every writer.
pub(crate) fn check(
    snapshot: &mut dyn Snapshot,
    header: &Header,
    verdict: &mut Verdict,
) -> Result<()> {
    let registers = snapshot.registers();
    for thread in 0..header.threads() {
        if let Some(writer) = Writer::find(header, thread, &registers, verdict) {
            writer.check_pages(snapshot, verdict)?;
        }
    }
    Ok(())
}

/// One writer at the cut.
struct Writer<'a> {
    header: &'a Header,
    thread: u64,
    /// The stamp it was writing.
    now: u64,
    /// The number its neighbour had published.
    neighbour: u64,
}

impl<'a> Writer<'a> {
    fn find(
        header: &'a Header,
        thread: u64,
        registers: &[Registers],
        verdict: &mut Verdict,
    ) -> Option<Writer<'a>> {
        let at = usize::try_from(thread).ok()?;
        let block = header.writers[at];
        let mark = MARK_WRITER | thread;
        let Some(own) = registers.iter().find(|r| r.tid == block.tid) else {
            verdict.broken(Promise::ThreadThere, block.tid, mark, 0);
            return None;
        };
        if own.mark != mark {
            verdict.broken(Promise::ThreadThere, block.tid, mark, own.mark);
            return None;
        }
        // The register counts up first, the number is published after the last store.
        if own.seq != block.published && own.seq != block.published + 1 {
            verdict.broken(Promise::RegisterMatches, block.tid, own.seq, block.published);
        }
        let neighbour = header.writers[(at + 1) % header.writers.len()].published;
        Some(Writer { header, thread, now: own.seq, neighbour })
    }

    fn check_pages(&self, snapshot: &mut dyn Snapshot, verdict: &mut Verdict) -> Result<()> {
        let mut page = Box::new([0; PAGE]);
        let mut seen_at: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut first = 0;
        for region in &self.header.regions {
            let own = region.pages / self.header.threads();
            for (base, row) in region.mappings().flat_map(|base| (0..own).map(move |r| (base, r))) {
                let stripe = row * self.header.threads() + self.thread;
                let (address, index) = (base + stripe * PAGE as u64, first + row);
                if snapshot.page(address, &mut page)? == Content::Saved {
                    let (stamp, seen) = self.check_page(address, index, &page, verdict);
                    seen_at.insert(stamp, (seen, address));
                } else {
                    let identity = page_identity(self.thread, index);
                    verdict.broken(Promise::PageThere, address, identity, 0);
                }
                verdict.pages += 1;
            }
            first += own;
        }
        self.check_seen(&seen_at, verdict);
        Ok(())
    }

    /// Checks one page; returns the stamp it carries by rights and what was seen at that moment.
    fn check_page(&self, at: u64, index: u64, page: &Page, verdict: &mut Verdict) -> (u64, u64) {
        let identity = page_identity(self.thread, index);
        verdict.same(Promise::Identity, at, identity, word(page, WORD_IDENTITY));
        self.check_untouched(at, page, verdict);
        let stamp = self.header.order.stamp_of(index, self.now);
        let words = [WORD_FIRST, WORD_MIDDLE, WORD_LAST];
        if stamp != self.now || stamp == 0 {
            for at_word in words {
                let place = at + 8 * at_word as u64;
                verdict.same(Promise::Stamp, place, stamp, word(page, at_word));
            }
            return (stamp, word(page, WORD_SEEN));
        }
        // The page being written: new words first, old words after them, never another order.
        let before = stamp.saturating_sub(self.header.order.pages);
        let mut still_new = true;
        for at_word in words {
            let found = word(page, at_word);
            still_new &= found == stamp;
            let expected = if still_new { stamp } else { before };
            verdict.same(Promise::Stamp, at + 8 * at_word as u64, expected, found);
        }
        // `seen` is stored second: it is this stamp's only once the next word is.
        let done = word(page, WORD_MIDDLE) == stamp;
        (if done { stamp } else { before }, word(page, WORD_SEEN))
    }

    fn check_untouched(&self, at: u64, page: &Page, verdict: &mut Verdict) {
        let gaps = [WORD_SEEN + 1..WORD_MIDDLE, WORD_MIDDLE + 1..WORD_LAST];
        for gap in gaps {
            let bytes = gap.start * 8..gap.end * 8;
            if page[bytes.clone()] != ZEROS[bytes] {
                verdict.broken(Promise::Untouched, at + 8 * gap.start as u64, 0, 1);
            }
        }
    }

    /// In the order of stamps, what was seen of the neighbour only grows, up to what the
    /// neighbour had published.
    fn check_seen(&self, seen_at: &BTreeMap<u64, (u64, u64)>, verdict: &mut Verdict) {
        let mut highest = 0;
        for (&stamp, &(seen, address)) in seen_at {
            // The page being written may already carry the next value it saw.
            let unfinished = stamp + self.header.order.pages == self.now;
            if stamp > 0 && seen < highest {
                verdict.broken(Promise::SeenGrows, address, highest, seen);
            }
            if seen > self.neighbour {
                verdict.broken(Promise::SeenIsPast, address, self.neighbour, seen);
            }
            if stamp > 0 && !unfinished {
                highest = highest.max(seen);
            }
        }
    }
}
