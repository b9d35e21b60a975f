//! What userfaultfd was invented for, as a library: snapshots of running processes, a page server,
//! VMs that go on before their memory is there.
//!
//! | module | is |
//! |---|---|
//! | [`serve`] | a page server: VMs, containers and programs restored lazily |
//! | [`snapshot`] | a consistent core of a running process, without stopping it |
//! | [`vm`] | an unmodified QEMU saved, and restored lazily through [`serve`] |
#![forbid(unsafe_code)]

mod class;
pub mod serve;
pub mod snapshot;
pub mod vm;
mod vma;

pub use class::Class;
