//! What holds an implementation of userfaultfd, and programs on top of one, to their behaviour.
//!
//! [`conform`] has one body per documented behaviour, written against a small world of processes,
//! threads and the bytes of the ABI. The running kernel is one such world.
//!
//! The rest is a world for services, in which everything that goes wrong does so by seed:
//!
//! | module | holds |
//! |---|---|
//! | [`random`] | numbers of our own, the same for a seed next year |
//! | [`clock`] | simulated time, and what is due when |
//! | [`swarm`] | which faults a run injects, and how often |
//! | [`net`] | packets: delay, loss, duplication, partition, reordering |
//! | [`check`] | the rules every run must keep, a file for each |
//! | [`disk`] | files: short, torn, refused and slow writes, crashes |
//! | [`environment`] | all of it around one kernel, for tasks to use, and the loop that runs them |
//! | [`engine`] | the engine of `faultless-paging` on the model, and without one guard at a time |
//! | [`pagers`] | a pager in such a world, right, and wrong in one way at a time |
#![forbid(unsafe_code)]

pub mod check;
pub mod clock;
pub mod conform;
pub mod differential;
pub mod disk;
pub mod engine;
pub mod environment;
pub mod net;
pub mod pagers;
pub mod random;
pub mod swarm;
