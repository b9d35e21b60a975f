//! ELF64 core dumps for x86-64 and aarch64, written in any page order and read with suspicion.
//!
//! A core is cut at one instant but written while its process runs on, so which pages the
//! program freed before they were saved is known only at the end. Hence the shape of the file
//! (`docs/core-format.md` has the byte map):
//!
//! ```text
//! ELF header, padded to a page | segment data, sparse | notes | program headers | [section 0]
//! ```
//!
//! The [`Layout`] fixes where each page lies as soon as the segments are known. A [`RawWriter`]
//! takes pages in any order and from several threads; a [`CompressedWriter`] takes them in
//! address order and streams zstd. Both publish through a [`PendingFile`]: a file under its final
//! name is whole. [`CoreFile`] reads cores back, ours and others', raw or compressed;
//! [`CoreFile::summary`] says what one holds and [`CoreFile::verify`] checks every byte of it.
//!
//! ```no_run
//! use faultless_image::core::*;
//! use faultless_pages::{PageSize, Va, VaRange};
//!
//! # fn thread() -> ThreadNotes { unimplemented!() }
//! # fn process() -> ProcessNotes { unimplemented!() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pending = PendingFile::create("shell.core".as_ref(), OnExisting::Refuse)?;
//! let stack = SegmentSpec {
//!     range: VaRange::new(Va(0x7ffd_0000_0000), Va(0x7ffd_0002_1000)),
//!     access: Access { read: true, write: true, execute: false },
//!     dumped: Dumped::All,
//! };
//! let layout = Layout::new(Machine::X86_64, PageSize::KIB4, vec![stack])?;
//! let writer = RawWriter::new(pending, layout)?;
//! writer.write_run(Va(0x7ffd_0002_0000), &[7; 4096])?;
//! let notes = Notes { threads: vec![thread()], process: process() };
//! let written = writer.finish(&notes, &CutRecord::default())?;
//! println!("{} bytes", written.file_len.0);
//! # Ok(())
//! # }
//! ```

pub(crate) mod checksum;
pub(crate) mod elf;
mod frames;
mod inspect;
mod layout;
pub(crate) mod ledger;
mod machine;
mod notes;
mod publish;
mod read;
mod record;
pub(crate) mod source;
pub(crate) mod tail;
mod verify;
mod write;

pub use elf::note;
pub use inspect::{FileSummary, RangeSummary, SegmentSummary, Summary, ThreadSummary};
pub use layout::{Access, Dumped, Layout, LayoutError, SegmentSpec};
pub use ledger::Saved;
pub use machine::{Machine, UnsupportedMachine};
pub use notes::{
    MappedFile, Notes, NotesError, ProcessNotes, PsInfo, Regset, SignalInfo, ThreadNotes,
    ThreadTimes,
};
pub use publish::{OnExisting, PendingFile};
pub use read::{CoreFile, ReadError, Residence, Segment, Thread};
pub use record::{CutRecord, FORMAT_VERSION, Record, SegmentSum};
pub use verify::{Problem, Verification};
pub use write::{CompressedWriter, Compression, RawWriter, WriteError, Written};
