//! Who guesses which pages are wanted next.
//!
//! | guess | by | good for |
//! |---|---|---|
//! | [`Never`] | nobody | memory nobody has a pattern in |
//! | [`Sequential`] | the last few faults going upwards | scans |
//! | [`Stride`] | two equal steps in a row | columns, interleaved buffers |
//! | [`Majority`] | the step most of the last faults made | several patterns at once |
//! | [`Replay`] | what was touched in earlier runs, in that order | restoring an image again |
//!
//! Guesses are wishes: the engine fetches them after what somebody waits for, as far as there is
//! room, and forgets those it does not come to.

mod majority;
mod replay;
mod sequential;
mod stride;
mod working_set;

pub use majority::Majority;
pub use replay::Replay;
pub use sequential::Sequential;
pub use stride::Stride;
pub use working_set::{Recording, WorkingSet, WorkingSetError};

use crate::page::{PageIndex, PageRun};

/// Guesses.
pub trait Prefetch: Send + std::fmt::Debug {
    /// A thread waits for a page; puts what may be wanted next behind `wishes`.
    fn faulted(&mut self, page: PageIndex, wishes: &mut Vec<PageRun>);

    /// The next pages that will be wanted whatever happens, if there are any left. Asked when there
    /// is room and no wish.
    fn next(&mut self) -> Option<PageRun> {
        None
    }

    /// Who guesses for a forked child.
    fn heir(&self) -> Box<dyn Prefetch>;
}

/// Guesses nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Never;

impl Prefetch for Never {
    fn faulted(&mut self, _: PageIndex, _: &mut Vec<PageRun>) {}

    fn heir(&self) -> Box<dyn Prefetch> {
        Box::new(Never)
    }
}
