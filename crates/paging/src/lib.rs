//! The engine below every pager: from a page fault to a page, at most once, in bounded time.
//!
//! | module | holds |
//! |---|---|
//! | [`core`] | the engine: from events to actions, pure |
//! | [`inline`] | faults resolved by the thread that raises them |
//! | [`linux`] | its ports on Linux |
//! | [`observe`] | watching it: latencies, a flight recorder |
//! | [`page`] | pages and the atomic word each has |
//! | [`port`] | what the engine needs of the world |
//! | [`prefetch`] | guesses at what is wanted next |
//! | [`shell`] | threads around it |
//! | [`source`] | where pages come from |
//!
//! A region of memory is bound to a source of its content and a policy. A thread that touches a
//! page which is not there waits; the engine has the page fetched, put there, and the thread
//! woken. Discards, moves and forks of the memory are followed exactly.
//!
//! Nothing here opens a file, reads a clock or starts a thread unless it is told to: the engine is
//! run by a shell, in production as in a simulation.
#![deny(unsafe_code)]

pub mod core;
pub mod inline;
pub mod linux;
pub mod observe;
pub mod page;
pub mod port;
pub mod prefetch;
pub mod shell;
pub mod source;
