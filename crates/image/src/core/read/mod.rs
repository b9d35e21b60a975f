//! Reading cores: ours and those of the kernel, gcore and others, raw or compressed.
//!
//! Called by `faultless inspect`, by the checkers of the tests, by whoever wants the memory or
//! registers in a core.
//!
//! # Invariants
//! - No length of the file is believed before the bytes it speaks of were read: what is
//!   allocated is bounded by what was really there, and by the limits below.
//! - Opening reads headers and notes, never segment data.

mod error;
mod headers;
mod notes;

use std::fs::File;
use std::path::{Path, PathBuf};

use faultless_pages::{Bytes, PageSize, Va, VaRange};

pub use error::ReadError;
pub(super) use error::Reader;
pub(super) use notes::NoteSpan;

use super::elf::MAGIC;
use super::frames;
use super::layout::Access;
use super::machine::Machine;
use super::notes::{MappedFile, PsInfo};
use super::record::{Record, Seal};
use super::source::Source;

/// The longest note whose content is read: a file table of a quarter million mappings.
const NOTE_LEN_MAX: u64 = 64 << 20;

/// Memory of the process at the cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its addresses.
    pub range: VaRange,
    /// How many of its bytes, from the start, the file holds.
    pub in_file: Bytes,
    /// Where they lie in the core.
    pub offset: Bytes,
    /// What the program could do with it.
    pub access: Access,
}

/// One thread at the cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// The signal it was met with, 0 for none.
    pub signal: i32,
    /// General registers in the order of `user_regs_struct` or `user_pt_regs`.
    pub general: Vec<u64>,
    /// Program counter.
    pub pc: Va,
    /// Stack pointer.
    pub sp: Va,
    pub(super) regsets: Vec<(u32, NoteSpan)>,
}

/// What a core knows of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Residence {
    /// The file holds its content.
    InFile,
    /// It was mapped, and left out on purpose.
    NotDumped,
    /// The program freed it before it was saved.
    Freed,
    /// Nothing was mapped there.
    Unmapped,
}

/// An open core.
pub struct CoreFile {
    pub(super) reader: Reader,
    pub(super) machine: Machine,
    pub(super) compressed: bool,
    pub(super) file_len: u64,
    pub(super) file_allocated: u64,
    /// Sorted by address.
    pub(super) segments: Vec<Segment>,
    pub(super) threads: Vec<Thread>,
    pub(super) process: Option<PsInfo>,
    pub(super) auxv: Vec<u8>,
    pub(super) files: Vec<MappedFile>,
    pub(super) record: Option<Record>,
    pub(super) seal: Option<Sealed>,
    foreign_notes: Vec<NoteSpan>,
}

/// What a core's seal covers.
pub(super) struct Sealed {
    pub(super) seal: Seal,
    /// The notes before it.
    pub(super) notes: (u64, u64),
    /// The program headers and section 0.
    pub(super) table: (u64, u64),
}

impl CoreFile {
    /// Opens a core, raw or compressed with zstd.
    ///
    /// # Errors
    /// [`ReadError::Malformed`] names the first field that is not what it must be; a core that
    /// ends early has lost its program headers and is refused here.
    pub fn open(path: &Path) -> Result<CoreFile, ReadError> {
        let io = |source| ReadError::Io { file: path.to_path_buf(), offset: 0, source };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(ReadError::NotAFile { file: path.to_path_buf() });
        }
        let reader = open_source(path.to_path_buf(), file, metadata.len())?;
        let compressed = matches!(reader.source, Source::Zstd(_));
        let headers = headers::read(&reader)?;
        let notes = notes::read(&reader, headers.machine, &headers.notes)?;
        let seal = notes.seal.map(|(seal, start, end)| Sealed {
            seal,
            notes: (start, end),
            table: headers.table,
        });
        Ok(CoreFile {
            reader,
            machine: headers.machine,
            compressed,
            file_len: metadata.len(),
            // st_blocks counts 512 bytes whatever the file system's block.
            file_allocated: std::os::unix::fs::MetadataExt::blocks(&metadata).saturating_mul(512),
            segments: headers.segments,
            threads: notes.threads,
            process: notes.process,
            auxv: notes.auxv,
            files: notes.files,
            record: notes.record,
            seal,
            foreign_notes: notes.foreign,
        })
    }

    /// Returns the file's name as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.reader.file
    }

    /// Returns the processor.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Returns the threads in the core's order.
    #[must_use]
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// Returns the segments, sorted by address.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns identity and command line of the process, if the core has them.
    #[must_use]
    pub fn process(&self) -> Option<&PsInfo> {
        self.process.as_ref()
    }

    /// Returns the auxiliary vector, empty if the core has none.
    #[must_use]
    pub fn auxv(&self) -> &[u8] {
        &self.auxv
    }

    /// Returns the mapped files.
    #[must_use]
    pub fn files(&self) -> &[MappedFile] {
        &self.files
    }

    /// Returns what our own notes say, `None` for a core of another program.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Returns the ranges the program freed before they were saved.
    #[must_use]
    pub fn freed(&self) -> &[VaRange] {
        self.record.as_ref().map_or(&[], |record| &record.freed)
    }

    /// Returns the base page size: as recorded, or the 4 KiB every other core is read with.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.record
            .as_ref()
            .and_then(|record| PageSize::new(Bytes(record.page_size.into())))
            .unwrap_or(PageSize::KIB4)
    }

    /// Reads a register set of a thread, e.g. [`note::FPREGSET`](super::note::FPREGSET).
    ///
    /// # Errors
    /// [`ReadError`] if the file cannot be read there.
    pub fn regset(&self, thread: &Thread, kind: u32) -> Result<Option<Vec<u8>>, ReadError> {
        match thread.regsets.iter().find(|(found, _)| *found == kind) {
            Some((_, span)) => self.reader.note(span).map(Some),
            None => Ok(None),
        }
    }

    /// Reads all notes but our own as they stand in the core.
    ///
    /// # Errors
    /// [`ReadError`] if they cannot be read, or are longer than any core's.
    pub fn foreign_notes(&self) -> Result<Vec<u8>, ReadError> {
        let len = self.foreign_notes.iter().fold(0u64, |len, span| len.saturating_add(span.len));
        if len > NOTE_LEN_MAX {
            let expected = format!("at most {NOTE_LEN_MAX} bytes");
            return Err(self.reader.malformed(0, "notes", expected, len.to_string()));
        }
        let mut bytes = Vec::new();
        for span in &self.foreign_notes {
            bytes.extend(self.reader.note(span)?);
            // Some writers leave the padding of the last one out.
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        Ok(bytes)
    }

    /// Says what the core knows of an address.
    #[must_use]
    pub fn residence(&self, address: Va) -> Residence {
        match self.segment_of(address) {
            Some(segment) if address.since(segment.range.start()) < segment.in_file => {
                Residence::InFile
            }
            Some(_) => Residence::NotDumped,
            None if in_sorted(self.freed(), address) => Residence::Freed,
            None => Residence::Unmapped,
        }
    }

    /// Reads memory from `address` on, across segments that touch, and returns how many bytes
    /// the file holds before the first it does not.
    ///
    /// # Errors
    /// [`ReadError`] if the file ends early, cannot be read, or does not decompress.
    pub fn read_memory(&self, address: Va, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut done = 0;
        while done < buffer.len() {
            let Some(next) = address.0.checked_add(done as u64) else {
                break;
            };
            let Some(segment) = self.segment_of(Va(next)) else {
                break;
            };
            let into = next - segment.range.start().0;
            let left = segment.in_file.0.saturating_sub(into);
            let now = (buffer.len() - done).min(usize::try_from(left).unwrap_or(usize::MAX));
            if now == 0 {
                break;
            }
            let part = &mut buffer[done..done + now];
            self.reader.read(part, segment.offset.0 + into, "memory")?;
            done += now;
        }
        Ok(done)
    }

    /// Reads a little-endian word, `None` if the file does not hold all of it.
    ///
    /// # Errors
    /// As [`CoreFile::read_memory`].
    pub fn read_u64(&self, address: Va) -> Result<Option<u64>, ReadError> {
        let mut word = [0; 8];
        let read = self.read_memory(address, &mut word)?;
        Ok((read == word.len()).then(|| u64::from_le_bytes(word)))
    }

    fn segment_of(&self, address: Va) -> Option<&Segment> {
        let after = self.segments.partition_point(|segment| segment.range.start() <= address);
        let segment = &self.segments[after.checked_sub(1)?];
        segment.range.contains(address).then_some(segment)
    }
}

fn in_sorted(ranges: &[VaRange], address: Va) -> bool {
    let after = ranges.partition_point(|range| range.start() <= address);
    after > 0 && ranges[after - 1].contains(address)
}

/// Tells plain from compressed by the first four bytes.
fn open_source(path: PathBuf, file: File, len: u64) -> Result<Reader, ReadError> {
    let plain = Reader { file: path.clone(), source: Source::Raw { file, len } };
    let mut magic = [0; 4];
    plain.read(&mut magic, 0, "magic")?;
    let Source::Raw { file, .. } = plain.source else {
        unreachable!("made raw above");
    };
    let source = match magic {
        MAGIC => Source::Raw { file, len },
        frames::MAGIC => {
            Source::zstd(file, len).map_err(|e| ReadError::from_walk(path.clone(), e))?
        }
        _ => {
            return Err(ReadError::Malformed {
                file: path,
                offset: 0,
                field: "magic",
                expected: "an ELF or zstd file".to_string(),
                found: format!("{magic:02x?}"),
            });
        }
    };
    Ok(Reader { file: path, source })
}
