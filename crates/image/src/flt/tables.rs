//! The tables: what an image says beyond its chunks.
//!
//! A sequence of items, each a kind, a length and its content. A reader skips kinds it does not
//! know, so that later versions can say more; what must be understood is a feature bit instead.
//! The byte map is in `docs/image-format.md`.

use faultless_pages::{Bytes, Va};

use super::chunk::ChunkSize;
use super::error::Bad;
use super::footer::MEMORY_MAX;
use super::store::is_name;
use crate::core::elf::{u16_at, u32_at, u64_at};
use crate::core::{Access, Machine};

/// Bytes before the content of an item.
pub(super) const ITEM_LEN: usize = 8;
/// Bytes of a region.
pub(super) const REGION_LEN: usize = 40;
pub(super) const KIND_REGION: u32 = 1;
pub(super) const KIND_PARENT: u32 = 2;
pub(super) const KIND_TOOL: u32 = 3;
pub(super) const KIND_NOTES: u32 = 4;
/// Bytes before the notes themselves.
pub(super) const NOTES_HEAD_LEN: usize = 4;

/// Where a part of the memory lay in the address space it was taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its first address there.
    pub address: Va,
    /// How long it was.
    pub len: Bytes,
    /// Where it lies in the image's memory.
    pub offset: Bytes,
    /// How much of it, from the start, the image holds; the rest was left out on purpose.
    pub held: Bytes,
    /// What could be done with it.
    pub access: Access,
}

/// What an ELF core says beside memory: registers, the process, its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElfNotes {
    /// The processor.
    pub machine: Machine,
    /// The notes as they stand in a core, each padded to 4 bytes.
    pub bytes: Vec<u8>,
}

/// All items.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tables {
    /// Sorted by offset.
    pub(super) regions: Vec<Region>,
    /// The name of the layer below.
    pub(super) parent: Option<String>,
    pub(super) tool_version: String,
    pub(super) notes: Option<ElfNotes>,
}

impl Tables {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for region in &self.regions {
            item(&mut out, KIND_REGION, &region.encode());
        }
        if let Some(parent) = &self.parent {
            item(&mut out, KIND_PARENT, parent.as_bytes());
        }
        item(&mut out, KIND_TOOL, self.tool_version.as_bytes());
        if let Some(notes) = &self.notes {
            item(&mut out, KIND_NOTES, &notes.encode());
        }
        out
    }

    /// Reads tables whose checksum was compared, of an image with so much memory.
    pub(super) fn decode(bytes: &[u8], memory: Bytes) -> Result<Tables, Bad> {
        let mut tables = Tables::default();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let len = rest.get(4..ITEM_LEN).map(|_| u32_at(rest, 4) as usize);
            let content = len
                .and_then(|len| rest[ITEM_LEN..].get(..len))
                .ok_or_else(|| Bad::new(at, "item", "one that ends with the tables", rest.len()))?;
            tables.add(u32_at(rest, 0), content, at + ITEM_LEN)?;
            at += ITEM_LEN + content.len();
        }
        if let Some(offset) = misplaced(&tables.regions, memory) {
            let found = format!("one at {:#x}", offset.0);
            return Err(Bad::new(0, "regions", "sorted ones within the memory", found));
        }
        Ok(tables)
    }

    fn add(&mut self, kind: u32, content: &[u8], at: usize) -> Result<(), Bad> {
        match kind {
            KIND_REGION => self.regions.push(Region::decode(content, at)?),
            KIND_PARENT => {
                let name = std::str::from_utf8(content).ok().filter(|name| is_name(name));
                let name = name.ok_or_else(|| {
                    let found = String::from_utf8_lossy(content).into_owned();
                    Bad::new(at, "parent", "the name of an object", found)
                })?;
                self.parent = Some(name.to_owned());
            }
            KIND_TOOL => self.tool_version = String::from_utf8_lossy(content).into_owned(),
            KIND_NOTES => self.notes = Some(ElfNotes::decode(content, at)?),
            _ => {}
        }
        Ok(())
    }
}

/// Sets regions one behind the other, and returns how much memory that makes; on failure, the
/// address of the region with which it is more than an image holds.
///
/// Each begins a chunk of its own, as far into it as its address is into one: so pages that lay
/// in one chunk once do so again in a later layer, whatever is mapped before them.
pub(super) fn lay_out(regions: &mut [Region], chunk: ChunkSize) -> Result<Bytes, Va> {
    let chunk = chunk.bytes().0;
    let mut end = 0u64;
    for region in regions {
        if region.held == Bytes::ZERO {
            region.offset = Bytes(end);
            continue;
        }
        // Both terms are small beside 2^64 as long as the end is in bounds.
        let offset = end.next_multiple_of(chunk) + region.address.0 % chunk;
        region.offset = Bytes(offset);
        let behind = offset.checked_add(region.held.0).filter(|&end| end <= MEMORY_MAX.0);
        end = behind.ok_or(region.address)?;
    }
    Ok(Bytes(end))
}

/// Returns the offset of the first region that overlaps the one before it, is longer in the image
/// than it was, or reaches beyond the memory or the address space.
pub(super) fn misplaced(regions: &[Region], memory: Bytes) -> Option<Bytes> {
    let mut end = 0;
    for region in regions {
        let here = region.offset.0.checked_add(region.held.0).filter(|&to| to <= memory.0);
        let there = region.address.0.checked_add(region.len.0);
        match here {
            Some(to) if region.offset.0 >= end && there.is_some() && region.held <= region.len => {
                end = to;
            }
            _ => return Some(region.offset),
        }
    }
    None
}

impl ElfNotes {
    fn encode(&self) -> Vec<u8> {
        let mut out = self.machine.elf_number().to_le_bytes().to_vec();
        out.resize(NOTES_HEAD_LEN, 0);
        out.extend(&self.bytes);
        out
    }

    fn decode(content: &[u8], at: usize) -> Result<ElfNotes, Bad> {
        let Some((head, bytes)) = content.split_first_chunk::<NOTES_HEAD_LEN>() else {
            return Err(Bad::new(at, "notes", format!("{NOTES_HEAD_LEN} bytes"), content.len()));
        };
        let machine = Machine::from_elf_number(u16_at(head, 0))
            .map_err(|unknown| Bad::new(at, "machine", "x86-64 or aarch64", unknown))?;
        Ok(ElfNotes { machine, bytes: bytes.to_vec() })
    }
}

impl Region {
    fn encode(&self) -> [u8; REGION_LEN] {
        let mut out = [0; REGION_LEN];
        let words = [self.address.0, self.len.0, self.offset.0, self.held.0];
        for (word, at) in words.into_iter().zip((0..).step_by(8)) {
            out[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        out[32..36].copy_from_slice(&self.access.to_flags().to_le_bytes());
        out
    }

    fn decode(bytes: &[u8], at: usize) -> Result<Region, Bad> {
        if bytes.len() != REGION_LEN {
            return Err(Bad::new(at, "region", format!("{REGION_LEN} bytes"), bytes.len()));
        }
        Ok(Region {
            address: Va(u64_at(bytes, 0)),
            len: Bytes(u64_at(bytes, 8)),
            offset: Bytes(u64_at(bytes, 16)),
            held: Bytes(u64_at(bytes, 24)),
            access: Access::from_flags(u32_at(bytes, 32)),
        })
    }
}

fn item(out: &mut Vec<u8>, kind: u32, content: &[u8]) {
    let len = u32::try_from(content.len()).expect("an item below 4 GiB");
    out.extend(kind.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(offset: u64, held: u64) -> Region {
        Region {
            address: Va(0x7000_0000 + offset),
            len: Bytes(held),
            offset: Bytes(offset),
            held: Bytes(held),
            access: Access { read: true, write: true, execute: false },
        }
    }

    #[test]
    fn tables_survive_a_round_trip_and_unknown_items_are_skipped() {
        let tables = Tables {
            regions: vec![region(0, 4096), region(8192, 4096)],
            parent: Some("base.flt".to_owned()),
            tool_version: "faultless 0.1.0".to_owned(),
            notes: Some(ElfNotes { machine: Machine::Aarch64, bytes: vec![1, 2, 3, 4] }),
        };
        let mut bytes = tables.encode();
        item(&mut bytes, 999, b"of the future");
        assert_eq!(Tables::decode(&bytes, Bytes(12288)).unwrap(), tables);
    }

    #[test]
    fn items_cut_short_and_parents_elsewhere_are_refused() {
        let bytes = Tables { parent: Some("a".into()), ..Tables::default() }.encode();
        for len in (1..bytes.len()).filter(|&len| len != 9) {
            assert!(Tables::decode(&bytes[..len], Bytes(0)).is_err(), "{len} bytes");
        }
        let away = Tables { parent: Some("../a".into()), ..Tables::default() }.encode();
        assert_eq!(Tables::decode(&away, Bytes(0)).unwrap_err().field, "parent");
    }

    #[test]
    fn regions_must_be_sorted_disjoint_and_within_the_memory() {
        let memory = Bytes(12288);
        assert_eq!(misplaced(&[region(0, 4096), region(4096, 8192)], memory), None);
        for bad in [
            vec![region(4096, 4096), region(0, 4096)],
            vec![region(0, 8192), region(4096, 4096)],
            vec![region(8192, 8192)],
            vec![region(u64::MAX - 8191 - 0x7000_0000, 8192)],
            vec![Region { len: Bytes(1), ..region(0, 4096) }],
        ] {
            assert!(misplaced(&bad, memory).is_some(), "{bad:?}");
        }
    }
}
