//! A core as a stream of zstd frames, pages in address order.
//!
//! The first frame holds nothing but the file header, uncompressed and of fixed size, so that it
//! can be overwritten in place when the end is known. Data frames hold at most [`FRAME_LEN`]
//! each, so that a reader can start anywhere; a long run of zeros is a frame of its own that
//! costs 4 bytes per 128 KiB. `zstd -d` turns the file into the raw core, byte for byte.

use std::os::unix::fs::FileExt;
use std::path::Path;

use faultless_pages::{Bytes, Va};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use super::super::elf::EHDR_LEN;
use super::super::frames::{HEADER_FRAME_CONTENT, header_frame, zero_frame};
use super::super::layout::Layout;
use super::super::ledger::{Ledger, Saved};
use super::super::notes::Notes;
use super::super::publish::PendingFile;
use super::super::record::CutRecord;
use super::super::tail::Tail;
use super::{WriteError, Written};

/// Content of a data frame: large enough to compress well, small enough to be read for one page.
const FRAME_LEN: usize = 2 << 20;
/// Zeros from here on get a frame of their own; shorter runs compress to almost nothing anyway.
const HOLE_LEN: u64 = 256 << 10;
/// Content of a frame of zeros: 32 KiB in the file, however long the hole.
const ZERO_FRAME_LEN: u64 = 1 << 30;

/// How hard to compress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compression {
    /// zstd level, 1 (fast) to 19 (small).
    pub level: i32,
}

impl Default for Compression {
    /// Level 1: the point of a snapshot is to be over soon.
    fn default() -> Compression {
        Compression { level: 1 }
    }
}

/// Writes a compressed core.
///
/// Holds about 4 MiB beside the compressor's own state. Dropping it without
/// [`finish`](CompressedWriter::finish) leaves no file.
pub struct CompressedWriter {
    ledger: Ledger,
    stream: Stream,
}

impl CompressedWriter {
    /// Starts a core of the given layout in a file that is still empty.
    ///
    /// # Errors
    /// [`WriteError::Io`] if the compressor refuses the level.
    pub fn new(
        pending: PendingFile,
        layout: Layout,
        compression: Compression,
    ) -> Result<CompressedWriter, WriteError> {
        let stream = Stream::new(pending, compression)?;
        let ledger = Ledger::new(layout);
        Ok(CompressedWriter { ledger, stream })
    }

    /// Returns the name the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.stream.pending.path()
    }

    /// Returns where the pages lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.ledger.layout
    }

    /// Saves whole pages, behind all pages saved before. The run may reach over segments that
    /// touch.
    ///
    /// # Errors
    /// [`WriteError::NoSpace`] when the disk is full, [`WriteError::OutsideLayout`],
    /// [`WriteError::SavedTwice`] and [`WriteError::OutOfOrder`] on misuse.
    pub fn page_run(&mut self, address: Va, run: &[u8]) -> Result<Saved, WriteError> {
        let offset = self.ledger.layout.offset_of(address);
        if offset.is_some_and(|offset| offset.0 < self.stream.next) {
            return Err(WriteError::OutOfOrder { address });
        }
        let stream = &mut self.stream;
        self.ledger.save(address, run, |offset, bytes| {
            stream.zeros_to(offset)?;
            stream.push(bytes)
        })
    }

    /// Writes notes and headers, brings all to the disk and gives the file its name.
    ///
    /// # Errors
    /// As [`CompressedWriter::page_run`] and [`PendingFile::publish`]; no file is left behind.
    pub fn finish(mut self, notes: &Notes, cut: &CutRecord) -> Result<Written, WriteError> {
        let tail = Tail::new(&self.ledger, notes, cut)?;
        self.stream.zeros_to(self.ledger.layout.data_end().0)?;
        self.stream.push(&tail.bytes)?;
        self.stream.flush()?;
        self.stream.write_at(HEADER_FRAME_CONTENT, &tail.header)?;
        let written = Written {
            core_len: Bytes(self.stream.next),
            file_len: Bytes(self.stream.file_len),
            record: tail.record,
        };
        self.stream.pending.publish()?;
        Ok(written)
    }
}

/// Bytes going into frames.
struct Stream {
    pending: PendingFile,
    compressor: Compressor<'static>,
    /// Content of the frame being filled.
    content: Vec<u8>,
    /// Room for a compressed frame.
    compressed: Vec<u8>,
    /// Offset in the core of the next byte.
    next: u64,
    file_len: u64,
}

impl Stream {
    fn new(pending: PendingFile, compression: Compression) -> Result<Stream, WriteError> {
        let io = |e| WriteError::io(pending.path(), "compress", e);
        let mut compressor = Compressor::new(compression.level).map_err(io)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(io)?;
        let first = header_frame(&[0; EHDR_LEN]);
        let mut stream = Stream {
            pending,
            compressor,
            content: Vec::with_capacity(FRAME_LEN),
            compressed: Vec::with_capacity(compress_bound(FRAME_LEN)),
            next: EHDR_LEN as u64,
            file_len: 0,
        };
        stream.append(&first)?;
        Ok(stream)
    }

    /// Appends zeros up to `offset` of the core.
    fn zeros_to(&mut self, offset: u64) -> Result<(), WriteError> {
        let gap = offset - self.next;
        if gap >= HOLE_LEN {
            self.flush()?;
            while self.next < offset {
                let len = ZERO_FRAME_LEN.min(offset - self.next);
                self.append(&zero_frame(len))?;
                self.next += len;
            }
            return Ok(());
        }
        while self.next < offset {
            let room = (FRAME_LEN - self.content.len()) as u64;
            let len = room.min(offset - self.next);
            let filled = self.content.len() + Bytes(len).as_usize();
            self.content.resize(filled, 0);
            self.filled(len)?;
        }
        Ok(())
    }

    /// Appends bytes.
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let room = FRAME_LEN - self.content.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.content.extend_from_slice(now);
            self.filled(now.len() as u64)?;
            bytes = later;
        }
        Ok(())
    }

    /// Counts `len` bytes just put into the frame, and ends the frame if it is full.
    fn filled(&mut self, len: u64) -> Result<(), WriteError> {
        self.next += len;
        if self.content.len() == FRAME_LEN {
            self.flush()?;
        }
        Ok(())
    }

    /// Compresses and writes the frame being filled.
    fn flush(&mut self) -> Result<(), WriteError> {
        if self.content.is_empty() {
            return Ok(());
        }
        let mut frame = std::mem::take(&mut self.compressed);
        frame.clear();
        self.compressor
            .compress_to_buffer(&self.content, &mut frame)
            .map_err(|e| WriteError::io(self.pending.path(), "compress", e))?;
        self.append(&frame)?;
        self.compressed = frame;
        self.content.clear();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.write_at(self.file_len, bytes)?;
        self.file_len += bytes.len() as u64;
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        self.pending
            .file()
            .write_all_at(bytes, offset)
            .map_err(|e| WriteError::io(self.pending.path(), "write", e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = include_str!("../../../../../docs/core-format.md");

    #[test]
    fn the_document_gives_the_sizes_of_the_frames() {
        assert!(DOC.contains(&format!("up to {} each", Bytes::from(FRAME_LEN))));
        let zeros = format!("{} to {} of zeros", Bytes(HOLE_LEN), Bytes(ZERO_FRAME_LEN));
        assert!(DOC.contains(&zeros));
        let content =
            format!("{HEADER_FRAME_CONTENT} bytes of frame header, {EHDR_LEN} of content");
        assert!(DOC.contains(&content));
    }
}
