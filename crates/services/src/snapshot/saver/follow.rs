//! Following what the target does to its memory map.

use faultless_pages::VaRange;

use super::super::port::{Message, Move, Target};
use super::Saver;

impl Saver {
    /// Reads all messages; `false` while a move is under way whose event is still to come.
    ///
    /// Threads announce their moves after making them, in any order. The order of those that are
    /// under way at the same time is unknown until all of them are announced, which is when the
    /// kernel counts no change any more. A drop may have come before or after such a move, hence
    /// is followed on both sides of it.
    pub(super) fn listen<T: Target>(&mut self, target: &mut T, now: u64) -> bool {
        let mut inbox = std::mem::take(&mut self.inbox);
        target.messages(&mut inbox);
        for message in inbox.drain(..) {
            match message {
                Message::Fault(address) => {
                    self.counts.faults += 1;
                    self.faults.push_back((address, now));
                }
                Message::Moved(move_) => {
                    self.counts.events += 1;
                    self.moves.push(move_);
                }
                Message::Dropping(range) => {
                    self.counts.events += 1;
                    self.give_up(range);
                    self.drops.push(range);
                }
                Message::Changed => self.counts.events += 1,
            }
        }
        self.inbox = inbox;
        if self.moves.is_empty() && self.drops.is_empty() {
            return true;
        }
        if target.is_changing() {
            return false;
        }
        self.follow_moves();
        for range in std::mem::take(&mut self.drops) {
            self.give_up(range);
        }
        true
    }

    /// Gives up what lies in a live range and could be gone without showing it.
    fn give_up(&mut self, live: VaRange) {
        for place in self.live.at(live) {
            for lost in self.clinging.within(place.cut) {
                self.pages.settle_freed(lost);
                for twin in self.twins.others(lost) {
                    self.pages.settle_freed(twin);
                }
            }
        }
    }

    /// Follows the moves that were under way together.
    fn follow_moves(&mut self) {
        let moves = std::mem::take(&mut self.moves);
        for (index, move_) in moves.iter().enumerate() {
            let is_clear = |(other, met): (usize, &Move)| other == index || !met.meets(*move_);
            if moves.iter().enumerate().all(is_clear) {
                for place in self.live.relocate(move_.from, move_.to, move_.len) {
                    self.pages.settle_freed(place.cut);
                }
            } else {
                // In one order of the moves the memory is here, in the other it is there: rather
                // than save it under a wrong address it is given up.
                for range in [move_.source(), move_.destination()] {
                    for place in self.live.take(range) {
                        self.pages.settle_freed(place.cut);
                        // Nobody knows any more which writes show at its other addresses.
                        for twin in self.twins.others(place.cut) {
                            self.pages.settle_freed(twin);
                        }
                    }
                }
            }
        }
    }
}
