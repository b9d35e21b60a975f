//! Who goes on: tasks, locks, and the ways to choose between them.
//!
//! An operation is a future. A [`Runner`] holds the futures under way and polls the one its
//! [`Choice`] names, until none can go on.
//!
//! | module | holds |
//! |---|---|
//! | `task` | what a task waits for, where it may be preempted |
//! | `lock` | the locks and their order |
//! | `runner` | futures under way |
//! | `choice` | straight on, by seed, by script |
//! | `explore` | every interleaving, or every one with few preemptions |
//! | `trace` | the interleaving of a run, as text |

mod choice;
mod explore;
mod lock;
mod runner;
mod task;
mod trace;

pub use choice::{Choice, Fork, Random, Script};
pub use explore::{Counterexample, Trial, explore, replay};
pub(crate) use lock::HeldId;
pub use lock::{Lock, Mode, TableName};
pub use runner::{Call, Runner};
pub(crate) use task::Tasks;
pub use task::{On, Point};
pub use trace::{Step, Trace};
