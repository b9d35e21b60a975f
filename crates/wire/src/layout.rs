//! Which memory of a peer shows which bytes of the image.
//!
//! A peer makes [`Claim`]s: plain numbers. A [`Layout`] is what is left of them when nothing is
//! wrong; whoever holds one can compute with its ranges without looking for overflow again.

use std::fmt;

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use crate::Refusal;

/// Most regions of a layout. A VM has a few, one with memory slots for hotplug some hundred.
pub const REGIONS_MAX: usize = 1024;
/// The end of what a process can map on any architecture: the kernel refuses what lies above.
const ADDRESS_MAX: u64 = 1 << 56;
/// The largest page there is to fault in.
const PAGE_SIZE_MAX: PageSize = PageSize::GIB1;

/// A region as a peer claims it, in bytes, nothing checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Claim {
    /// Address of its first byte, in the peer.
    pub address: u64,
    /// Its length.
    pub len: u64,
    /// Where its first byte lies in the image.
    pub offset: u64,
    /// The size of its pages.
    pub page_size: u64,
}

/// A region that was checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Where it lies in the peer: whole pages, never empty.
    pub memory: VaRange,
    /// Where its first byte lies in the image: a multiple of the page size.
    pub offset: Bytes,
    /// The size of its pages.
    pub page_size: PageSize,
}

impl Region {
    /// Returns where the image's bytes of this region end.
    #[must_use]
    pub fn image_end(&self) -> Bytes {
        Bytes(self.offset.0 + self.memory.len().0)
    }
}

/// What is wrong with a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It holds no byte.
    Empty,
    /// Its page size is no power of two between 4 KiB and 1 GiB.
    PageSize,
    /// Address, length or offset is no multiple of the page size.
    Unaligned,
    /// It ends above what a process can map.
    AddressOverflow,
    /// Its bytes end above what an image can hold.
    OffsetOverflow,
    /// It shares addresses with another.
    Overlap,
    /// Its bytes end after the image.
    BeyondImage(Bytes),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Empty => write!(f, "it is empty"),
            Fault::PageSize => write!(f, "no power of two from 4 KiB to 1 GiB as its page size"),
            Fault::Unaligned => {
                write!(f, "its address, length or offset is no multiple of its page size")
            }
            Fault::AddressOverflow => write!(f, "it ends above what a process can map"),
            Fault::OffsetOverflow => write!(f, "it ends above what an image can hold"),
            Fault::Overlap => write!(f, "it overlaps another"),
            Fault::BeyondImage(len) => write!(f, "it ends after the image of {len}"),
        }
    }
}

/// The regions of a peer, in the order of their addresses.
///
/// # Invariants
/// - From one to [`REGIONS_MAX`] regions, none empty, no two with an address in common.
/// - Addresses, lengths and offsets are multiples of their region's page size.
/// - No sum of an address or an offset with a length overflows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    regions: Vec<Region>,
}

impl Layout {
    /// Checks what a peer claims.
    ///
    /// # Errors
    /// [`Refusal::NoRegions`], [`Refusal::TooManyRegions`], or [`Refusal::Region`] for the first
    /// claim that is wrong, in the order they came.
    pub fn new(claims: &[Claim]) -> Result<Layout, Refusal> {
        if claims.is_empty() {
            return Err(Refusal::NoRegions);
        }
        if claims.len() > REGIONS_MAX {
            return Err(Refusal::TooManyRegions { found: claims.len() });
        }
        let mut numbered = Vec::with_capacity(claims.len());
        for (index, claim) in claims.iter().enumerate() {
            let region = check(claim).map_err(|fault| refuse(index, claim, fault))?;
            numbered.push((region, index));
        }
        numbered.sort_by_key(|(region, _)| region.memory.start());
        for pair in numbered.windows(2) {
            let ((below, _), (above, index)) = (pair[0], pair[1]);
            if below.memory.end() > above.memory.start() {
                return Err(refuse(index, &claims[index], Fault::Overlap));
            }
        }
        Ok(Layout { regions: numbered.into_iter().map(|(region, _)| region).collect() })
    }

    /// Returns the regions, in the order of their addresses.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Returns how much memory the regions hold.
    #[must_use]
    pub fn len(&self) -> Bytes {
        // At most 1024 lengths below 2^56.
        Bytes(self.regions.iter().map(|region| region.memory.len().0).sum())
    }

    /// Says whether there is no region: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Returns the region an address lies in.
    #[must_use]
    pub fn region_of(&self, address: Va) -> Option<&Region> {
        let after = self.regions.partition_point(|region| region.memory.start() <= address);
        let region = &self.regions[after.checked_sub(1)?];
        region.memory.contains(address).then_some(region)
    }

    /// Says whether every byte comes from an image of this length. The last page may stick out:
    /// an image need not end on a page, and what follows it reads as zeros.
    ///
    /// # Errors
    /// [`Refusal::Region`] with [`Fault::BeyondImage`].
    pub fn check_within(&self, image: Bytes) -> Result<(), Refusal> {
        for (index, region) in self.regions.iter().enumerate() {
            let page = region.page_size.bytes().0;
            if region.image_end().0 > image.0.next_multiple_of(page) {
                let claim = Claim {
                    address: region.memory.start().0,
                    len: region.memory.len().0,
                    offset: region.offset.0,
                    page_size: page,
                };
                return Err(refuse(index, &claim, Fault::BeyondImage(image)));
            }
        }
        Ok(())
    }

    /// Adds the regions of another layout.
    ///
    /// # Errors
    /// [`Refusal::TooManyRegions`], or [`Refusal::Region`] with [`Fault::Overlap`]; the layout is
    /// as it was then.
    pub fn extend(&mut self, more: &Layout) -> Result<(), Refusal> {
        let claims: Vec<Claim> =
            self.regions.iter().chain(&more.regions).map(Claim::from).collect();
        *self = Layout::new(&claims)?;
        Ok(())
    }
}

impl From<&Region> for Claim {
    fn from(region: &Region) -> Claim {
        Claim {
            address: region.memory.start().0,
            len: region.memory.len().0,
            offset: region.offset.0,
            page_size: region.page_size.bytes().0,
        }
    }
}

fn check(claim: &Claim) -> Result<Region, Fault> {
    let page_size = PageSize::new(Bytes(claim.page_size))
        .filter(|size| *size <= PAGE_SIZE_MAX)
        .ok_or(Fault::PageSize)?;
    if claim.len == 0 {
        return Err(Fault::Empty);
    }
    let mask = page_size.bytes().0 - 1;
    if (claim.address | claim.len | claim.offset) & mask != 0 {
        return Err(Fault::Unaligned);
    }
    let bounded = |start: u64| start.checked_add(claim.len).filter(|end| *end <= ADDRESS_MAX);
    let end = bounded(claim.address).ok_or(Fault::AddressOverflow)?;
    bounded(claim.offset).ok_or(Fault::OffsetOverflow)?;
    let memory = VaRange::new(Va(claim.address), Va(end));
    Ok(Region { memory, offset: Bytes(claim.offset), page_size })
}

fn refuse(index: usize, claim: &Claim, fault: Fault) -> Refusal {
    Refusal::Region { index, claim: *claim, fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(address: u64, len: u64, offset: u64) -> Claim {
        Claim { address, len, offset, page_size: 4096 }
    }

    fn fault_of(claims: &[Claim]) -> (usize, Fault) {
        match Layout::new(claims) {
            Err(Refusal::Region { index, fault, .. }) => (index, fault),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_wrong_claim_is_named() {
        let good = claim(0x10000, 0x2000, 0);
        let odd = |page_size| Claim { page_size, ..good };
        for (bad, fault) in [
            (claim(0x40000, 0, 0), Fault::Empty),
            (odd(0), Fault::PageSize),
            (odd(2048), Fault::PageSize),
            (odd(12288), Fault::PageSize),
            (odd(1 << 31), Fault::PageSize),
            (odd(0x20_0000), Fault::Unaligned),
            (claim(0x40001, 0x1000, 0), Fault::Unaligned),
            (claim(0x40000, 0x1001, 0), Fault::Unaligned),
            (claim(0x40000, 0x1000, 1), Fault::Unaligned),
            (claim(u64::MAX - 4095, 0x1000, 0), Fault::AddressOverflow),
            (claim(1 << 56, 0x1000, 0), Fault::AddressOverflow),
            (claim(0x40000, 0x1000, u64::MAX - 4095), Fault::OffsetOverflow),
            (claim(0x11000, 0x1000, 0), Fault::Overlap),
            (claim(0xf000, 0x2000, 0), Fault::Overlap),
        ] {
            let (index, found) = fault_of(&[good, bad]);
            assert_eq!(found, fault, "{bad:?}");
            // Of two that overlap, the one that begins later is named.
            assert!(index == 1 || fault == Fault::Overlap, "{bad:?}");
        }
    }

    #[test]
    fn there_are_from_one_to_1024_regions() {
        assert!(matches!(Layout::new(&[]), Err(Refusal::NoRegions)));
        let many: Vec<Claim> = (0..1025).map(|n| claim(n * 0x2000, 0x1000, 0)).collect();
        assert!(matches!(Layout::new(&many), Err(Refusal::TooManyRegions { found: 1025 })));
        assert_eq!(Layout::new(&many[1..]).unwrap().regions().len(), 1024);
    }

    #[test]
    fn an_address_is_found_in_its_region() {
        let claims = [claim(0x20000, 0x2000, 0x1000), claim(0x10000, 0x1000, 0)];
        let layout = Layout::new(&claims).unwrap();
        let found = |address| layout.region_of(Va(address)).map(|region| region.offset.0);
        assert_eq!(found(0xffff), None);
        assert_eq!(found(0x10fff), Some(0));
        assert_eq!(found(0x11000), None);
        assert_eq!(found(0x21fff), Some(0x1000));
        assert_eq!(found(0x22000), None);
        assert_eq!(layout.len(), Bytes(0x3000));
    }

    #[test]
    fn an_image_may_end_within_the_last_page() {
        let layout = Layout::new(&[claim(0x10000, 0x2000, 0x1000)]).unwrap();
        assert!(layout.check_within(Bytes(0x3000)).is_ok());
        assert!(layout.check_within(Bytes(0x2001)).is_ok());
        let fault = Fault::BeyondImage(Bytes(0x2000));
        let refused = layout.check_within(Bytes(0x2000)).unwrap_err();
        assert!(matches!(refused, Refusal::Region { fault: f, .. } if f == fault), "{refused}");
    }

    #[test]
    fn regions_are_added_or_none_of_them() {
        let mut layout = Layout::new(&[claim(0x10000, 0x2000, 0)]).unwrap();
        let overlapping = Layout::new(&[claim(0x11000, 0x2000, 0)]).unwrap();
        let before = layout.clone();
        assert!(layout.extend(&overlapping).is_err());
        assert_eq!(layout, before);
        let beside = Layout::new(&[claim(0x8000, 0x1000, 0x5000)]).unwrap();
        layout.extend(&beside).unwrap();
        assert_eq!(layout.region_of(Va(0x8000)).unwrap().offset, Bytes(0x5000));
    }
}
