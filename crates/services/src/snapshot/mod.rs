//! A consistent core of a running process, without stopping it.
//!
//! [`snapshot`] opens a userfaultfd on the process ([`faultless_uffd::attach`]), stops all its
//! threads for as long as it takes to write-protect its memory and read its registers (`cut`),
//! and lets it run on. Then it copies the memory in the background, page by page letting go; a
//! write to a page that is not saved yet waits until it is (`saver`).
//!
//! | file | holds |
//! |---|---|
//! | `freeze` | stopping threads and reading their registers |
//! | `areas`, `cut` | what is done about each mapping; everything that happens during the pause |
//! | `watch` | letting writers go before the pause, while memory is being protected |
//! | `policy`, `census` | what is mapped, what of it is dumped, which pages hold something |
//! | `saver` (`follow`, `step`) | which page is saved when: the core, free of effects |
//! | `pages`, `live`, `twins` | what it knows of each page |
//! | `port` | the world as the core sees it |
//! | `remote`, `buffer` | the real one: the target, and memory |
//! | `queue`, `disk` | what is on its way, and the file |
//! | `hold` | holding the program back from dropping memory (`--exact`) |
//! | `pump`, `session` | the thread that saves, and how all of it is started and ended |
//! | `facts`, `xsave` | what `/proc` and the processor add to the notes of the core |
//!
//! # Threads
//! The caller's thread saves. One thread traces: it stops the target, makes the cut, and in exact
//! mode holds calls back. Two write to the disk (one, if it is a compressed stream). They share the
//! pool of buffers and nothing else; all state about pages belongs to the saver.
//!
//! # What it promises
//! - One instant for all threads and all private memory.
//! - A file under its final name is whole.
//! - If this process dies, the target runs on: the kernel takes the protections back.

mod areas;
mod buffer;
mod census;
mod cut;
mod disk;
mod error;
mod facts;
mod freeze;
mod hold;
mod live;
mod output;
mod pages;
mod policy;
mod port;
mod pump;
mod queue;
mod remote;
mod report;
mod saver;
mod session;
mod twins;
mod watch;
mod xsave;

pub use error::SnapshotError;
pub use report::{Format, Latency, Observer, Options, Pause, Phase, Report};
pub use session::snapshot;
