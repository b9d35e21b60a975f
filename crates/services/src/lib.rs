//! What userfaultfd was invented for, as a library: snapshots of running processes, a page server.
//!
//! | module | is |
//! |---|---|
//! | [`serve`] | a page server: VMs, containers and programs restored lazily |
//! | [`snapshot`] | a consistent core of a running process, without stopping it |
#![forbid(unsafe_code)]

pub mod serve;
pub mod snapshot;
