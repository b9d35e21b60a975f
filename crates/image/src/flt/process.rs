//! An image of a process, written while its memory is being saved: runs of pages in any order.
//!
//! Called by the snapshot service, as the writers of cores are. A chunk that comes whole is stored
//! at once; of one that comes in parts, the parts wait in a file without a name until the end.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;

use faultless_pages::{Bytes, Va};

use super::error::WriteError;
use super::store::NewObject;
use super::tables::{ElfNotes, Region, lay_out};
use super::writer::{ImageWriter, Options, Parent, Written};
use crate::core::ledger::Ledger;
use crate::core::tail::make_record;
use crate::core::{self, Access, CutRecord, Layout, Notes, PendingFile, Record, Saved};

/// Writes an image of a process.
///
/// Dropping it without [`finish`](ProcessWriter::finish) leaves no file.
pub struct ProcessWriter<O> {
    writer: ImageWriter<O>,
    ledger: Ledger,
    /// The segments of the layout, where they lie in the image.
    regions: Vec<Region>,
    /// Parts of chunks, each where it lies in the memory of the image.
    aside: PendingFile,
    /// Chunks that came in parts.
    parts: BTreeSet<u64>,
    /// Chunks that came whole.
    whole: BTreeSet<u64>,
    content: Vec<u8>,
}

impl<O: NewObject> ProcessWriter<O> {
    /// Begins an image of memory of this layout; memory, regions and notes of the options do not
    /// matter. `aside` is never published.
    ///
    /// # Errors
    /// [`WriteError`] says what does not fit; with a parent its whole index is read.
    pub fn new(
        object: O,
        aside: PendingFile,
        layout: Layout,
        options: Options,
        parent: Option<Parent>,
    ) -> Result<ProcessWriter<O>, WriteError> {
        let page_size = layout.page_size();
        let regions = layout.segments().iter().map(|segment| Region {
            address: segment.range.start(),
            len: segment.range.len(),
            offset: Bytes::ZERO,
            held: segment.dumped_range(page_size).len(),
            access: segment.access,
        });
        let mut regions: Vec<Region> = regions.collect();
        let memory = lay_out(&mut regions, options.chunk)
            .map_err(|_| WriteError::TooMuchMemory(layout.data_len()))?;
        let content = options.chunk.buffer();
        let options = Options { memory, regions: Vec::new(), notes: None, ..options };
        let writer = ImageWriter::new(object, options, parent)?;
        let (parts, whole) = (BTreeSet::new(), BTreeSet::new());
        let ledger = Ledger::new(layout);
        Ok(ProcessWriter { writer, ledger, regions, aside, parts, whole, content })
    }

    /// Saves a run of whole pages, each page once, that lies in several pieces of memory. It may
    /// reach over segments that touch.
    ///
    /// # Errors
    /// [`core::WriteError::NoSpace`] when the disk is full; on misuse as
    /// [`RawWriter::write_run`](core::RawWriter::write_run).
    pub fn write_pieces<'a>(
        &mut self,
        address: Va,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Saved, WriteError> {
        let mut saved = Saved::default();
        let mut at = address;
        for piece in pieces {
            saved += self.ledger.save(at, piece, |_, _| Ok(()))?;
            self.place(at, piece)?;
            at = at.add(Bytes::from(piece.len()));
        }
        Ok(saved)
    }

    /// Puts a run where it belongs, segment by segment and chunk by chunk.
    fn place(&mut self, mut at: Va, mut run: &[u8]) -> Result<(), WriteError> {
        let chunk = self.writer.chunk_size().bytes();
        while !run.is_empty() {
            let region = self.region_of(at);
            let into = at.since(region.address).0;
            let offset = region.offset.0 + into;
            let in_chunk = (offset + 1).next_multiple_of(chunk.0) - offset;
            let len = in_chunk.min(region.held.0 - into);
            let (part, rest) = run.split_at(Bytes(len).as_usize().min(run.len()));
            self.put(region, offset, part)?;
            at = at.add(Bytes::from(part.len()));
            run = rest;
        }
        Ok(())
    }

    fn region_of(&self, address: Va) -> Region {
        // The ledger has admitted the pages there.
        let segment = self.ledger.layout.segment_of(address).expect("a page of a segment");
        self.regions[segment]
    }

    /// Stores a part of a chunk if it is all that the region has of it.
    fn put(&mut self, region: Region, offset: u64, part: &[u8]) -> Result<(), WriteError> {
        let chunk = self.writer.chunk_size().bytes().0;
        let (number, into) = (offset / chunk, Bytes(offset % chunk).as_usize());
        let first = (number * chunk).max(region.offset.0);
        let behind = ((number + 1) * chunk).min(region.offset.0 + region.held.0);
        if offset == first && offset + part.len() as u64 == behind {
            self.whole.insert(number);
            if part.len() == self.content.len() {
                return self.writer.put(number, part);
            }
            self.content.fill(0);
            self.content[into..][..part.len()].copy_from_slice(part);
            return self.writer.put(number, &self.content);
        }
        self.parts.insert(number);
        let kept = self.aside.file().write_all_at(part, offset);
        Ok(kept.map_err(|e| core::WriteError::io(self.aside.path(), "keep pages beside", e))?)
    }

    /// Stores what came in parts, writes index and notes, and gives the object its name.
    ///
    /// # Errors
    /// [`WriteError`]; no object is left behind then.
    pub fn finish(
        mut self,
        notes: &Notes,
        cut: &CutRecord,
    ) -> Result<(Written, Record), WriteError> {
        self.put_parts()?;
        self.put_zeros()?;
        let layout = &self.ledger.layout;
        let bytes = notes.encode(layout.machine(), layout.page_size());
        let bytes = bytes.map_err(core::WriteError::from)?;
        let lost = self.ledger.lost(&cut.freed);
        let record = make_record(&self.ledger, &lost, cut);
        let headers = layout.load_headers(&lost);
        let regions = headers.iter().map(|header| {
            let segment = self.region_of_header(header.vaddr);
            let into = Bytes(header.vaddr - segment.address.0).min(segment.held);
            Region {
                address: Va(header.vaddr),
                len: Bytes(header.memsz),
                offset: Bytes(segment.offset.0 + into.0),
                held: Bytes(header.filesz),
                access: Access::from_flags(header.flags),
            }
        });
        let notes = ElfNotes { machine: layout.machine(), bytes };
        self.writer.describe(regions.collect(), notes)?;
        Ok((self.writer.finish()?, record))
    }

    /// Returns the segment a header speaks of a part of.
    fn region_of_header(&self, address: u64) -> Region {
        let behind = self.regions.partition_point(|region| region.address.0 <= address);
        self.regions[behind - 1]
    }

    fn put_parts(&mut self) -> Result<(), WriteError> {
        let chunk = self.writer.chunk_size();
        let io = |file: &PendingFile, e| core::WriteError::io(file.path(), "read back from", e);
        // What was not written of the last one is zeros like all the rest.
        let len = self.parts.last().map_or(0, |last| (last + 1) * chunk.bytes().0);
        self.aside.file().set_len(len).map_err(|e| io(&self.aside, e))?;
        for number in std::mem::take(&mut self.parts) {
            let read = self.aside.file().read_exact_at(&mut self.content, number * chunk.bytes().0);
            read.map_err(|e| io(&self.aside, e))?;
            self.writer.put(number, &self.content)?;
            self.whole.insert(number);
        }
        Ok(())
    }

    /// Says of all other chunks that they are zeros, whatever the layer below has there.
    fn put_zeros(&mut self) -> Result<(), WriteError> {
        let chunks = self.writer.chunk_size().count(self.writer.memory());
        let mut next = 0;
        for &number in &self.whole {
            for zeros in next..number {
                self.writer.put_zeros(zeros)?;
            }
            next = number + 1;
        }
        for zeros in next..chunks {
            self.writer.put_zeros(zeros)?;
        }
        Ok(())
    }
}
