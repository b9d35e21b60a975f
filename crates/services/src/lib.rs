//! What userfaultfd was invented for, as a library: today, snapshots of running processes.
//!
//! | module | is |
//! |---|---|
//! | [`snapshot`] | a consistent core of a running process, without stopping it |
#![forbid(unsafe_code)]

pub mod snapshot;
