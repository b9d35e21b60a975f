//! A simple on-demand pager in a simulated process, and the same pager with one flaw at a time.
//!
//! Threads of a program load, store and discard pages while the [pager](Flaw) serves their faults
//! through the bytes of the ABI, and is told at some moment to finish: to bring what is missing,
//! to say which pages were never written, and to let go. In half of the runs it fetches from a
//! server over a bad network. Everything runs on the memory manager of `faultless-mm`, a step at a
//! time, in an order drawn from the seed. Afterwards the [checkers](crate::check) read what was
//! done.
//!
//! | file | holds |
//! |---|---|
//! | `calls` | requests of a userfaultfd as bytes |
//! | `pager` | the pager |
//! | `program` | the threads it serves |
//! | `source`, `server` | fetching pages over the network from a server with a disk |
//! | `scene` | a process with everything they need, made from a seed |
//! | `run` | one run: what happens by chance, and its end |

mod calls;
mod pager;
mod program;
mod run;
mod scene;
mod server;
mod source;

pub use run::{Report, replay, run};

/// What a pager does wrong. Each has been done by a pager people used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It chooses what a fault is served with in the order of reading, though faults are read
    /// before events that are older.
    ServesInReadOrder,
    /// It takes "already there" for the end of the matter, and wakes nobody.
    IgnoresExisting,
    /// Turned away by a pending event, it waits for the next message before it tries again.
    PollsOnAgain,
    /// It installs a page first and protects it afterwards.
    ProtectsLater,
    /// It asks its page server once, though the network loses packets.
    AsksOnce,
    /// It takes whatever the server answers for the page it asked for last.
    TakesAnyAnswer,
    /// Told to finish, it closes its descriptor at once.
    ClosesEarly,
}

impl Flaw {
    /// The checker that finds it.
    #[must_use]
    pub fn found_by(self) -> &'static str {
        match self {
            Flaw::ServesInReadOrder => "stale",
            Flaw::IgnoresExisting | Flaw::PollsOnAgain | Flaw::AsksOnce => "liveness",
            Flaw::ClosesEarly | Flaw::ProtectsLater | Flaw::TakesAnyAnswer => "content",
        }
    }
}
