//! userfaultfd complete and safe: every ioctl, feature, event and memory type.
//!
//! The floor of the workspace: the only crate that holds unsafe code, so that everything above
//! can forbid it. It adds no policy. A call here is one kernel operation with its errors and
//! its partial progress made into types.
//!
//! | module | concept |
//! |---|---|
//! | [`Uffd::open`], [`UnboundUffd`], [`probe`] | getting a descriptor, learning what it can do |
//! | [`Features`], [`Wanted`] | the handshake: wanted, granted, missing |
//! | [`Registration`], [`Missing`], … | registered pieces of owned memory, typed by mode |
//! | [`OwnedRegistration`] | the same for whoever serves memory as long as a program runs |
//! | [`Modes`], [`Ioctls`] | registering raw ranges |
//! | [`Outcome`], [`Situation`] | what an operation did before it stopped, and why it stopped |
//! | [`MessageBatch`], [`Event`] | reading messages, many at a time |
//! | [`ForeignUffd`] | the same operations on the memory of another process |
//! | [`Mapping`] | owned memory: anonymous, memfd, hugetlb, file |
//! | [`Pagemap`] | what the page table says of each page |
//! | [`PagemapScan`] | finding pages by category, and protecting them in the same pass |
//! | [`signal`] | `SIGBUS` and `SIGSEGV` handled where they are raised |
//! | [`send_fds`], [`recv_fds`] | passing descriptors over a socket |
//! | [`process`] | pidfds, and the memory of other processes |
//! | [`ptrace`], [`attach`] | a userfaultfd on another, unmodified process |
//! | [`puppet`] | processes that exist to be broken, to ask the kernel with |
//!
//! # Safety
//!
//! A userfaultfd changes memory behind the compiler's back. Three levels say who answers for it:
//!
//! - On an owned mapping everything is safe: the mapping gives its bytes out only by volatile and
//!   atomic copies, so no reference can see them change.
//! - On a [`ForeignUffd`] everything is safe: the memory of another process holds none of our
//!   objects.
//! - On raw ranges of this process the operations of [`Uffd`] are `unsafe`; its documentation
//!   spells out the contract.
//!
//! What is believed of the kernel, cited in `SAFETY` comments:
//!
//! - **\[K1\]** The kernel writes only the bytes its ABI documents: of an argument struct at most
//!   its size, of a buffer at most its length.
//! - **\[K2\]** A descriptor it returns, from a call or in a message, is open and ours alone.
//! - **\[K3\]** A userfaultfd request touches no memory of the caller beyond its argument struct
//!   and, for COPY, reads the source. What it does to the registered address space is the
//!   operation itself.
//! - **\[K4\]** The request type 0xAA belongs to userfaultfd: any other descriptor refuses it and
//!   does nothing.

pub mod attach;
mod call;
mod errno;
mod error;
mod fdinfo;
mod features;
mod foreign;
mod handshake;
mod mapping;
mod messages;
mod open;
mod ops;
mod outcome;
mod owned_registration;
mod pagemap;
mod passing;
pub mod process;
pub mod ptrace;
pub mod puppet;
mod register;
mod registration;
mod scan;
pub mod signal;
mod sys;
#[cfg(test)]
mod testing;
#[cfg(feature = "tokio")]
mod tokio;
mod uffd;

pub use errno::Described;
pub use error::{Op, OpError};
pub use fdinfo::Queue;
pub use features::Features;
pub use foreign::{ForeignUffd, NotForeign, UnboundForeignUffd};
pub use handshake::{HandshakeError, Refusal, Wanted};
pub use mapping::{
    Advice, MapError, MapOp, Mapping, MappingBuilder, Protection, Seals, prefer_huge_pages,
};
pub use messages::{Event, Fault, FaultKind, ForkedUffd, MessageBatch};
pub use open::{Attempt, Capabilities, OpenError, OpenOptions, Route, Step, UnboundUffd, probe};
pub use ops::{ContinueMode, CopyMode, MoveMode, PoisonMode, RwpMode, WpMode, ZeropageMode};
pub use outcome::{Outcome, RetryReason, Situation};
pub use owned_registration::OwnedRegistration;
pub use pagemap::{PageFlags, Pagemap, PagemapEntry, base_page_size};
pub use passing::{FDS_PER_MESSAGE, PassError, Received, recv_fds, send_fds};
pub use process::{Peer, Pid, Pidfd, ProcessError, read_memory, write_memory};
pub use register::{Ioctls, Modes};
pub use registration::{
    Continues, Minor, Missing, Protects, ProtectsAccess, ReadWriteProtect, RegisterMode,
    Registration, WriteProtect,
};
pub use rustix::io::Errno;
pub use scan::{Category, PagemapScan, ScanError, ScanRegion};
#[cfg(feature = "tokio")]
pub use tokio::AsyncUffd;
pub use uffd::Uffd;
