//! An ELF core: what it holds of each segment, at its addresses.

use std::path::Path;

use faultless_pages::{Bytes, Va};

use super::super::chunk::ChunkSize;
use super::super::tables::{ElfNotes, Region};
use super::space::{ByAddress, Space};
use super::{ImportError, Source};
use crate::core::CoreFile;

/// Opens a core, raw or compressed with zstd, for an image with chunks of this size.
///
/// Its notes come along, but for those that speak of the file it was.
///
/// # Errors
/// [`ImportError::Core`] if it is none, or broken.
pub fn open_core(path: &Path, chunk: ChunkSize) -> Result<Box<dyn Source>, ImportError> {
    let core = CoreFile::open(path)?;
    let regions = core.segments().iter().map(|segment| Region {
        address: segment.range.start(),
        len: segment.range.len(),
        offset: Bytes::ZERO,
        held: segment.in_file,
        access: segment.access,
    });
    let regions = regions.collect();
    let notes = ElfNotes { machine: core.machine(), bytes: core.foreign_notes()? };
    let mut space = Space::new(core, regions, chunk)?;
    space.notes = Some(notes);
    Ok(Box::new(space))
}

impl ByAddress for CoreFile {
    fn read(&self, address: Va, buffer: &mut [u8]) -> Result<(), ImportError> {
        let read = self.read_memory(address, buffer)?;
        // Segments that overlap hide each other; there is no telling which is meant.
        if read == buffer.len() {
            return Ok(());
        }
        Err(ImportError::Contradiction { file: self.path().to_path_buf(), address })
    }
}
