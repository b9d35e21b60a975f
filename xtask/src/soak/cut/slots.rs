//! The promises of the churn thread: memory that grows, is freed and moves.

use anyhow::Result;

use super::layout::{
    Header, MARK_CHURN, SLOT_OTHER, Slot, State, WORD_FIRST, WORD_LAST, WORD_MIDDLE, slot_content,
    slot_home,
};
use super::snapshot::{Content, PAGE, Page, Snapshot, ZEROS, word};
use super::verdict::{Promise, Verdict};

/// Checks every settled slot, and that at most the running operation's slot is unsettled.
pub(crate) fn check(
    snapshot: &mut dyn Snapshot,
    header: &Header,
    verdict: &mut Verdict,
) -> Result<()> {
    check_progress(snapshot, header, verdict);
    let mut checker = Checker { snapshot, verdict, page: Box::new([0; PAGE]) };
    for slot in &header.slots {
        checker.check_slot(slot)?;
    }
    Ok(())
}

/// The register runs at most one operation ahead of memory, and only then is a slot unsettled.
fn check_progress(snapshot: &mut dyn Snapshot, header: &Header, verdict: &mut Verdict) {
    let tid = header.churn.tid;
    let changing = header.slots.iter().filter(|s| s.state == State::Changing).count() as u64;
    let registers = snapshot.registers();
    let Some(own) = registers.iter().find(|r| r.tid == tid) else {
        verdict.broken(Promise::ThreadThere, tid, MARK_CHURN, 0);
        return;
    };
    // Inside the C library, where this thread calls fork and the like, the registers are used for
    // other things; that is in the middle of an operation.
    let running = if own.mark == MARK_CHURN { own.seq.wrapping_sub(header.churn_ops) } else { 1 };
    if running > 1 {
        verdict.broken(Promise::RegisterMatches, tid, own.seq, header.churn_ops);
    }
    if changing > running {
        verdict.broken(Promise::OneChange, tid, running, changing);
    }
}

struct Checker<'a> {
    snapshot: &'a mut dyn Snapshot,
    verdict: &'a mut Verdict,
    page: Box<Page>,
}

impl Checker<'_> {
    fn check_slot(&mut self, slot: &Slot) -> Result<()> {
        match slot.state {
            State::Changing => return Ok(()),
            State::Mapped => {
                for page in 0..slot.pages {
                    self.check_content(slot, page)?;
                }
            }
            State::Unmapped => {}
        }
        // Other parts of the program may use what lies above the heap's end.
        if !slot.is_heap {
            self.check_windows(slot)?;
        }
        Ok(())
    }

    fn check_content(&mut self, slot: &Slot, number: u64) -> Result<()> {
        let at = slot.base + number * PAGE as u64;
        let is_hole = slot.odd_holes && number % 2 == 1;
        let expected = if is_hole { 0 } else { slot_content(slot.index, slot.generation, number) };
        self.verdict.slot_pages += 1;
        match self.snapshot.page(at, &mut self.page)? {
            Content::Saved if is_hole => self.check_zeros(at),
            Content::Saved => self.check_words(at, expected),
            Content::Freed if is_hole => self.verdict.freed_holes += 1,
            Content::Freed => self.verdict.freed += 1,
            Content::Absent => self.verdict.broken(Promise::SlotThere, at, expected, 0),
        }
        Ok(())
    }

    fn check_words(&mut self, at: u64, expected: u64) {
        for at_word in [WORD_FIRST, WORD_MIDDLE, WORD_LAST] {
            let place = at + 8 * at_word as u64;
            self.verdict.same(Promise::SlotContent, place, expected, word(&self.page, at_word));
        }
        for gap in [WORD_FIRST + 1..WORD_MIDDLE, WORD_MIDDLE + 1..WORD_LAST] {
            let bytes = gap.start * 8..gap.end * 8;
            if self.page[bytes.clone()] != ZEROS[bytes] {
                self.verdict.broken(Promise::Untouched, at + 8 * gap.start as u64, 0, 1);
            }
        }
    }

    fn check_zeros(&mut self, at: u64) {
        if *self.page != ZEROS {
            self.verdict.broken(Promise::SlotHole, at, 0, word(&self.page, WORD_FIRST));
        }
    }

    /// Everything in the slot's two windows that its entry does not claim is absent or, for the
    /// window left by a move, empty.
    fn check_windows(&mut self, slot: &Slot) -> Result<()> {
        let claimed = match slot.state {
            State::Mapped => slot.base..slot.base + slot.pages * PAGE as u64,
            _ => 0..0,
        };
        for window in [slot_home(slot.index), slot_home(slot.index) + SLOT_OTHER] {
            for number in 0..slot.pages_max {
                let at = window + number * PAGE as u64;
                if !claimed.contains(&at) {
                    self.check_unclaimed(slot, window, at)?;
                }
            }
        }
        Ok(())
    }

    fn check_unclaimed(&mut self, slot: &Slot, window: u64, at: u64) -> Result<()> {
        match self.snapshot.page(at, &mut self.page)? {
            Content::Absent => {}
            Content::Freed if slot.shadow == window => self.verdict.freed_holes += 1,
            Content::Saved if slot.shadow == window => self.check_zeros(at),
            Content::Saved | Content::Freed => {
                self.verdict.broken(Promise::SlotGone, at, 0, word(&self.page, WORD_FIRST));
            }
        }
        Ok(())
    }
}
