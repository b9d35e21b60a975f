//! The engine of `faultless-paging` on the memory manager of `faultless-mm`, by seed.
//!
//! Threads of a program load, store, discard, move and fork while workers carry out what the
//! engine asks for, each in its own time. The source of the pages is slow, fails, loses pages and
//! lies; the program is killed, the workers are killed and replaced, or serving ends while the
//! program runs on. Afterwards the [checkers](crate::check) read what was done.
//!
//! A [`Flaw`] leaves one guard out; each is found by the checker named with it.
//!
//! | file | holds |
//! |---|---|
//! | `cast` | what kind of run it is |
//! | `scene` | a program, its memory and its pager, made from a seed |
//! | `program` | the threads that are served |
//! | `served` | an address space in service: the engine and what it waits for |
//! | `worker` | tasks that carry actions out |
//! | `port` | requests of the engine as requests of a userfaultfd |
//! | `source` | where pages come from, and what goes wrong there |
//! | `run` | one run: what happens by chance, and its end |
//! | `relief` | workers go, others take over |

mod cast;
mod port;
mod program;
mod relief;
mod run;
mod scene;
mod served;
mod source;
mod worker;

use faultless_paging::core::Guard;

pub use run::{Report, replay, run};

/// What the pager does without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A guard of the engine.
    Without(Guard),
    /// It does not check what its source brings.
    TrustsSource,
}

impl Flaw {
    /// The checker that finds it.
    #[must_use]
    pub fn found_by(self) -> &'static str {
        match self {
            Flaw::Without(
                Guard::WakesExisting
                | Guard::RetriesByTimer
                | Guard::ServesAgain
                | Guard::RetriesFetches
                | Guard::WakesRemoved
                | Guard::DemandOvertakes,
            ) => "liveness",
            Flaw::Without(
                Guard::EventsFirst
                | Guard::ReadsAlone
                | Guard::RemovedIsZeros
                | Guard::ChecksGeneration,
            ) => "stale",
            Flaw::Without(
                Guard::ProtectsAtOnce
                | Guard::PoisonsLost
                | Guard::CountsPartial
                | Guard::CompletesFirst,
            )
            | Flaw::TrustsSource => "content",
        }
    }
}
