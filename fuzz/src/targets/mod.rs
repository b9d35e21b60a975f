//! What is fuzzed.

pub mod core;
pub mod handshake;
pub mod image;
pub mod migration;
pub mod replies;
