//! The page server: programs hand their page faults over, and get pages of an image.
//!
//! Two processes share the work, so that neither a bug nor an upgrade of the one that does most of
//! it costs a client anything:
//!
//! - The **front** listens, asks the kernel who connects, understands what they say, and keeps
//!   every descriptor. It decodes no image and touches no memory.
//! - The **worker** has the image and serves the faults. When it dies, the front starts another
//!   and gives it all clients; that one asks each client's page table what is there already, wakes
//!   every thread that waits, and goes on.
//!
//! | module | is |
//! |---|---|
//! | [`Memory`] | what is served: an image, a raw memory file, a core; told by content |
//! | [`front`] | the front: sockets, credentials, admission, who is a client |
//! | [`worker`] | the worker: the engine on each client's userfaultfd |
//! | [`keeper`] | a front of its own for one process that was attached to from outside |
//! | [`control`] | what the two say to each other |
//! | [`notify`] | what the service manager is told |
//! | [`Figures`] | what was done, for metrics and events |
//!
//! # Invariants
//! - A client's userfaultfd is open in the front for as long as the client lives: no fault is ever
//!   answered by the kernel with zeros because a process of ours has died.
//! - What a client says is never trusted: it ends in a checked layout or in a refusal, and the
//!   client alone feels it.
//! - A page the client discarded reads as zeros afterwards, whichever worker serves it: the first
//!   thing a worker does with such a message is to tell the front. (One that is killed between the
//!   kernel's message and that, some microseconds, takes the message with it.)

mod cache;
pub mod control;
mod figures;
pub mod front;
pub mod keeper;
mod memory;
pub mod notify;
pub mod worker;

pub use figures::Figures;
pub use memory::{Memory, OpenError};
