//! Other processes: a descriptor that cannot come to mean another process, their descriptors,
//! their memory.
//!
//! | item | does |
//! |---|---|
//! | [`Pidfd`] | names a process for good, fetches its descriptors, tells when it ends |
//! | [`Peer`] | who connected a Unix socket |
//! | [`read_memory`], [`write_memory`] | copy many ranges of its memory in one call |
//! | [`madvise`] | pages its memory out, in, or together |
//! | [`Urgency`] | runs this thread before others, while another process stands still for it |
//!
//! Called by the attach path and by the snapshot service; calls nothing but the kernel.
//!
//! # Invariants
//! - Nothing here writes to the memory of the calling process: see [`write_memory`].
//! - No call allocates.

mod advice;
mod batch;
mod error;
mod memory;
mod peer;
mod pidfd;
mod urgency;

pub use advice::{ProcessAdvice, madvise};
pub use batch::RANGES_PER_CALL;
pub use error::{ProcessError, ProcessOp};
pub use memory::{read_memory, read_memory_scattered, write_memory};
pub use peer::Peer;
pub use pidfd::Pidfd;
pub use rustix::process::Pid;
pub use urgency::Urgency;
