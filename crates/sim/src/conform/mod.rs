//! Conformance: one body per behaviour of userfaultfd, any world to run it in.
//!
//! A body takes a [`World`] and says whether what it saw is what the interface promises. It never
//! asks which world it is in: only what the world's [`Profile`] says it can do.
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | the surface a world offers: processes, threads, and how calls end |
//! | [`call`] | what a thread can be told to do |
//! | [`profile`] | what a world can do, and where kernels differ |
//! | [`verdict`] | passed, diverges, skipped |
//! | [`stage`] | what bodies are written with |
//! | [`cases`] | the bodies, a file per topic, and their list |
//! | [`kernel`] | the running kernel as a world, in puppet processes |
//! | [`model`] | the model of the kernel as a world |
//! | [`run`] | runs one case in a fresh world of any kind |
//! | [`selection`] | which cases are wanted |
//! | [`behaviour`] | the behaviours in which releases differ, and what a world does |
//! | [`likeness`] | which release a world resembles most, and each difference |
//! | [`runner`] | runs cases one by one and prints what happened |

pub mod behaviour;
pub mod call;
pub mod cases;
pub mod errno;
pub mod kernel;
pub mod likeness;
pub mod linux;
pub mod model;
pub mod profile;
pub mod run;
pub mod runner;
pub mod selection;
pub mod stage;
pub mod verdict;
pub mod world;

pub use call::Call;
pub use cases::{CASES, Case};
pub use errno::Errno;
pub use profile::Profile;
pub use run::{Outcome, Worlds, run_case};
pub use selection::Selection;
pub use verdict::{Failure, Verdict};
pub use world::{Done, Fd, Process, Stop, Thread, World};
