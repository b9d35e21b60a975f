//! The heart of a snapshot: every page of the cut is saved before it can change.
//!
//! At the cut all pages are write-protected. From then on a page goes through one step, in this
//! order: **copy, check, let go**. Copying before letting go is what makes the core a state that
//! existed; the check is what makes the copy true.
//!
//! # Why a copy that passes the check is true
//! - The page still carried its protection after it was copied. Only the cut sets protections, so
//!   no write, discard or replacement of the page came between the cut and the copy.
//! - Letting go fails while the mapping of the target is changing (`EAGAIN`): the kernel counts a
//!   change from before it touches a page table until its event has been read. Events are read by
//!   this same thread, never between a copy and the end of its step. So no `mremap` can have put
//!   another protected page under the address that was copied.
//!
//! The protection of shared memory, of memory objects and of huge page pools outlives its content:
//! after a hole was punched the entry remembers it, and the copy itself faults a protected page of
//! zeros in. There the kernel's word counts: it announces every such drop and waits until that was
//! read, so pages are given up before they can be gone.
//!
//! Shared memory may lie at more than one address, and a write through one of them asks only the
//! protection there: a page is let go only after it was copied at all of them ([`Twins`]).
//!
//! # Concurrency
//! One thread owns all state and makes every step; faults are looked for between two pieces of
//! background work, so that a waiting writer waits for at most one piece. Nothing here knows about
//! threads, files or clocks: [`Target`] and [`Sink`] are the world, and the tests give it another.

mod follow;
mod step;

use std::collections::VecDeque;

use faultless_pages::{Bytes, PageSize, RangeSet, Va, VaRange};

use super::live::{LiveMap, Place};
use super::pages::{Pages, Run};
use super::port::{Message, Move, Released, Sink, Target, TargetGone};
use super::twins::Twins;

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Something; try again at once.
    Again,
    /// Something, but the sink has no room for it.
    NoRoom,
    /// Nothing.
    Done,
}

/// Who need not wait any longer.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The marks of writers that were let go.
    pub(super) served: Vec<u64>,
    /// The tickets of holds that are settled.
    pub(super) settled: Vec<u64>,
}

/// How one step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The whole piece is settled, and who waited for it was woken.
    LetGo,
    /// It was found out what became of the piece: a part of it may be pending still, and nobody
    /// was woken. Discarding a page does not wake who waits to write to it.
    Examined,
    /// The mapping is changing: read its events first.
    Changing,
    /// The sink has no room.
    NoRoom,
}

/// Background pieces: long enough to spread the cost of a system call and of flushing the TLBs,
/// short enough for a writer to wait for.
const BACKGROUND: PageSize = match PageSize::new(Bytes::kib(512)) {
    Some(size) => size,
    None => panic!("a page size"),
};
/// A fault takes its pending neighbours along: the next write of most programs is nearby, and a
/// program that writes everywhere is served with a quarter of the faults of 64 KiB: each takes
/// twice as long, the snapshot half as long. At 512 KiB single writers wait longer for nothing ...
const REACH: PageSize = match PageSize::new(Bytes::kib(256)) {
    Some(size) => size,
    None => panic!("a page size"),
};

/// ... unless the sink is behind: then they wait for it anyway, and a disk that gets long pieces
/// is done a third sooner.
const REACH_BEHIND: PageSize = match PageSize::new(Bytes::mib(1)) {
    Some(size) => size,
    None => panic!("a page size"),
};

/// No step takes a longer piece, but for single pages that are longer.
pub(super) const LONGEST: PageSize = REACH_BEHIND;

/// What is written directly after a write is mostly nearby: it is saved before that is asked for,
/// and a disk that is behind gets long pieces instead of many short ones.
const NEARBY: PageSize = PageSize::MIB2;

/// What a saver counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Writes that had to wait.
    pub(super) faults: u64,
    /// Turns on which a waiting writer found no room in the buffer.
    pub(super) throttled: u64,
    /// Changes of the mapping that were followed.
    pub(super) events: u64,
}

/// Saves every page of a cut.
#[derive(Debug)]
pub(super) struct Saver {
    pages: Pages,
    live: LiveMap,
    /// Memory of huge page pools, by its addresses at the cut: smaller pieces cannot be let go.
    pools: Vec<Run>,
    cursor: Va,
    /// The surroundings of the writer that was let go last, where order is worth nothing.
    nearby: Option<VaRange>,
    /// Writers that wait, and since when.
    faults: VecDeque<(Va, u64)>,
    /// Ranges that must be settled before the target may go on.
    holds: VecDeque<(u64, VaRange)>,
    inbox: Vec<Message>,
    /// Moves that were announced while others may still be under way.
    moves: Vec<Move>,
    /// Memory whose protection outlives its content, by its addresses at the cut.
    clinging: RangeSet,
    /// Shared memory that lies at more than one address.
    twins: Twins,
    /// Ranges whose content is about to be dropped, by live addresses.
    drops: Vec<VaRange>,
    counts: Counts,
}

impl Saver {
    /// Starts with the pages of the cut where they lay.
    ///
    /// `clinging` is memory whose protection outlives its content; `waiting` are writers that were
    /// heard of before the cut.
    pub(super) fn new(
        pages: Pages,
        live: LiveMap,
        pools: Vec<Run>,
        clinging: RangeSet,
        twins: Twins,
        waiting: VecDeque<Va>,
    ) -> Saver {
        Saver {
            pages,
            live,
            pools,
            clinging,
            twins,
            drops: Vec::new(),
            cursor: Va(0),
            nearby: None,
            faults: waiting.into_iter().map(|address| (address, 0)).collect(),
            holds: VecDeque::new(),
            inbox: Vec::new(),
            moves: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Returns the state of the pages.
    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Returns what was counted.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Asks for `live` to be settled before anything else; [`serve`](Self::serve) tells when.
    pub(super) fn hold(&mut self, ticket: u64, live: VaRange) {
        self.holds.push_back((ticket, live));
    }

    /// Listens, and serves everybody who waits.
    ///
    /// `now` marks faults that are new; the marks of served ones go to `served`, the tickets of
    /// settled holds to `settled`.
    pub(super) fn serve<T: Target, S: Sink>(
        &mut self,
        target: &mut T,
        sink: &mut S,
        now: u64,
        done: &mut Done,
    ) -> Result<Turn, TargetGone> {
        if !self.listen(target, now) {
            return Ok(Turn::Again);
        }
        let step = match self.serve_faults(target, sink, done)? {
            Step::LetGo | Step::Examined => self.serve_holds(target, sink, done)?,
            stuck => stuck,
        };
        Ok(match step {
            Step::LetGo | Step::Examined => Turn::Done,
            Step::Changing => Turn::Again,
            Step::NoRoom => {
                self.counts.throttled += 1;
                Turn::NoRoom
            }
        })
    }

    /// Lets every waiting writer go, saving first what it is about to change.
    fn serve_faults<T: Target, S: Sink>(
        &mut self,
        target: &mut T,
        sink: &mut S,
        done: &mut Done,
    ) -> Result<Step, TargetGone> {
        while let Some(&(address, since)) = self.faults.front() {
            let reach = if sink.is_behind() { REACH_BEHIND } else { REACH };
            let step = match self.pending_at(address, reach) {
                Some(place) => {
                    let start = place.cut.start().align_down(NEARBY);
                    self.nearby = Some(VaRange::of(start, NEARBY.bytes()));
                    self.save(place, target, sink, true)?
                }
                None => self.let_go(address, target, sink)?,
            };
            match step {
                Step::LetGo => {
                    self.faults.pop_front();
                    done.served.push(since);
                }
                Step::Examined => {}
                stuck => return Ok(stuck),
            }
        }
        Ok(Step::LetGo)
    }

    /// Returns the pending piece around a live address.
    fn pending_at(&self, address: Va, reach: PageSize) -> Option<Place> {
        let at = VaRange::of(address, Bytes(1));
        let cut = self.live.at(at).first()?.cut.start();
        let around = self.pages.around(cut, reach)?;
        self.live.of(around).into_iter().find(|place| place.live_range().contains(address))
    }

    /// Lets a writer go whose page needs no saving: saved meanwhile, or newer than the cut.
    fn let_go<T: Target, S: Sink>(
        &mut self,
        address: Va,
        target: &mut T,
        sink: &mut S,
    ) -> Result<Step, TargetGone> {
        let grain = self.grain_at(address);
        let page = VaRange::of(address.align_down(grain), grain.bytes());
        for place in self.live.at(page) {
            match self.keep_twins(place.cut, target, sink, true)? {
                Step::LetGo => {}
                stuck => return Ok(stuck),
            }
        }
        match target.release(page) {
            // Woken either way; a writer whose page is gone meets what is there now.
            Released::Done | Released::Unmapped => Ok(Step::LetGo),
            Released::Changing => Ok(Step::Changing),
            Released::Gone => Err(TargetGone),
        }
    }

    /// Returns the size of the smallest piece that can be let go at a live address.
    fn grain_at(&self, address: Va) -> PageSize {
        let base = self.pages.page_size();
        let places = self.live.at(VaRange::of(address, Bytes(1)));
        let Some(cut) = places.first().map(|place| place.cut.start()) else { return base };
        let pool = self.pools.iter().find(|pool| pool.range.contains(cut));
        pool.map_or(base, |pool| pool.grain)
    }

    /// Settles what the target waits for in order to drop it.
    fn serve_holds<T: Target, S: Sink>(
        &mut self,
        target: &mut T,
        sink: &mut S,
        done: &mut Done,
    ) -> Result<Step, TargetGone> {
        while let Some(&(ticket, live)) = self.holds.front() {
            let pending = self.live.at(live).into_iter().find_map(|place| {
                let piece = self.pages.next(place.cut.start(), BACKGROUND)?;
                place.part_of(piece)
            });
            let Some(place) = pending else {
                done.settled.push(ticket);
                self.holds.pop_front();
                continue;
            };
            match self.save(place, target, sink, true)? {
                Step::LetGo | Step::Examined => {}
                stuck => return Ok(stuck),
            }
        }
        Ok(Step::LetGo)
    }

    /// Saves the next piece: near the last writer, or else in address order.
    pub(super) fn work<T: Target, S: Sink>(
        &mut self,
        target: &mut T,
        sink: &mut S,
    ) -> Result<Turn, TargetGone> {
        let near = self.next_nearby(sink);
        let urgent = near.is_some();
        let next = || self.pages.next(self.cursor, BACKGROUND);
        let Some(piece) = near.or_else(next).or_else(|| self.pages.next(Va(0), BACKGROUND)) else {
            return Ok(Turn::Done);
        };
        if !urgent {
            self.cursor = piece.start();
        }
        let Some(&place) = self.live.of(piece).first() else {
            // Not mapped any more, and its event has been followed: nothing is left to save.
            self.pages.settle_freed(piece);
            return Ok(Turn::Again);
        };
        Ok(match self.save(place, target, sink, urgent)? {
            Step::NoRoom => Turn::NoRoom,
            Step::LetGo | Step::Examined | Step::Changing => Turn::Again,
        })
    }

    /// Returns the next pending piece near the last writer.
    fn next_nearby<S: Sink>(&mut self, sink: &S) -> Option<VaRange> {
        let nearby = self.nearby.filter(|_| sink.takes_any_order())?;
        let piece = self.pages.next(nearby.start(), BACKGROUND);
        self.nearby = piece.and_then(|piece| piece.intersect(nearby)).map(|_| nearby);
        piece.filter(|_| self.nearby.is_some())
    }
}

#[cfg(test)]
mod tests;
