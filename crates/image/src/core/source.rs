//! The bytes of a core, whether the file holds them plainly or compressed.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::SeekFrom;

use super::frames::{self, Frame, WalkError};

/// Where the bytes come from.
pub(crate) enum Source {
    Raw { file: File, len: u64 },
    Zstd(Zstd),
}

impl Source {
    /// Finds the frames of a compressed core.
    pub(crate) fn zstd(file: File, file_len: u64) -> Result<Source, WalkError> {
        Ok(Source::Zstd(Zstd::new(file, file_len)?))
    }

    /// Returns the length of the core.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Source::Raw { len, .. } => *len,
            Source::Zstd(zstd) => zstd.len,
        }
    }

    /// Fills `buffer` from `offset` on; running over the end is an error.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Source::Raw { file, .. } => file.read_exact_at(buffer, offset),
            Source::Zstd(zstd) => zstd.read_exact_at(buffer, offset),
        }
    }

    /// Returns the next stretch of `[from, end)` that may hold anything but zeros.
    pub(crate) fn next_data(&self, from: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
        let (start, stop) = match self {
            Source::Raw { file, .. } => match raw_extent(file, from)? {
                Some(extent) => extent,
                None => return Ok(None),
            },
            Source::Zstd(zstd) => match zstd.extent(from) {
                Some(extent) => extent,
                None => return Ok(None),
            },
        };
        Ok((start < end).then(|| (start.max(from), stop.min(end))))
    }
}

/// Asks the file system for the next data at or behind `from`.
pub(crate) fn raw_extent(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    use rustix::io::Errno;
    match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => Ok(Some((start, rustix::fs::seek(file, SeekFrom::Hole(start))?))),
        Err(Errno::NXIO) => Ok(None),
        // A file system that knows no holes: all of it is data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some((from, u64::MAX))),
        Err(e) => Err(e.into()),
    }
}

/// A sequence of zstd frames, read from anywhere.
pub(crate) struct Zstd {
    file: Arc<File>,
    frames: Vec<Placed>,
    len: u64,
    /// Where the last read stopped: the next one mostly goes on there.
    cursor: Mutex<Option<Cursor>>,
}

/// A frame and where its content starts in the core.
struct Placed {
    frame: Frame,
    start: u64,
}

struct Cursor {
    index: usize,
    /// Offset in the core of the next byte the decoder gives.
    next: u64,
    decoder: zstd::Decoder<'static, BufReader<Section>>,
}

impl Zstd {
    fn new(file: File, file_len: u64) -> Result<Zstd, WalkError> {
        let file = Arc::new(file);
        let mut frames = Vec::new();
        let mut len = 0u64;
        for frame in frames::walk(&file, file_len)? {
            let content = match frame.content {
                Some(content) => content,
                None => measure(&file, frame).map_err(|e| WalkError::Io(frame.at, e))?,
            };
            frames.push(Placed { frame, start: len });
            len = len.checked_add(content).ok_or(WalkError::Malformed {
                at: frame.at,
                expected: "a length a file can have",
                found: format!("{content} bytes in one frame"),
            })?;
        }
        Ok(Zstd { file, frames, len, cursor: Mutex::new(None) })
    }

    fn end_of(&self, index: usize) -> u64 {
        self.frames.get(index + 1).map_or(self.len, |next| next.start)
    }

    /// Returns the frame that holds `offset`, which must lie below the length.
    fn frame_at(&self, offset: u64) -> usize {
        // Frames without content share their start with the next: take the last.
        self.frames.partition_point(|frame| frame.start <= offset) - 1
    }

    /// Returns the next stretch of frames that are not all zeros.
    fn extent(&self, from: u64) -> Option<(u64, u64)> {
        if from >= self.len {
            return None;
        }
        let at = self.frame_at(from);
        let first = at + self.frames[at..].iter().position(|f| !f.frame.zeros)?;
        let behind = self.frames[first..].iter().position(|f| f.frame.zeros);
        let stop = behind.map_or(self.len, |n| self.frames[first + n].start);
        Some((self.frames[first].start.max(from), stop))
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let past = offset.checked_add(buffer.len() as u64);
        if past.is_none_or(|past| past > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buffer.is_empty() {
            let index = self.frame_at(offset);
            let left = self.end_of(index) - offset;
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let (head, rest) = buffer.split_at_mut(now);
            if self.frames[index].frame.zeros {
                head.fill(0);
            } else {
                self.decode(index, head, offset)?;
            }
            buffer = rest;
            offset += now as u64;
        }
        Ok(())
    }

    /// Fills `buffer` from one frame.
    fn decode(&self, index: usize, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut kept = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |cursor: &Cursor| cursor.index == index && cursor.next <= offset;
        // A cursor whose read fails is not put back: its place is not known.
        let mut cursor = match kept.take().filter(fits) {
            Some(cursor) => cursor,
            None => Cursor {
                index,
                next: self.frames[index].start,
                decoder: open_frame(&self.file, self.frames[index].frame)?,
            },
        };
        let skip = offset - cursor.next;
        let skipped = io::copy(&mut (&mut cursor.decoder).take(skip), &mut io::sink())?;
        if skipped < skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        cursor.decoder.read_exact(buffer)?;
        cursor.next = offset + buffer.len() as u64;
        // The frame's checksum stands behind its last byte: ask for one more to have it checked.
        if cursor.next == self.end_of(index) && cursor.decoder.read(&mut [0])? != 0 {
            return Err(io::Error::other("a zstd frame longer than it says"));
        }
        *kept = Some(cursor);
        Ok(())
    }
}

fn open_frame(
    file: &Arc<File>,
    frame: Frame,
) -> io::Result<zstd::Decoder<'static, BufReader<Section>>> {
    let section = Section { file: Arc::clone(file), at: frame.at, end: frame.end };
    Ok(zstd::Decoder::new(section)?.single_frame())
}

/// Decompresses a frame only to learn its length.
fn measure(file: &Arc<File>, frame: Frame) -> io::Result<u64> {
    io::copy(&mut open_frame(file, frame)?, &mut io::sink())
}

/// A part of a file, read from its start to its end.
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..len], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
