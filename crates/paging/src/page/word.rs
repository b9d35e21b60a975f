//! The word of a page: its state and its generation, changed only as a whole.
//!
//! A fault, a prefetch, a discard and an eviction all meet at this word. Each says what it takes
//! the word to be and what it shall become; only the one that finds it so may act.
//!
//! ```text
//!            claim            begin             settle
//!   Absent ───────► Fetching ───────► Installing ───────► Present ──────► Evicting ──► Absent
//!                                                            ▲     evict
//!   Removed ───────────────────────► Zeroing ────────────────┘
//!                    claim                      settle
//!   any of them ──► Removed (its program gave it up)     Fetching ──► Poisoning ──► Poisoned
//! ```
//!
//! # Invariants
//! - Whenever somebody else may have taken hold of the page in between, the generation differs:
//!   every claim and every discard counts it up. It takes 2^24 of them during one fetch to come
//!   back to the same number.

use core::fmt;

/// How often a page changed hands, modulo 2^24.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u32);

/// What is known of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// It was never there: its source has it.
    Absent = 0,
    /// It is on its way from its source.
    Fetching = 1,
    /// Its content is being put there.
    Installing = 2,
    /// It is there, as far as is known.
    Present = 3,
    /// Its program gave it up: it is zeros, and its source's content is over.
    Removed = 4,
    /// Zeros are being put there.
    Zeroing = 5,
    /// It is being dropped, to be fetched again later.
    Evicting = 6,
    /// It is being made a bus error.
    Poisoning = 7,
    /// It is lost, and a bus error.
    Poisoned = 8,
    /// No memory was found at its address.
    Gone = 9,
}

/// The word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageWord(u32);

const STATE_MASK: u32 = 0xf;
/// A thread is known to wait for the page.
const WANTED: u32 = 1 << 4;
/// The page may have been written since it was put there.
const DIRTY: u32 = 1 << 5;
/// Its program gave the page up at some time: its source's content is over for good.
const DISCARDED: u32 = 1 << 6;
const KEPT: u32 = WANTED | DIRTY | DISCARDED;
const GENERATION_SHIFT: u32 = 8;

impl Generation {
    fn next(self) -> Generation {
        Generation((self.0 + 1) & (u32::MAX >> GENERATION_SHIFT))
    }
}

impl State {
    const ALL: [State; 10] = [
        State::Absent,
        State::Fetching,
        State::Installing,
        State::Present,
        State::Removed,
        State::Zeroing,
        State::Evicting,
        State::Poisoning,
        State::Poisoned,
        State::Gone,
    ];

    /// Says whether somebody has a claim on the page.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(
            self,
            State::Fetching
                | State::Installing
                | State::Zeroing
                | State::Evicting
                | State::Poisoning
        )
    }
}

impl PageWord {
    /// A page nobody has touched.
    pub const FRESH: PageWord = PageWord(State::Absent as u32);

    /// The word of these bits. Bits that mean no state, as only a broken table holds, are
    /// [`State::Gone`]: such a page is asked of the kernel again.
    #[must_use]
    pub const fn from_bits(bits: u32) -> PageWord {
        PageWord(bits)
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// What is known of the page.
    #[must_use]
    pub fn state(self) -> State {
        let number = (self.0 & STATE_MASK) as usize;
        State::ALL.get(number).copied().unwrap_or(State::Gone)
    }

    /// How often it changed hands.
    #[must_use]
    pub const fn generation(self) -> Generation {
        Generation(self.0 >> GENERATION_SHIFT)
    }

    /// Says whether a thread is known to wait for it.
    #[must_use]
    pub const fn is_wanted(self) -> bool {
        self.0 & WANTED != 0
    }

    /// Says whether it may have been written.
    #[must_use]
    pub const fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// Says whether its source's content is over: whatever was there since began as zeros.
    #[must_use]
    pub const fn is_discarded(self) -> bool {
        self.0 & DISCARDED != 0
    }

    /// What the page is if whoever holds it lets go without having done anything, or it is dropped.
    #[must_use]
    pub fn given_back(self) -> State {
        match self.state() {
            State::Evicting if self.is_discarded() => State::Removed,
            State::Fetching | State::Installing | State::Evicting | State::Poisoning => {
                State::Absent
            }
            State::Zeroing => State::Removed,
            other => other,
        }
    }

    /// The next state in the same hands.
    #[must_use]
    pub fn then(self, state: State) -> PageWord {
        PageWord(self.0 & !STATE_MASK | state as u32)
    }

    /// Another state in other hands.
    #[must_use]
    pub fn taken(self, state: State) -> PageWord {
        let generation = self.generation().next().0 << GENERATION_SHIFT;
        PageWord(generation | self.0 & KEPT | state as u32)
    }

    /// The same with a thread waiting, or none.
    #[must_use]
    pub const fn wanted(self, wanted: bool) -> PageWord {
        PageWord(if wanted { self.0 | WANTED } else { self.0 & !WANTED })
    }

    /// The same, written to or not.
    #[must_use]
    pub const fn dirty(self, dirty: bool) -> PageWord {
        PageWord(if dirty { self.0 | DIRTY } else { self.0 & !DIRTY })
    }

    /// The same, with its source's content over.
    #[must_use]
    pub const fn discarded(self) -> PageWord {
        PageWord(self.0 | DISCARDED)
    }
}

impl fmt::Debug for PageWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.state(), self.generation().0)?;
        f.write_str(if self.is_wanted() { " wanted" } else { "" })?;
        f.write_str(if self.is_dirty() { " dirty" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_survive_the_trip_through_bits() {
        for state in State::ALL {
            let word = PageWord::FRESH.taken(state).wanted(true).dirty(true);
            let again = PageWord::from_bits(word.bits());
            assert_eq!((again.state(), again.is_wanted(), again.is_dirty()), (state, true, true));
        }
        assert_eq!(PageWord::from_bits(0xf).state(), State::Gone);
    }

    #[test]
    fn other_hands_have_another_generation_and_the_same_hands_have_not() {
        let word = PageWord::FRESH.taken(State::Fetching);
        assert_eq!(word.generation(), word.then(State::Installing).generation());
        assert_ne!(word.generation(), word.taken(State::Removed).generation());
    }

    #[test]
    fn generations_wrap_without_touching_the_state() {
        let mut word = PageWord::from_bits(u32::MAX << GENERATION_SHIFT);
        word = word.taken(State::Present);
        assert_eq!((word.generation(), word.state()), (Generation(0), State::Present));
    }

    #[test]
    fn what_is_given_back_never_turns_zeros_into_content() {
        let back = |state| PageWord::FRESH.then(state).given_back();
        assert_eq!(back(State::Zeroing), State::Removed);
        assert_eq!(back(State::Removed), State::Removed);
        assert_eq!(back(State::Installing), State::Absent);
        assert_eq!(back(State::Evicting), State::Absent);
        let evicting = PageWord::FRESH.discarded().taken(State::Evicting);
        assert_eq!(evicting.given_back(), State::Removed);
    }
}
