//! What holds an implementation of userfaultfd to its behaviour.
//!
//! [`conform`] has one body per documented behaviour, written against a small world of processes,
//! threads and the bytes of the ABI. The running kernel is one such world.
#![forbid(unsafe_code)]

pub mod conform;
