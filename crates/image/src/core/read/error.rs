//! What can be wrong with a core, and reads that say so.

use std::io;
use std::path::PathBuf;

use super::super::frames::WalkError;
use super::super::record::BadField;
use super::super::source::Source;
use super::NOTE_LEN_MAX;
use super::NoteSpan;

/// Why a core cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read {} at offset {offset:#x}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// What the system, or the decompressor, said.
        source: io::Error,
    },
    /// A directory, a device or a pipe: cores are read from anywhere, hence from files only.
    #[error("{} is not a regular file; copy the core into one first", file.display())]
    NotAFile {
        /// The file.
        file: PathBuf,
    },
    /// A field does not hold what it must.
    #[error(
        "{}: {field} at offset {offset:#x}: expected {expected}, found {found}",
        file.display()
    )]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where in the core (in the file, for what concerns its compression).
        offset: u64,
        /// The field.
        field: &'static str,
        /// What it must hold.
        expected: String,
        /// What it holds.
        found: String,
    },
}

impl ReadError {
    pub(super) fn from_walk(file: PathBuf, error: WalkError) -> ReadError {
        match error {
            WalkError::Io(offset, source) => ReadError::Io { file, offset, source },
            WalkError::Malformed { at, expected, found } => ReadError::Malformed {
                file,
                offset: at,
                field: "compression",
                expected: expected.to_string(),
                found,
            },
        }
    }
}

/// The bytes of a core with its name for errors.
pub(in super::super) struct Reader {
    pub(in super::super) file: PathBuf,
    pub(in super::super) source: Source,
}

impl Reader {
    /// Fills `buffer`; `field` is what the error will say was cut off.
    pub(in super::super) fn read(
        &self,
        buffer: &mut [u8],
        offset: u64,
        field: &'static str,
    ) -> Result<(), ReadError> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.source.len()) {
            let expected = format!("{} bytes", buffer.len());
            let found = format!("the end of the core at {:#x}", self.source.len());
            return Err(self.malformed(offset, field, expected, found));
        }
        self.source.read_exact_at(buffer, offset).map_err(|source| self.io(offset, source))
    }

    /// Reads the content of a note.
    pub(in super::super) fn note(&self, span: &NoteSpan) -> Result<Vec<u8>, ReadError> {
        if span.len > NOTE_LEN_MAX {
            let expected = format!("at most {NOTE_LEN_MAX} bytes");
            return Err(self.malformed(span.offset, "note", expected, span.len.to_string()));
        }
        let mut bytes = Vec::new();
        // In pieces: the room grows with what was really there.
        while (bytes.len() as u64) < span.len {
            let done = bytes.len();
            let left = span.len - done as u64;
            let now = usize::try_from(left.min(1 << 20)).expect("at most 1 MiB");
            bytes.resize(done + now, 0);
            self.read(&mut bytes[done..], span.offset + done as u64, "note")?;
        }
        Ok(bytes)
    }

    pub(in super::super) fn io(&self, offset: u64, source: io::Error) -> ReadError {
        ReadError::Io { file: self.file.clone(), offset, source }
    }

    pub(in super::super) fn malformed(
        &self,
        offset: u64,
        field: &'static str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> ReadError {
        ReadError::Malformed {
            file: self.file.clone(),
            offset,
            field,
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(in super::super) fn bad_field(&self, offset: u64, bad: BadField) -> ReadError {
        self.malformed(offset, bad.field, bad.expected, bad.found)
    }
}
