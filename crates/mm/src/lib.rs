//! userfaultfd and the memory manager behind it, in safe Rust, independent of Linux.
//!
//! A [`Kernel`] holds a machine (frames, swap, objects) and processes (areas, page tables,
//! descriptors, threads). Its operations are what system calls and accesses do; the requests of a
//! userfaultfd go in as bytes and come out as bytes and an error number, as on Linux.
//!
//! Every operation is a future that stops where the kernel would take or give back a lock. A
//! [`Runner`] polls the operations under way and chooses who goes on: straight on, by seed, or by
//! script. Nothing here knows threads, clocks or the system.
//!
//! | module | holds |
//! |---|---|
//! | `kernel` | the handle, the state, locks as awaits |
//! | `profile` | which kernel is played, and which bugs it has |
//! | `machine` | frames, contents, swap, objects |
//! | `process` | areas, entries, page tables, reverse map, descriptors |
//! | `op` | what threads do to memory, an operation a file |
//! | `userfaultfd` | contexts, queues, events, every request |
//! | `pagemap` | what the pagemap shows |
//! | `audit` | whether what is kept twice agrees |
//! | `outside` | waiting for what is no part of a kernel |
//! | `usage` | how much is in use |
//! | `roster`, `slab` | where things are kept by name: names for once, places used again |
//! | `sched` | tasks, lock order, choosing who goes on |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[doc = include_str!("../EMBEDDING.md")]
pub mod embedding {
    #[expect(unused_imports, reason = "the chapter links to them")]
    use crate::*;
}

mod audit;
pub mod errno;
mod id;
mod kernel;
mod machine;
mod op;
mod outside;
mod pagemap;
mod process;
mod profile;
mod roster;
mod sched;
mod slab;
mod usage;
mod userfaultfd;

pub use errno::Errno;
pub use id::{
    AreaId, ContextId, FileId, FrameId, ObjectId, ProcessId, RootId, SlotId, SpaceId, TaskId,
    ThreadId,
};
pub use kernel::Kernel;
pub use machine::Content;
pub use op::{Advice, Age, Behind, MapRequest, NewObject, RemapRequest, Stop};
pub use pagemap::{PageKind, Regions};
pub use process::Protection;
pub use profile::{Bugs, Profile};
pub use sched::{
    Call, Choice, Counterexample, Fork, Lock, Mode, On, Point, Random, Runner, Script, Step,
    TableName, Trace, Trial, explore, replay,
};
pub use usage::Usage;
pub use userfaultfd::{Argument, OpenFlags};
