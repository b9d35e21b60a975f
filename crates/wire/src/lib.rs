//! How programs hand their page faults to a page server: protocols as bytes, frames and states.
//!
//! Nothing here reads a socket. Whoever does feeds a [`Conversation`] with what came, bytes and
//! descriptors, and takes [`Request`]s out; descriptors are of any type, so that tests and fuzzers
//! need none. A peer is never trusted: every message ends in a request whose [`Layout`] was
//! checked, or in a [`Refusal`] that says what was wrong.
//!
//! | module | is |
//! |---|---|
//! | [`Dialect`] | which protocol a peer speaks, by its first bytes |
//! | [`Conversation`] | what a peer has said so far, whole messages taken out |
//! | [`Layout`], [`Region`] | which memory of the peer shows which bytes of the image |
//! | [`Refusal`] | everything that can be wrong with what a peer says |
//! | [`firecracker`] | the JSON array of Firecracker's `Uffd` backend, with one descriptor or two |
//! | [`nydus`] | the JSON handshake of nydus |
//! | [`cloud_hypervisor`] | the hand-off message; the `PageFault` migration, as its sender |
//! | [`native`] | this project's own protocol, both sides |
//!
//! # Invariants
//! - Nothing is allocated for a length a peer claims; what is kept of a peer is bounded by
//!   [`MESSAGE_LEN_MAX`] and [`FDS_MAX`].
//! - The work for a message grows with its length, however small the pieces it comes in.
//! - A [`Layout`] that exists is sound: aligned, without overflow, without overlap.
#![forbid(unsafe_code)]

pub mod cloud_hypervisor;
mod conversation;
mod dialect;
pub mod firecracker;
mod json;
mod layout;
pub mod native;
pub mod nydus;
mod refusal;

pub use conversation::{Attach, Conversation, FDS_MAX, MESSAGE_LEN_MAX, Request};
pub use dialect::Dialect;
pub use layout::{Claim, Fault, Layout, REGIONS_MAX, Region};
pub use refusal::Refusal;
