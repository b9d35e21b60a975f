//! Memory of a process: ranges of addresses, set one behind the other in an image.

use faultless_pages::{Bytes, Va};

use super::super::chunk::ChunkSize;
use super::super::tables::{ElfNotes, Region, lay_out};
use super::{ImportError, Source};

/// Memory that is read by address.
pub(super) trait ByAddress: Send + Sync {
    /// Fills `buffer`, which lies within one region, from `address` on.
    fn read(&self, address: Va, buffer: &mut [u8]) -> Result<(), ImportError>;
}

/// Memory by address with its place in an image.
pub(super) struct Space<M> {
    inner: M,
    regions: Vec<Region>,
    memory: Bytes,
    pub(super) notes: Option<ElfNotes>,
}

impl<M: ByAddress> Space<M> {
    /// Lays the regions out, whose offsets do not matter yet.
    pub(super) fn new(
        inner: M,
        mut regions: Vec<Region>,
        chunk: ChunkSize,
    ) -> Result<Space<M>, ImportError> {
        let memory = lay_out(&mut regions, chunk);
        let memory = memory.map_err(|address| ImportError::TooMuch { address })?;
        Ok(Space { inner, regions, memory, notes: None })
    }
}

impl<M: ByAddress> Source for Space<M> {
    fn memory(&self) -> Bytes {
        self.memory
    }

    fn regions(&self) -> Vec<Region> {
        self.regions.clone()
    }

    fn notes(&self) -> Option<ElfNotes> {
        self.notes.clone()
    }

    fn next_data(&self, from: u64) -> Result<Option<(u64, u64)>, ImportError> {
        let behind = |region: &&Region| region.offset.0 + region.held.0 > from;
        let region = self.regions.iter().filter(|region| region.held > Bytes::ZERO).find(behind);
        Ok(region.map(|region| (region.offset.0.max(from), region.offset.0 + region.held.0)))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImportError> {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        let first = self.regions.partition_point(|r| r.offset.0 + r.held.0 <= offset);
        let inside = self.regions[first..].iter().take_while(|region| region.offset.0 < end);
        for region in inside.filter(|region| region.held > Bytes::ZERO) {
            let from = region.offset.0.max(offset);
            let to = (region.offset.0 + region.held.0).min(end);
            let part = Bytes(from - offset).as_usize()..Bytes(to - offset).as_usize();
            let address = Va(region.address.0 + (from - region.offset.0));
            self.inner.read(address, &mut buffer[part])?;
        }
        Ok(())
    }
}
