//! Memory images: what a process or a virtual machine held at one instant, as a file.
//!
//! | module | image |
//! |---|---|
//! | [`core`] | ELF core dumps: written while the process runs on, read back, verified |
//! | [`flt`] | our own format: compressed, deduplicated, in layers, read from anywhere |
//!
//! Called by the snapshot service (which writes), `faultless inspect`, `faultless image` and the
//! checkers (which read). Knows nothing of processes or faults: it is handed bytes and addresses.
#![forbid(unsafe_code)]

pub mod core;
pub mod flt;
