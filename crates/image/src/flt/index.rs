//! The index: from the number of a chunk to where its content lies.
//!
//! Two steps, each a short read at a place found by arithmetic: a *root page* says where *blocks*
//! lie, a block says where the content of [`BLOCK_CHUNKS`] chunks lies. A block holds entries of
//! only those chunks the layer has, so that a layer with few changes is small. The byte map is in
//! `docs/image-format.md`.
//!
//! # Invariants
//! - Every root page and every block is compared with its checksum before it is believed.

use super::Digest;
use super::codec::Method;
use super::digest::DIGEST_LEN;
use super::error::Bad;
use crate::core::elf::{u16_at, u32_at, u64_at};

/// Chunks of one block: 26 KiB at most, which is 32 MiB of memory at 64 KiB a chunk.
pub(super) const BLOCK_CHUNKS: u64 = 512;
/// Bytes of a block's bitmap.
pub(super) const BITMAP_LEN: usize = 64;
/// Bytes of an entry.
pub(super) const ENTRY_LEN: usize = 52;
/// The longest block.
pub(super) const BLOCK_LEN_MAX: usize = BITMAP_LEN + 512 * ENTRY_LEN;
/// Bytes of a root page, but the last may be shorter.
pub(super) const ROOT_PAGE_LEN: usize = 4096;
/// Bytes of a root page's record.
pub(super) const RECORD_LEN: usize = 16;
/// Bytes at the end of a root page.
pub(super) const ROOT_TAIL_LEN: usize = 16;
/// Records of a root page.
pub(super) const ROOT_RECORDS: u64 = 255;

const _: () = assert!(BITMAP_LEN * 8 == 512);
const _: () = assert!(BLOCK_CHUNKS == 512);
const _: () = assert!(255 * RECORD_LEN + ROOT_TAIL_LEN == ROOT_PAGE_LEN);
const _: () = assert!(ROOT_RECORDS == 255);

const KIND_FILL: u8 = 1;
const KIND_DATA: u8 = 2;

/// The chunks of a block a layer knows of, one bit each.
pub(super) type Bitmap = [u64; BITMAP_LEN / 8];

/// Says whether chunk `slot` of a block is in the bitmap.
pub(super) fn has(bitmap: &Bitmap, slot: usize) -> bool {
    bitmap[slot / 64] >> (slot % 64) & 1 == 1
}

/// What a layer knows of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// One word over and over.
    Fill(u64),
    /// Content stored at a place, with its digest.
    Data(Place, Digest),
}

/// Where the content of a chunk is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// How many layers further down: 0 for the one the entry is in.
    pub(super) below: u16,
    pub(super) method: Method,
    pub(super) len: u32,
    pub(super) offset: u64,
    /// Of what is stored: damage is found before it comes near a decoder.
    pub(super) crc: u32,
}

impl Entry {
    pub(super) fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        match self {
            Entry::Fill(word) => {
                out[0] = KIND_FILL;
                out[8..16].copy_from_slice(&word.to_le_bytes());
            }
            Entry::Data(place, digest) => {
                out[0] = KIND_DATA;
                out[1] = place.method.number();
                out[2..4].copy_from_slice(&place.below.to_le_bytes());
                out[4..8].copy_from_slice(&place.len.to_le_bytes());
                out[8..16].copy_from_slice(&place.offset.to_le_bytes());
                out[16..20].copy_from_slice(&place.crc.to_le_bytes());
                out[20..].copy_from_slice(&digest.0);
            }
        }
        out
    }

    /// Reads an entry; `at` is its offset in the block, for the error.
    fn decode(bytes: &[u8; ENTRY_LEN], at: usize) -> Result<Entry, Bad> {
        match bytes[0] {
            KIND_FILL => Ok(Entry::Fill(u64_at(bytes, 8))),
            KIND_DATA => {
                let method = Method::from_number(bytes[1])
                    .ok_or_else(|| Bad::new(at + 1, "method", "0 to 2", bytes[1]))?;
                let mut digest = Digest::default();
                digest.0.copy_from_slice(&bytes[20..20 + DIGEST_LEN]);
                let place = Place {
                    below: u16_at(bytes, 2),
                    method,
                    len: u32_at(bytes, 4),
                    offset: u64_at(bytes, 8),
                    crc: u32_at(bytes, 16),
                };
                Ok(Entry::Data(place, digest))
            }
            kind => Err(Bad::new(at, "kind", "1 (fill) or 2 (data)", kind)),
        }
    }
}

/// A block as it was read: checked as a whole, its entries decoded when asked for.
#[derive(Debug)]
pub(super) struct Block {
    bitmap: Bitmap,
    entries: Vec<[u8; ENTRY_LEN]>,
}

impl Block {
    /// Reads a block whose checksum was compared.
    pub(super) fn decode(bytes: &[u8]) -> Result<Block, Bad> {
        let Some((bitmap, rest)) = bytes.split_first_chunk::<BITMAP_LEN>() else {
            return Err(Bad::new(0, "block", format!("{BITMAP_LEN} bytes"), bytes.len()));
        };
        let (entries, left) = rest.as_chunks::<ENTRY_LEN>();
        let bitmap: Bitmap = std::array::from_fn(|word| u64_at(bitmap, word * 8));
        let count: usize = bitmap.iter().map(|word| word.count_ones() as usize).sum();
        if entries.len() != count || !left.is_empty() {
            let expected = format!("{count} entries of {ENTRY_LEN} bytes");
            return Err(Bad::new(BITMAP_LEN, "block", expected, rest.len()));
        }
        Ok(Block { bitmap, entries: entries.to_vec() })
    }

    /// Writes the block of these slots, which are in order and below [`BLOCK_CHUNKS`].
    pub(super) fn encode<'a>(slots: impl Iterator<Item = (usize, &'a Entry)>) -> Vec<u8> {
        let mut out = vec![0; BITMAP_LEN];
        for (slot, entry) in slots {
            out[slot / 8] |= 1 << (slot % 8);
            out.extend(entry.encode());
        }
        out
    }

    pub(super) fn bitmap(&self) -> &Bitmap {
        &self.bitmap
    }

    /// Returns the entry of a slot, if the layer has one.
    pub(super) fn get(&self, slot: usize) -> Result<Option<Entry>, Bad> {
        if !has(&self.bitmap, slot) {
            return Ok(None);
        }
        let whole = &self.bitmap[..slot / 64];
        let part = self.bitmap[slot / 64] & ((1 << (slot % 64)) - 1);
        let before = whole.iter().map(|word| word.count_ones()).sum::<u32>() + part.count_ones();
        let rank = before as usize;
        Entry::decode(&self.entries[rank], BITMAP_LEN + rank * ENTRY_LEN).map(Some)
    }
}

/// Where a block lies. All zero: the layer has no entry in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Record {
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) crc: u32,
}

impl Record {
    pub(super) fn is_empty(self) -> bool {
        self == Record::default()
    }
}

/// Returns how many blocks so many chunks have.
pub(super) fn block_count(chunks: u64) -> u64 {
    chunks.div_ceil(BLOCK_CHUNKS)
}

/// Returns how long all root pages together are.
pub(super) fn root_len(blocks: u64) -> u64 {
    blocks * RECORD_LEN as u64 + blocks.div_ceil(ROOT_RECORDS) * ROOT_TAIL_LEN as u64
}

/// Returns where root page `page` lies in the root, and its length.
pub(super) fn root_page(blocks: u64, page: u64) -> (u64, usize) {
    let records = (blocks - page * ROOT_RECORDS).min(ROOT_RECORDS);
    let records = usize::try_from(records).expect("at most 255");
    (page * ROOT_PAGE_LEN as u64, records * RECORD_LEN + ROOT_TAIL_LEN)
}

/// Writes root page `page`.
pub(super) fn encode_root_page(page: u64, records: &[Record]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROOT_PAGE_LEN);
    for record in records {
        out.extend(record.offset.to_le_bytes());
        out.extend(record.len.to_le_bytes());
        out.extend(record.crc.to_le_bytes());
    }
    out.extend(page.to_le_bytes());
    out.extend([0; 4]);
    out.extend(crc32c::crc32c(&out).to_le_bytes());
    out
}

/// Reads root page `page`.
pub(super) fn decode_root_page(page: u64, bytes: &[u8]) -> Result<Vec<Record>, Bad> {
    let (content, crc) = bytes.split_last_chunk::<4>().expect("a tail at least");
    let (crc, found) = (u32::from_le_bytes(*crc), crc32c::crc32c(content));
    if crc != found {
        let at = content.len();
        return Err(Bad::new(at, "root checksum", hex(crc), hex(found)));
    }
    let (records, tail) = content.split_at(bytes.len() - ROOT_TAIL_LEN);
    if u64_at(tail, 0) != page {
        return Err(Bad::new(records.len(), "root page", page, u64_at(tail, 0)));
    }
    let record = |bytes: &[u8]| Record {
        offset: u64_at(bytes, 0),
        len: u32_at(bytes, 8),
        crc: u32_at(bytes, 12),
    };
    Ok(records.chunks_exact(RECORD_LEN).map(record).collect())
}

/// Prints a checksum.
pub(super) fn hex(crc: u32) -> String {
    format!("{crc:#010x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(n: u8) -> Entry {
        let offset = u64::from(n) << 20;
        let place = Place { below: 1, method: Method::Lz4, len: 100, offset, crc: 9 };
        Entry::Data(place, Digest([n; DIGEST_LEN]))
    }

    #[test]
    fn a_block_gives_back_its_entries_and_only_those() {
        let slots = [(0, data(1)), (63, Entry::Fill(7)), (64, data(2)), (511, data(3))];
        let bytes = Block::encode(slots.iter().map(|(slot, entry)| (*slot, entry)));
        assert_eq!(bytes.len(), BITMAP_LEN + 4 * ENTRY_LEN);
        let block = Block::decode(&bytes).unwrap();
        for slot in 0..512 {
            let wanted = slots.iter().find(|(at, _)| *at == slot).map(|(_, entry)| *entry);
            assert_eq!(block.get(slot).unwrap(), wanted, "slot {slot}");
        }
    }

    #[test]
    fn a_block_of_another_length_than_its_bitmap_says_is_refused() {
        let bytes = Block::encode([(3, &data(1))].into_iter());
        assert!(Block::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Block::decode(&bytes[..10]).is_err());
        assert!(Block::decode(&[&bytes[..], &[0; ENTRY_LEN]].concat()).is_err());
    }

    #[test]
    fn root_pages_lie_where_arithmetic_says() {
        for blocks in [0u64, 1, 254, 255, 256, 510, 511, 100_000] {
            let pages = blocks.div_ceil(ROOT_RECORDS);
            let mut end = 0;
            for page in 0..pages {
                let (at, len) = root_page(blocks, page);
                assert_eq!(at, end);
                end = at + len as u64;
            }
            assert_eq!(end, root_len(blocks), "{blocks} blocks");
        }
    }

    #[test]
    fn a_root_page_in_another_ones_place_is_refused() {
        let records = [Record { offset: 16, len: 112, crc: 5 }, Record::default()];
        let bytes = encode_root_page(3, &records);
        assert_eq!(decode_root_page(3, &bytes).unwrap(), records);
        assert_eq!(decode_root_page(4, &bytes).unwrap_err().field, "root page");
    }
}
