//! Where each page of a core lies in the file, and the program headers that say so.
//!
//! Fixed the moment the segments are known, before a page is saved: the offset of a page depends
//! on its address alone, so pages may arrive in any order. What was freed meanwhile changes the
//! program headers only, never an offset.
//!
//! # Invariants
//! - Segments are sorted, disjoint, page aligned and not empty.
//! - The data of a segment starts at a multiple of the page size; all data lies in
//!   `[page size, data_end)`, and `data_end` is below 2^62.

use std::fmt::{self, Write as _};

use faultless_pages::{Bytes, PageSize, RangeSet, Va, VaRange};

use super::elf::{PF_R, PF_W, PF_X, PT_LOAD, ProgramHeader};
use super::machine::Machine;

/// What the program could do with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Read it.
    pub read: bool,
    /// Write it.
    pub write: bool,
    /// Execute it.
    pub execute: bool,
}

impl Access {
    pub(crate) fn to_flags(self) -> u32 {
        let bit = |set, flag| if set { flag } else { 0 };
        bit(self.read, PF_R) | bit(self.write, PF_W) | bit(self.execute, PF_X)
    }

    pub(crate) fn from_flags(flags: u32) -> Access {
        Access { read: flags & PF_R != 0, write: flags & PF_W != 0, execute: flags & PF_X != 0 }
    }
}

/// Prints `r`, `w`, `x` or `-` each, as `/proc/PID/maps` does.
impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, 'r'), (self.write, 'w'), (self.execute, 'x')];
        letters
            .into_iter()
            .try_for_each(|(set, letter)| f.write_char(if set { letter } else { '-' }))
    }
}

/// How much of a segment the file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dumped {
    /// All of it.
    #[default]
    All,
    /// Its first page: the ELF header of a mapped program (`coredump_filter` bit 4).
    FirstPage,
    /// Nothing: debuggers find it in the mapped file, or not at all.
    None,
}

/// One mapping of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSpec {
    /// Its addresses, page aligned.
    pub range: VaRange,
    /// What the program could do with it.
    pub access: Access,
    /// How much of it the file holds.
    pub dumped: Dumped,
}

impl SegmentSpec {
    /// Returns the addresses whose content the file holds; possibly empty.
    #[must_use]
    pub fn dumped_range(&self, page_size: PageSize) -> VaRange {
        let len = match self.dumped {
            Dumped::All => self.range.len(),
            Dumped::FirstPage => page_size.bytes().min(self.range.len()),
            Dumped::None => Bytes::ZERO,
        };
        VaRange::of(self.range.start(), len)
    }
}

/// Segments no core can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// A segment holds no address.
    #[error("segment {0} is empty")]
    Empty(VaRange),
    /// A segment does not start or end at a page.
    #[error("segment {0} is not aligned to pages of {1}")]
    Unaligned(VaRange, PageSize),
    /// Two segments hold the same address, or stand in the wrong order.
    #[error("segment {1} does not lie behind segment {0}")]
    Disordered(VaRange, VaRange),
    /// There are more segments than program headers can be counted.
    #[error("{0} segments are more than a core can count")]
    TooMany(usize),
    /// The data would not fit any file.
    #[error("the segments hold more data than a file can")]
    TooLarge,
}

/// Where every page of a core lies in the file.
#[derive(Clone, Debug)]
pub struct Layout {
    machine: Machine,
    page_size: PageSize,
    segments: Vec<SegmentSpec>,
    /// File offset of each segment's data.
    offsets: Vec<u64>,
    data_end: u64,
}

impl Layout {
    /// Places the data of `segments`, which must be sorted by address.
    ///
    /// # Errors
    /// [`LayoutError`] says which segment cannot be placed.
    pub fn new(
        machine: Machine,
        page_size: PageSize,
        segments: Vec<SegmentSpec>,
    ) -> Result<Layout, LayoutError> {
        // Freed ranges add program headers; half of the 32-bit count is left for them.
        if segments.len() > (u32::MAX / 2) as usize {
            return Err(LayoutError::TooMany(segments.len()));
        }
        for segment in &segments {
            if segment.range.is_empty() {
                return Err(LayoutError::Empty(segment.range));
            }
            if !segment.range.is_aligned(page_size) {
                return Err(LayoutError::Unaligned(segment.range, page_size));
            }
        }
        for pair in segments.windows(2) {
            if pair[1].range.start() < pair[0].range.end() {
                return Err(LayoutError::Disordered(pair[0].range, pair[1].range));
            }
        }
        let mut offsets = Vec::with_capacity(segments.len());
        let mut end = page_size.bytes().0;
        for segment in &segments {
            offsets.push(end);
            end = end
                .checked_add(segment.dumped_range(page_size).len().0)
                .filter(|&end| end < 1 << 62)
                .ok_or(LayoutError::TooLarge)?;
        }
        Ok(Layout { machine, page_size, segments, offsets, data_end: end })
    }

    /// Returns the processor the core is of.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Returns the base page size: the grain of checksums, holes and freed ranges.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Returns the segments, sorted by address.
    #[must_use]
    pub fn segments(&self) -> &[SegmentSpec] {
        &self.segments
    }

    /// Returns the file offset behind the last segment's data, where the notes begin.
    #[must_use]
    pub fn data_end(&self) -> Bytes {
        Bytes(self.data_end)
    }

    /// Returns the number of bytes of memory the file holds if nothing is freed or zero.
    #[must_use]
    pub fn data_len(&self) -> Bytes {
        Bytes(self.data_end - self.page_size.bytes().0)
    }

    /// Returns the file offset of the byte at `address`, `None` if the file does not hold it.
    #[must_use]
    pub fn offset_of(&self, address: Va) -> Option<Bytes> {
        let index = self.segment_of(address)?;
        let dumped = self.segments[index].dumped_range(self.page_size);
        dumped
            .contains(address)
            .then(|| Bytes(self.offsets[index] + address.since(dumped.start()).0))
    }

    /// Returns which segment holds `address`.
    #[must_use]
    pub fn segment_of(&self, address: Va) -> Option<usize> {
        let after = self.segments.partition_point(|segment| segment.range.start() <= address);
        let index = after.checked_sub(1)?;
        self.segments[index].range.contains(address).then_some(index)
    }

    /// Returns the ranges whose content the file holds, in address order.
    pub fn dumped_ranges(&self) -> impl Iterator<Item = VaRange> + '_ {
        self.segments
            .iter()
            .map(|segment| segment.dumped_range(self.page_size))
            .filter(|range| !range.is_empty())
    }

    /// Writes the `PT_LOAD` headers, split around `freed`.
    ///
    /// Freed addresses get no header at all. One with `p_filesz` 0 would not do: gdb reads
    /// memory that a header names but the file does not hold as zeros, and a freed page must
    /// never read as zeros.
    pub(crate) fn load_headers(&self, freed: &RangeSet) -> Vec<ProgramHeader> {
        let mut headers = Vec::with_capacity(self.segments.len());
        for (segment, &data) in self.segments.iter().zip(&self.offsets) {
            let dumped = segment.dumped_range(self.page_size);
            let mut gone = RangeSet::new();
            freed.within(dumped).for_each(|range| gone.insert(range));
            for piece in gone.gaps(segment.range) {
                headers.push(self.load_header(segment, data, piece));
            }
        }
        headers
    }

    /// Writes the header of `piece` of a segment whose data starts at `data`.
    fn load_header(&self, segment: &SegmentSpec, data: u64, piece: VaRange) -> ProgramHeader {
        let dumped = segment.dumped_range(self.page_size);
        let in_file = piece.intersect(dumped).map_or(0, |in_file| in_file.len().0);
        let into = piece.start().since(dumped.start()).0.min(dumped.len().0);
        ProgramHeader {
            kind: PT_LOAD,
            flags: segment.access.to_flags(),
            offset: data + into,
            vaddr: piece.start().0,
            filesz: in_file,
            memsz: piece.len().0,
            align: self.page_size.bytes().0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(start: u64, end: u64, dumped: Dumped) -> SegmentSpec {
        SegmentSpec { range: VaRange::new(Va(start), Va(end)), access: Access::default(), dumped }
    }

    fn layout(segments: Vec<SegmentSpec>) -> Result<Layout, LayoutError> {
        Layout::new(Machine::X86_64, PageSize::KIB4, segments)
    }

    #[test]
    fn data_lies_page_aligned_in_address_order() {
        let layout = layout(vec![
            segment(0x10000, 0x13000, Dumped::All),
            segment(0x20000, 0x28000, Dumped::FirstPage),
            segment(0x30000, 0x31000, Dumped::None),
            segment(0x40000, 0x41000, Dumped::All),
        ])
        .unwrap();
        assert_eq!(layout.offset_of(Va(0x10000)), Some(Bytes(0x1000)));
        assert_eq!(layout.offset_of(Va(0x12fff)), Some(Bytes(0x3fff)));
        assert_eq!(layout.offset_of(Va(0x13000)), None);
        assert_eq!(layout.offset_of(Va(0x20fff)), Some(Bytes(0x4fff)));
        assert_eq!(layout.offset_of(Va(0x21000)), None);
        assert_eq!(layout.offset_of(Va(0x30000)), None);
        assert_eq!(layout.offset_of(Va(0x40001)), Some(Bytes(0x5001)));
        assert_eq!(layout.data_end(), Bytes(0x6000));
    }

    #[test]
    fn overlap_and_disorder_are_refused() {
        let overlap = layout(vec![
            segment(0x1000, 0x3000, Dumped::All),
            segment(0x2000, 0x4000, Dumped::All),
        ]);
        assert!(matches!(overlap, Err(LayoutError::Disordered(..))));
        let unaligned = layout(vec![segment(0x1000, 0x1800, Dumped::All)]);
        assert!(matches!(unaligned, Err(LayoutError::Unaligned(..))));
        let empty = layout(vec![segment(0x1000, 0x1000, Dumped::All)]);
        assert!(matches!(empty, Err(LayoutError::Empty(..))));
    }

    #[test]
    fn a_freed_range_gets_no_header() {
        let layout = layout(vec![segment(0x10000, 0x18000, Dumped::All)]).unwrap();
        let freed = [VaRange::new(Va(0x12000), Va(0x14000))].into_iter().collect();
        let headers = layout.load_headers(&freed);
        let pieces: Vec<_> =
            headers.iter().map(|h| (h.vaddr, h.memsz, h.filesz, h.offset)).collect();
        assert_eq!(pieces, [(0x10000, 0x2000, 0x2000, 0x1000), (0x14000, 0x4000, 0x4000, 0x5000)]);
    }

    #[test]
    fn a_freed_first_page_leaves_the_rest_of_its_segment_named() {
        let layout = layout(vec![segment(0x10000, 0x18000, Dumped::FirstPage)]).unwrap();
        let freed = [VaRange::new(Va(0x10000), Va(0x11000))].into_iter().collect();
        let headers = layout.load_headers(&freed);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[0].vaddr, 0x11000);
        assert_eq!(headers[0].filesz, 0);
        assert_eq!(headers[0].memsz, 0x7000);
    }
}
