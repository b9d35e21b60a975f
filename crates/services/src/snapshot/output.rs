//! What becomes of saved pages: a core, raw or compressed, or an image.
//!
//! Called by the threads of `disk`; the writers themselves are the image crate's.

use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use faultless_image::core::{
    CompressedWriter, Compression, CutRecord, Layout, Notes, OnExisting, PendingFile, RawWriter,
    Record, WriteError, Written,
};
use faultless_image::flt::{self, NewFile, ProcessWriter};
use faultless_pages::{Bytes, RangeSet, Va, VaRange};

use super::buffer::BLOCK;
use super::error::SnapshotError;
use super::report::{Format, Options};

/// How the core is written.
pub(super) enum Output {
    /// In any order, sparse.
    Raw(Box<RawWriter>),
    /// As one compressed stream, in address order; pages saved ahead of it wait in a file.
    Stream(Box<Mutex<Stream>>),
    /// As an image, in any order.
    Image(Box<Mutex<ProcessWriter<NewFile>>>),
}

/// What was written.
pub(super) struct Finished {
    /// Length of the core or of the memory the image holds, holes included.
    pub(super) len: Bytes,
    /// Length of the file.
    pub(super) file_len: Bytes,
    /// What was freed before it was saved, and more.
    pub(super) record: Record,
}

impl From<Written> for Finished {
    fn from(written: Written) -> Finished {
        let Written { core_len, file_len, record } = written;
        Finished { len: core_len, file_len, record }
    }
}

/// A compressed stream with the pages it has not reached yet.
pub(super) struct Stream {
    writer: CompressedWriter,
    /// A file without a name; each page lies where it will lie in the core.
    aside: PendingFile,
    layout: Layout,
    waiting: RangeSet,
}

impl Stream {
    /// Puts a writer together with a file for what it cannot take yet.
    fn new(writer: CompressedWriter, aside: PendingFile) -> Stream {
        let layout = writer.layout().clone();
        Stream { writer, aside, layout, waiting: RangeSet::new() }
    }

    /// Writes one contiguous piece.
    fn write(&mut self, at: Va, data: &[u8], ahead: bool) -> Result<(), WriteError> {
        if ahead {
            return self.keep(at, data);
        }
        self.catch_up(at)?;
        self.writer.page_run(at, data).map(drop)
    }

    /// Keeps a page until the stream gets there.
    fn keep(&mut self, at: Va, data: &[u8]) -> Result<(), WriteError> {
        let offset = self.layout.offset_of(at).unwrap_or_default();
        let kept = self.aside.file().write_all_at(data, offset.0);
        kept.map_err(|error| WriteError::io(self.aside.path(), "keep pages beside", error))?;
        self.waiting.insert(VaRange::of(at, Bytes::from(data.len())));
        Ok(())
    }

    /// Streams what was kept and lies below `end`.
    fn catch_up(&mut self, end: Va) -> Result<(), WriteError> {
        let mut block = vec![0; BLOCK.as_usize()];
        let ready = self.waiting.remove(VaRange::new(Va(0), end));
        let dumped: Vec<VaRange> = self.layout.dumped_ranges().collect();
        for range in ready {
            // Neighbouring segments touch in memory but are two runs in the core.
            let first = dumped.partition_point(|segment| segment.end() <= range.start());
            let parts = dumped[first..].iter().map_while(|segment| segment.intersect(range));
            for piece in parts.flat_map(|part| part.chunks(BLOCK)) {
                let data = &mut block[..piece.len().as_usize()];
                let offset = self.layout.offset_of(piece.start()).unwrap_or_default();
                let read = self.aside.file().read_exact_at(data, offset.0);
                read.map_err(|error| WriteError::io(self.aside.path(), "read back from", error))?;
                self.writer.page_run(piece.start(), data)?;
            }
        }
        Ok(())
    }
}

impl Output {
    /// Begins what the options ask for, of a cut taken at this time.
    pub(super) fn open(
        options: &Options,
        pending: PendingFile,
        layout: Layout,
        taken_at: u64,
    ) -> Result<Output, SnapshotError> {
        // Never published: a file without a name for pages that come before their turn.
        let aside = || PendingFile::create(&options.output, OnExisting::Replace);
        Ok(match &options.format {
            Format::Core => Output::Raw(Box::new(RawWriter::new(pending, layout)?)),
            Format::CompressedCore(level) => {
                let compression = Compression { level: *level };
                let writer = CompressedWriter::new(pending, layout, compression)?;
                Output::Stream(Box::new(Mutex::new(Stream::new(writer, aside()?))))
            }
            Format::Image(codec, parent) => {
                let chunk =
                    parent.as_ref().map(|(_, image)| image.chunk_size()).unwrap_or_default();
                let made = flt::Options {
                    chunk,
                    codec: *codec,
                    time_unix_ns: taken_at,
                    tool_version: options.tool_version.clone(),
                    ..flt::Options::default()
                };
                let object = NewFile::new(pending);
                let writer = ProcessWriter::new(object, aside()?, layout, made, parent.clone())?;
                Output::Image(Box::new(Mutex::new(writer)))
            }
        })
    }

    /// Says whether pieces may come in any order.
    pub(super) fn takes_any_order(&self) -> bool {
        matches!(self, Output::Raw(_) | Output::Image(_))
    }

    /// Returns how many threads can write at once.
    pub(super) fn threads(&self) -> usize {
        match self {
            Output::Raw(writer) if writer.gains_from_threads() => 2,
            Output::Raw(_) | Output::Stream(_) | Output::Image(_) => 1,
        }
    }

    /// Writes one piece; `ahead` says that it came out of address order.
    pub(super) fn write<'a>(
        &'a self,
        at: Va,
        mut slices: impl Iterator<Item = &'a [u8]>,
        ahead: bool,
    ) -> Result<(), SnapshotError> {
        match self {
            Output::Raw(writer) => writer.write_pieces(at, slices).map(drop)?,
            Output::Image(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                writer.write_pieces(at, slices).map(drop)?;
            }
            Output::Stream(stream) => {
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                let mut at = at;
                slices.try_for_each(|data| {
                    let here = at;
                    at = at.add(Bytes::from(data.len()));
                    stream.write(here, data, ahead)
                })?;
            }
        }
        Ok(())
    }

    /// Writes notes and headers and gives the file its name.
    pub(super) fn finish(self, notes: &Notes, cut: &CutRecord) -> Result<Finished, SnapshotError> {
        match self {
            Output::Raw(writer) => Ok(writer.finish(notes, cut)?.into()),
            Output::Image(writer) => {
                let writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
                let (written, record) = writer.finish(notes, cut)?;
                let len = Bytes(written.memory_bytes);
                Ok(Finished { len, file_len: Bytes(written.object_bytes), record })
            }
            Output::Stream(stream) => {
                let mut stream = stream.into_inner().unwrap_or_else(PoisonError::into_inner);
                stream.catch_up(Va(u64::MAX))?;
                Ok(stream.writer.finish(notes, cut)?.into())
            }
        }
    }
}
