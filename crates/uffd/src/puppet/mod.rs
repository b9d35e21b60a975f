//! Puppets: child processes with an address space of their own, driven one operation at a time.
//!
//! A test that unmaps, poisons or faults memory must not do it to itself. A [`Puppet`] is this
//! same program run again; each of its threads is a [`Hand`] that makes one system call, load or
//! store when asked, and may block in it while the driver looks on. A bus error or segmentation
//! fault of an access is a [`Reply`], not a crash.
//!
//! Callers: the conformance bodies' kernel world. The program's `main` must call
//! [`serve_if_asked`] before anything else.
//!
//! # Invariants
//! - Driving a puppet is safe: whatever it is told to do, it does to itself.
//! - No puppet outlives its driver, however the driver ends.
//!
//! # Supported
//! x86-64 and aarch64; elsewhere [`Puppet::spawn`] is [`PuppetError::Unsupported`].

mod access;
mod channel;
mod driver;
mod hand;
mod protocol;
mod serve;

pub use driver::{Leash, Puppet, PuppetError};
pub use hand::{Hand, Newborn, Reply, Request, Rest, TRANSFER_MAX};
pub use serve::serve_if_asked;
