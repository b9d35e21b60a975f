//! The typed layer on the running kernel: every operation and outcome, guards, waiting threads,
//! events, the handshake, and other processes.
//!
//! What the kernel itself does is the conformance suite's matter; here it is held that the types
//! say what the kernel said. A test that cannot run prints `skipped: ` and why.

mod common;
mod events;
mod foreign;
mod handshake;
mod operations;
mod waiting;
