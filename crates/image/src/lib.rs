//! Memory images: what a process held at one instant, as a file.
//!
//! | module | image |
//! |---|---|
//! | [`core`] | ELF core dumps: written while the process runs on, read back, verified |
//!
//! Called by the snapshot service (which writes), `faultless inspect` and the checkers (which
//! read). Knows nothing of processes or faults: it is handed bytes and addresses.
#![forbid(unsafe_code)]

pub mod core;
