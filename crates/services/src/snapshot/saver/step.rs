//! One step of a piece: copy, check, let go.

use faultless_pages::{Bytes, VaRange};

use super::super::live::Place;
use super::super::port::{Released, Sink, Target, TargetGone};
use super::{Saver, Step};

/// What came of copying a piece.
enum Copied<P> {
    /// All of it was protected still when it was copied.
    Whole(P),
    /// It was not; this has come of it instead.
    Not(Step),
}

impl Saver {
    /// Makes one step: copy, check, let go.
    pub(super) fn save<T: Target, S: Sink>(
        &mut self,
        place: Place,
        target: &mut T,
        sink: &mut S,
        urgent: bool,
    ) -> Result<Step, TargetGone> {
        match self.keep_twins(place.cut, target, sink, urgent)? {
            Step::LetGo => {}
            stuck => return Ok(stuck),
        }
        // Where both addresses of a page lie in one piece, half of it is saved by now.
        if self.pages.pending_in(place.cut).next() != Some(place.cut) {
            return Ok(Step::Examined);
        }
        let live = place.live_range();
        if cfg!(feature = "broken-order") {
            target.release(live);
        }
        let piece = match self.copy(place, target, sink, urgent)? {
            Copied::Whole(piece) => piece,
            Copied::Not(step) => return Ok(step),
        };
        match target.release(live) {
            Released::Done => {
                self.pages.settle_saved(place.cut);
                sink.put(place.cut, piece, urgent);
                Ok(Step::LetGo)
            }
            Released::Changing => {
                sink.give_back(piece);
                Ok(Step::Changing)
            }
            Released::Unmapped => {
                sink.give_back(piece);
                self.pages.settle_freed(place.cut);
                Ok(Step::LetGo)
            }
            Released::Gone => Err(TargetGone),
        }
    }

    /// Copies a piece and checks that the copy is true.
    fn copy<T: Target, S: Sink>(
        &mut self,
        place: Place,
        target: &mut T,
        sink: &mut S,
        urgent: bool,
    ) -> Result<Copied<S::Piece>, TargetGone> {
        let live = place.live_range();
        let Some(mut piece) = sink.take(live.len(), urgent) else {
            return Ok(Copied::Not(Step::NoRoom));
        };
        let copied = target.read(live, &mut piece);
        let is_true = copied == live.len() && target.armed(live) == [live];
        if is_true || cfg!(feature = "broken-order") {
            return Ok(Copied::Whole(piece));
        }
        sink.give_back(piece);
        self.examine(place, copied, target).map(Copied::Not)
    }

    /// Saves, at its other addresses, what lay in `cut`, and lets none of it go.
    ///
    /// [`Step::LetGo`] says that nothing of it is pending any more.
    pub(super) fn keep_twins<T: Target, S: Sink>(
        &mut self,
        cut: VaRange,
        target: &mut T,
        sink: &mut S,
        urgent: bool,
    ) -> Result<Step, TargetGone> {
        for twin in self.twins.others(cut) {
            while let Some(piece) = { self.pages.pending_in(twin).next() } {
                let Some(&place) = self.live.of(piece).first() else {
                    self.pages.settle_freed(piece);
                    continue;
                };
                match self.keep(place, target, sink, urgent)? {
                    Step::LetGo => {}
                    stuck => return Ok(stuck),
                }
            }
        }
        Ok(Step::LetGo)
    }

    /// Saves a piece without letting it go.
    fn keep<T: Target, S: Sink>(
        &mut self,
        place: Place,
        target: &mut T,
        sink: &mut S,
        urgent: bool,
    ) -> Result<Step, TargetGone> {
        let piece = match self.copy(place, target, sink, urgent)? {
            Copied::Whole(piece) => piece,
            Copied::Not(step) => return Ok(step),
        };
        if target.is_changing() {
            sink.give_back(piece);
            return Ok(Step::Changing);
        }
        self.pages.settle_saved(place.cut);
        // Out of address order even when nobody waits: a stream must not meet it yet.
        sink.put(place.cut, piece, true);
        Ok(Step::LetGo)
    }

    /// Finds out which pages of a piece are gone, and settles them as freed.
    ///
    /// What is left stays pending and comes up again, piece by smaller piece.
    fn examine<T: Target>(
        &mut self,
        place: Place,
        copied: Bytes,
        target: &mut T,
    ) -> Result<Step, TargetGone> {
        let live = place.live_range();
        let armed = target.armed(live);
        // Asked after the look at the protections: a move that took the pages elsewhere meanwhile
        // is still counted as a change, and its event says where they are.
        if target.is_changing() {
            return Ok(Step::Changing);
        }
        let mut at = live.start();
        for piece in armed.iter().copied().chain([VaRange::new(live.end(), live.end())]) {
            let gap = VaRange::new(at, piece.start());
            if let Some(gone) = place.part_in(gap) {
                self.pages.settle_freed(gone.cut);
            }
            at = piece.end();
        }
        if armed == [live] {
            // Protected but unreadable, as after a memory error: nobody can have its content, and
            // who waits to write to it must not wait for ever.
            let grain = self.grain_at(live.start());
            let first = live.start().add(copied).align_down(grain);
            let page = VaRange::of(first, grain.bytes());
            if let Some(lost) = place.part_in(page) {
                self.pages.settle_freed(lost.cut);
                if target.release(lost.live_range()) == Released::Gone {
                    return Err(TargetGone);
                }
            }
        }
        Ok(Step::Examined)
    }
}
