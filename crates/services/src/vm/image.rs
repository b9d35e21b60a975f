//! The RAM of all backends as one memory, to make an image of.

use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use faultless_image::core::Access;
use faultless_image::flt::{ImportError, RawFile, Region, Source};
use faultless_pages::{Bytes, Va};

use super::manifest::Part;
use super::ram::Ram;

/// Backends in an image, one behind the other.
pub(super) struct Joined {
    pieces: Vec<Piece>,
}

struct Piece {
    file: RawFile,
    /// Where the backend begins in its file.
    start: u64,
    /// Where it lies in the image.
    offset: u64,
    len: u64,
    address: Va,
}

impl Joined {
    /// Joins backends as `parts` places them.
    pub(super) fn of(ram: &[Ram], parts: &[Part]) -> Result<Joined, ImportError> {
        let piece = |(ram, part): (&Ram, &Part)| -> Result<Piece, ImportError> {
            // The name leads to the open file, which may have no other.
            let path = PathBuf::from(format!("/proc/self/fd/{}", ram.file.as_raw_fd()));
            Ok(Piece {
                file: RawFile::open(&path)?,
                start: ram.start.0,
                offset: part.offset,
                len: part.size,
                address: ram.memory.start(),
            })
        };
        Ok(Joined { pieces: ram.iter().zip(parts).map(piece).collect::<Result<_, _>>()? })
    }
}

impl Source for Joined {
    fn memory(&self) -> Bytes {
        Bytes(self.pieces.last().map_or(0, |last| last.offset + last.len))
    }

    fn regions(&self) -> Vec<Region> {
        let access = Access { read: true, write: true, execute: true };
        let region = |piece: &Piece| Region {
            address: piece.address,
            len: Bytes(piece.len),
            offset: Bytes(piece.offset),
            held: Bytes(piece.len),
            access,
        };
        self.pieces.iter().map(region).collect()
    }

    fn next_data(&self, from: u64) -> Result<Option<(u64, u64)>, ImportError> {
        for piece in self.pieces.iter().filter(|piece| piece.offset + piece.len > from) {
            let within = from.saturating_sub(piece.offset);
            let Some((first, end)) = piece.file.next_data(piece.start + within)? else { continue };
            let (first, end) = (first - piece.start, end - piece.start);
            if first < piece.len {
                return Ok(Some((piece.offset + first, piece.offset + end.min(piece.len))));
            }
        }
        Ok(None)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImportError> {
        // Between two backends nothing is; what lies there reads as zeros.
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        for piece in &self.pieces {
            let (first, last) = (offset.max(piece.offset), end.min(piece.offset + piece.len));
            if first < last {
                let into = &mut buffer[Bytes(first - offset).as_usize()..];
                let into = &mut into[..Bytes(last - first).as_usize()];
                piece.file.read(piece.start + first - piece.offset, into)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn backends_are_read_where_their_parts_lie_and_zeros_between() {
        let file = |byte: u8, len: usize| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&vec![byte; len]).unwrap();
            file
        };
        let (a, b) = (file(1, 8192), file(2, 8192));
        let piece = |file: &tempfile::NamedTempFile, start, offset, len| Piece {
            file: RawFile::open(file.path()).unwrap(),
            start,
            offset,
            len,
            address: Va(0),
        };
        // Of the second only the second half belongs to the backend.
        let joined = Joined { pieces: vec![piece(&a, 0, 0, 8192), piece(&b, 4096, 16384, 4096)] };
        assert_eq!(joined.memory(), Bytes(20480));
        let mut all = vec![9; 20480];
        joined.read(0, &mut all).unwrap();
        assert!(all[..8192].iter().all(|byte| *byte == 1));
        assert!(all[8192..16384].iter().all(|byte| *byte == 0));
        assert!(all[16384..].iter().all(|byte| *byte == 2));
        assert_eq!(joined.next_data(0).unwrap(), Some((0, 8192)));
        assert_eq!(joined.next_data(8192).unwrap(), Some((16384, 20480)));
        assert_eq!(joined.next_data(20480).unwrap(), None);
    }
}
