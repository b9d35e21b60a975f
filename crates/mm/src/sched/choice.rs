//! Ways to choose which task goes on.

use alloc::vec::Vec;

use crate::id::TaskId;

/// How a runner chooses among the tasks that can go on.
#[derive(Clone, Debug)]
pub enum Choice {
    /// Each runs until it ends or must wait, in turn; the fast way.
    Straight,
    /// At every point one at random.
    Seeded(Random),
    /// At every point as a script says; beyond its end, whoever ran goes on.
    Script(Script),
}

impl Choice {
    /// Chooses by this seed.
    #[must_use]
    pub fn seed(seed: u64) -> Choice {
        Choice::Seeded(Random::new(seed))
    }

    /// Says whether tasks must stop at every point.
    pub(crate) fn steps(&self) -> bool {
        !matches!(self, Choice::Straight)
    }

    /// Chooses one of `ready`, which is not empty; `last` ran before.
    pub(crate) fn choose(&mut self, ready: &[TaskId], last: Option<TaskId>) -> TaskId {
        match self {
            Choice::Straight => ready[0],
            Choice::Seeded(random) => ready[random.below(ready.len())],
            Choice::Script(_) if ready.len() == 1 => ready[0],
            Choice::Script(script) => script.choose(ready, last),
        }
    }
}

/// A script of choices, and the record of what could have been chosen.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// The choices to make, each an index into [`Fork::ready`].
    pub choices: Vec<usize>,
    /// Every choice of the run.
    pub forks: Vec<Fork>,
}

/// A choice that was made.
#[derive(Clone, Debug)]
pub struct Fork {
    /// Who could go on, whoever ran before first.
    pub ready: Vec<TaskId>,
    /// The first of them ran before: to choose another is a preemption.
    pub preempts: bool,
    /// Which was chosen.
    pub chosen: usize,
}

impl Fork {
    /// Says whether another than who ran was chosen, though who ran could go on.
    pub(crate) fn is_preemption(&self) -> bool {
        self.preempts && self.chosen > 0
    }
}

impl Script {
    /// Begins with these choices.
    #[must_use]
    pub fn of(choices: Vec<usize>) -> Script {
        Script { choices, forks: Vec::new() }
    }

    fn choose(&mut self, ready: &[TaskId], last: Option<TaskId>) -> TaskId {
        let mut order: Vec<TaskId> = ready.to_vec();
        let running = last.and_then(|last| order.iter().position(|id| *id == last));
        if let Some(place) = running {
            order[..=place].rotate_right(1);
        }
        let chosen = self.choices.get(self.forks.len()).copied().unwrap_or(0);
        assert!(chosen < order.len(), "a script of another run");
        let id = order[chosen];
        self.forks.push(Fork { ready: order, preempts: running.is_some(), chosen });
        id
    }
}

/// Random numbers of our own, integers only: a seed means the same for ever.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins at a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number: `SplitMix64`.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        let wide = u128::from(self.next_u64()) * limit as u128;
        usize::try_from(wide >> 64).expect("less than the limit")
    }
}
