//! The first and the last bytes of an image: what it is, and where its parts lie.
//!
//! The footer is what is read first and written last: an object that ends early has none. The
//! byte map is in `docs/image-format.md`.

use faultless_pages::Bytes;

use super::ChunkSize;
use super::digest::{DIGEST_LEN, Digest};
use super::error::Bad;
use super::index::{block_count, hex, root_len};
use crate::core::elf::{u32_at, u64_at};

/// The version of the format this program writes; it reads no other.
pub const FORMAT_VERSION: u32 = 1;
/// The first bytes of an image: no text, and damaged by any transfer that takes it for one.
pub(super) const HEAD_MAGIC: [u8; 8] = *b"\x89FLT\r\n\x1a\n";
/// The first bytes of the footer.
pub(super) const FOOTER_MAGIC: [u8; 8] = *b"FLTEND\r\n";
/// Bytes before the first chunk.
pub(super) const HEAD_LEN: usize = 16;
/// Bytes of the footer.
pub(super) const FOOTER_LEN: usize = 256;
/// Feature bits a reader must know to read an image; none is given out yet.
pub(super) const FEATURES_KNOWN: u64 = 0;
/// Most memory of an image: with chunks of 4 KiB no offset of the index comes near 2^63.
pub(super) const MEMORY_MAX: Bytes = Bytes(1 << 56);
/// The longest tables.
pub(super) const TABLES_LEN_MAX: u64 = 256 << 20;
/// What the id covers of the footer: all that stands before it.
const ID_AT: usize = 160;
const CRC_AT: usize = FOOTER_LEN - 4;

/// Makes the first bytes of an image.
pub(super) fn head() -> [u8; HEAD_LEN] {
    let mut out = [0; HEAD_LEN];
    out[..8].copy_from_slice(&HEAD_MAGIC);
    out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&out[..12]);
    out[12..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Chunks counted by what became of them; only for people, nothing is computed from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Stored in this layer.
    pub(super) stored: u64,
    /// One word over and over.
    pub(super) filled: u64,
    /// Equal to a chunk stored before, here or further down.
    pub(super) shared: u64,
}

/// What the footer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Footer {
    /// Features a reader may ignore.
    pub(super) compatible: u64,
    pub(super) chunk: ChunkSize,
    /// Layers below this one.
    pub(super) depth: u32,
    pub(super) memory: Bytes,
    /// Where the blocks begin and the chunks end.
    pub(super) index_at: u64,
    pub(super) root_at: u64,
    pub(super) tables_at: u64,
    pub(super) tables_len: u64,
    pub(super) tables_crc: u32,
    pub(super) counts: Counts,
    pub(super) time_unix_ns: u64,
    /// The id of the layer below.
    pub(super) parent: Option<Digest>,
    /// The digest of the index, the tables and the fields above.
    pub(super) id: Digest,
}

/// Why a footer is not believed.
pub(super) enum Refused {
    Bad(Bad),
    TooNew(String),
}

impl From<Bad> for Refused {
    fn from(bad: Bad) -> Refused {
        Refused::Bad(bad)
    }
}

impl Footer {
    /// Returns where the footer lies.
    pub(super) fn at(&self) -> u64 {
        self.tables_at + self.tables_len
    }

    /// Returns how many blocks the index has, empty ones included.
    pub(super) fn blocks(&self) -> u64 {
        block_count(self.chunk.count(self.memory))
    }

    /// Computes the id over an index and tables whose digest is in `hasher`.
    pub(super) fn identify(&self, mut hasher: blake3::Hasher) -> Digest {
        hasher.update(&self.encode()[..ID_AT]);
        Digest(*hasher.finalize().as_bytes())
    }

    pub(super) fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut out = [0; FOOTER_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        let chunk = u32::try_from(self.chunk.bytes().0).expect("at most 2 MiB");
        put(0, &FOOTER_MAGIC);
        put(8, &FORMAT_VERSION.to_le_bytes());
        put(12, &chunk.to_le_bytes());
        put(16, &FEATURES_KNOWN.to_le_bytes());
        put(24, &self.compatible.to_le_bytes());
        put(32, &self.memory.0.to_le_bytes());
        put(40, &self.index_at.to_le_bytes());
        put(48, &self.root_at.to_le_bytes());
        put(56, &self.tables_at.to_le_bytes());
        put(64, &self.tables_len.to_le_bytes());
        put(72, &self.tables_crc.to_le_bytes());
        put(76, &self.depth.to_le_bytes());
        put(80, &self.counts.stored.to_le_bytes());
        put(88, &self.counts.filled.to_le_bytes());
        put(96, &self.counts.shared.to_le_bytes());
        put(104, &self.time_unix_ns.to_le_bytes());
        put(128, &self.parent.unwrap_or_default().0);
        put(ID_AT, &self.id.0);
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the footer of an object of `object_len` bytes.
    pub(super) fn decode(bytes: &[u8; FOOTER_LEN], object_len: u64) -> Result<Footer, Refused> {
        if bytes[..8] != FOOTER_MAGIC {
            let expected = "the footer of an image; the file was cut short or never finished";
            return Err(Bad::new(0, "footer magic", expected, hex_bytes(&bytes[..8])).into());
        }
        // Before the checksum, which a later version may keep elsewhere.
        if u32_at(bytes, 8) != FORMAT_VERSION {
            return Err(Refused::TooNew(format!("format version {}", u32_at(bytes, 8))));
        }
        let (crc, found) = (u32_at(bytes, CRC_AT), crc32c::crc32c(&bytes[..CRC_AT]));
        if crc != found {
            return Err(Bad::new(CRC_AT, "footer checksum", hex(crc), hex(found)).into());
        }
        let unknown = u64_at(bytes, 16) & !FEATURES_KNOWN;
        if unknown != 0 {
            return Err(Refused::TooNew(format!("features {unknown:#x}")));
        }
        let footer = Footer::fields(bytes)?;
        footer.check_places(object_len)?;
        Ok(footer)
    }

    fn fields(bytes: &[u8; FOOTER_LEN]) -> Result<Footer, Bad> {
        let chunk = ChunkSize::new(Bytes(u32_at(bytes, 12).into())).ok_or_else(|| {
            Bad::new(12, "chunk size", "a power of two from 4096 to 2097152", u32_at(bytes, 12))
        })?;
        let digest = |at: usize| {
            let mut digest = Digest::default();
            digest.0.copy_from_slice(&bytes[at..at + DIGEST_LEN]);
            digest
        };
        let parent = Some(digest(128)).filter(|parent| !parent.is_zero());
        let depth = u32_at(bytes, 76);
        if (depth == 0) != parent.is_none() {
            return Err(Bad::new(76, "layers below", "some exactly with a parent", depth));
        }
        Ok(Footer {
            compatible: u64_at(bytes, 24),
            chunk,
            depth,
            memory: Bytes(u64_at(bytes, 32)),
            index_at: u64_at(bytes, 40),
            root_at: u64_at(bytes, 48),
            tables_at: u64_at(bytes, 56),
            tables_len: u64_at(bytes, 64),
            tables_crc: u32_at(bytes, 72),
            counts: Counts {
                stored: u64_at(bytes, 80),
                filled: u64_at(bytes, 88),
                shared: u64_at(bytes, 96),
            },
            time_unix_ns: u64_at(bytes, 104),
            parent,
            id: digest(ID_AT),
        })
    }

    /// Checks that the parts follow each other without gap or overlap up to the end.
    fn check_places(&self, object_len: u64) -> Result<(), Bad> {
        if self.memory > MEMORY_MAX {
            return Err(Bad::new(32, "memory", format!("at most {MEMORY_MAX}"), self.memory.0));
        }
        let head = HEAD_LEN as u64;
        if self.index_at < head || self.root_at < self.index_at {
            let expected = format!("from {head} on, before the root at {}", self.root_at);
            return Err(Bad::new(40, "index offset", expected, self.index_at));
        }
        let tables_at = self.root_at.checked_add(root_len(self.blocks()));
        if tables_at != Some(self.tables_at) {
            let expected = format!("behind {} blocks of the root", self.blocks());
            return Err(Bad::new(56, "tables offset", expected, self.tables_at));
        }
        if self.tables_len > TABLES_LEN_MAX {
            let expected = format!("at most {TABLES_LEN_MAX}");
            return Err(Bad::new(64, "tables length", expected, self.tables_len));
        }
        let end = self.tables_at.checked_add(self.tables_len + FOOTER_LEN as u64);
        if end != Some(object_len) {
            let expected = format!("tables that end before the footer of {object_len} bytes");
            return Err(Bad::new(64, "tables length", expected, self.tables_len));
        }
        Ok(())
    }
}

/// Checks the first bytes of an image.
pub(super) fn check_head(bytes: &[u8; HEAD_LEN]) -> Result<(), Refused> {
    if bytes[..8] != HEAD_MAGIC {
        return Err(Bad::new(0, "magic", "an image", hex_bytes(&bytes[..8])).into());
    }
    if u32_at(bytes, 8) != FORMAT_VERSION {
        return Err(Refused::TooNew(format!("format version {}", u32_at(bytes, 8))));
    }
    let (crc, found) = (u32_at(bytes, 12), crc32c::crc32c(&bytes[..12]));
    if crc != found {
        return Err(Bad::new(12, "head checksum", hex(crc), hex(found)).into());
    }
    Ok(())
}

fn hex_bytes(bytes: &[u8]) -> String {
    format!("{bytes:02x?}")
}

#[cfg(test)]
mod tests;
