//! What kind of run it is: how the pager serves, and what memory.

use faultless_paging::core::{Background, Ways};
use faultless_paging::port::Span;
use faultless_paging::prefetch::{Majority, Never, Prefetch, Sequential, Stride};
use faultless_uapi::mode::register::{MINOR, MISSING, WP};

use super::worker::SLOT;
use crate::random::{Odds, Random};

/// What kind of run it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cast {
    /// The pager is a thread of the program's process.
    pub(super) own: bool,
    /// The memory is shared memory.
    pub(super) shared: bool,
    /// It is filled through a second mapping.
    pub(super) filled: bool,
    /// Writes are told.
    pub(super) tracked: bool,
    /// Somebody else puts pages there too, as a second pager does, or one that was slow to die.
    /// Nothing is given up then, which only the pager would know; nor does the pager write to
    /// memory that it takes for empty.
    pub(super) rival: bool,
    pub(super) pages: u64,
    pub(super) workers: u64,
    pub(super) around: u64,
    pub(super) run_max: u64,
    pub(super) prefetches: usize,
    pub(super) background: Option<Background>,
    guesses: u64,
}

impl Cast {
    pub(super) fn draw(random: &mut Random) -> Cast {
        let shared = random.happens(Odds::one_in(3));
        let fills = random.happens(Odds::one_in(2));
        let background = Background {
            pages: random.within(1..=4),
            fetches: 1,
            pace: Span::micros(random.within(0..=2000)),
        };
        Cast {
            own: random.happens(Odds::one_in(3)),
            shared,
            filled: shared && fills,
            tracked: random.happens(Odds::one_in(2)),
            rival: random.happens(Odds::one_in(4)) && !(shared && fills),
            pages: random.within(1..=SLOT),
            workers: random.within(1..=3),
            around: random.within(0..=4),
            run_max: random.within(1..=SLOT),
            prefetches: usize::try_from(random.within(0..=3)).unwrap_or(0),
            background: random.happens(Odds::one_in(2)).then_some(background),
            guesses: random.below(4),
        }
    }

    pub(super) fn ways(&self) -> Ways {
        match (self.filled, self.own && !self.shared) {
            (true, _) => Ways::FILLED,
            (_, true) => Ways { moves: Some(2), ..Ways::OWN },
            _ => Ways::PLAIN,
        }
    }

    pub(super) fn prefetch(&self) -> Box<dyn Prefetch> {
        match self.guesses {
            0 => Box::new(Never),
            1 => Box::new(Sequential::new(1, 4)),
            2 => Box::new(Stride::new(2)),
            _ => Box::new(Majority::new(8, 2)),
        }
    }

    pub(super) fn mode(&self) -> u64 {
        MISSING | if self.tracked { WP } else { 0 } | if self.filled { MINOR } else { 0 }
    }
}
