//! The notes of a core: threads with their registers, the process, its files.
//!
//! The caller gives plain values; [`Notes::encode`] puts them in the kernel's order: the first
//! thread's `PRSTATUS`, then everything about the process, then the first thread's other
//! register sets, then thread by thread. Debuggers take the first thread as the current one.

mod process;
mod thread;

pub use process::{MappedFile, ProcessNotes, PsInfo};
pub use thread::{Regset, SignalInfo, ThreadNotes, ThreadTimes};

pub(crate) use process::{decode_files, decode_psinfo};
pub(crate) use thread::decode_status;

use super::elf::note;
use super::machine::Machine;
use faultless_pages::PageSize;

/// Notes no core can hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotesError {
    /// There is no thread.
    #[error("a core needs at least one thread")]
    NoThread,
    /// The general registers do not have the machine's size.
    #[error("thread {tid}: {found} bytes of general registers, {machine} has {expected}")]
    RegisterSize {
        /// The thread.
        tid: u32,
        /// The processor.
        machine: Machine,
        /// The size it has.
        expected: usize,
        /// The size given.
        found: usize,
    },
    /// A note holds more bytes than its 32-bit length can say.
    #[error("note {kind:#x} of owner {owner} holds {len} bytes, more than a note can")]
    TooLong {
        /// Owner of the note.
        owner: String,
        /// Type of the note.
        kind: u32,
        /// Its length in bytes.
        len: usize,
    },
    /// A mapped file's path holds a NUL byte, which ends paths in the file table.
    #[error("the mapped file at {start:#x} has a NUL byte in its path")]
    NulInPath {
        /// Start address of the mapping.
        start: u64,
    },
}

/// Everything a core says beside memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notes {
    /// The threads; the first is the one debuggers show first.
    pub threads: Vec<ThreadNotes>,
    /// The process.
    pub process: ProcessNotes,
}

impl Notes {
    /// Writes the notes as the kernel orders them.
    pub(crate) fn encode(
        &self,
        machine: Machine,
        page_size: PageSize,
    ) -> Result<Vec<u8>, NotesError> {
        let (first, others) = self.threads.split_first().ok_or(NotesError::NoThread)?;
        let process = &self.process;
        let siginfo = process.siginfo.unwrap_or_else(|| first.signal.to_siginfo());
        let files = process::encode_files(&process.files, page_size)?;
        let mut out = NoteBuffer::default();
        out.push(note::OWNER_CORE, note::PRSTATUS, &first.encode(machine)?)?;
        out.push(note::OWNER_CORE, note::PRPSINFO, &process.info.encode())?;
        out.push(note::OWNER_CORE, note::SIGINFO, &siginfo)?;
        out.push(note::OWNER_CORE, note::AUXV, &process.auxv)?;
        out.push(note::OWNER_CORE, note::FILE, &files)?;
        out.push_regsets(first)?;
        for thread in others {
            out.push(note::OWNER_CORE, note::PRSTATUS, &thread.encode(machine)?)?;
            out.push_regsets(thread)?;
        }
        Ok(out.bytes)
    }
}

/// Notes as bytes, each padded to 4.
#[derive(Default)]
pub(crate) struct NoteBuffer {
    pub(crate) bytes: Vec<u8>,
}

impl NoteBuffer {
    /// Appends one note.
    pub(crate) fn push(&mut self, owner: &str, kind: u32, desc: &[u8]) -> Result<(), NotesError> {
        let too_long = |_| NotesError::TooLong { owner: owner.to_string(), kind, len: desc.len() };
        let name_len = u32::try_from(owner.len() + 1).map_err(too_long)?;
        let desc_len = u32::try_from(desc.len()).map_err(too_long)?;
        self.bytes.extend(name_len.to_le_bytes());
        self.bytes.extend(desc_len.to_le_bytes());
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(owner.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(desc);
        self.pad();
        Ok(())
    }

    fn push_regsets(&mut self, thread: &ThreadNotes) -> Result<(), NotesError> {
        thread.regsets.iter().try_for_each(|set| self.push(set.owner(), set.kind, &set.bytes))
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_length_length_type_name_content_each_padded() {
        let mut notes = NoteBuffer::default();
        notes.push("CORE", 6, &[1, 2, 3]).unwrap();
        let expected =
            [5, 0, 0, 0, 3, 0, 0, 0, 6, 0, 0, 0, b'C', b'O', b'R', b'E', 0, 0, 0, 0, 1, 2, 3, 0];
        assert_eq!(notes.bytes, expected);
    }
}
