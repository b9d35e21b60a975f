//! One image object, open: its footer and tables in memory, its index read where it is asked for.
//!
//! # Invariants
//! - Nothing is allocated for a length that was not compared with the length of the object, or
//!   is not bounded by the format.
//!
//! # Concurrency
//! All methods take `&self`; the cache of blocks is behind a lock that is not held while reading.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::codec::Method;
use super::error::{Bad, ReadError};
use super::footer::{FOOTER_LEN, Footer, HEAD_LEN, Refused, check_head};
use super::index::{
    BITMAP_LEN, BLOCK_CHUNKS, BLOCK_LEN_MAX, Bitmap, Block, Entry, Place, ROOT_RECORDS, Record,
    decode_root_page, has, hex, root_page,
};
use super::store::{Object, Store};
use super::tables::Tables;

/// Root pages and blocks kept of each layer: 7 MiB of blocks at most.
const KEPT: usize = 256;

/// An open layer.
pub(super) struct Layer {
    pub(super) name: String,
    object: Arc<dyn Object>,
    pub(super) footer: Footer,
    pub(super) tables: Tables,
    roots: Kept<Vec<Record>>,
    blocks: Kept<Block>,
}

impl Layer {
    /// Opens the object called `name`.
    pub(super) fn open(store: &dyn Store, name: &str) -> Result<Layer, ReadError> {
        let io = |source| ReadError::Io { object: name.to_owned(), offset: 0, source };
        Layer::new(name.to_owned(), store.open(name).map_err(io)?)
    }

    /// Reads head, footer and tables.
    pub(super) fn new(name: String, object: Arc<dyn Object>) -> Result<Layer, ReadError> {
        let bytes = Bytes { name: &name, object: &*object };
        let mut head = [0; HEAD_LEN];
        bytes.read(&mut head, 0, "head")?;
        check_head(&head).map_err(|refused| refuse(refused, &name, 0))?;
        let len = object.len();
        let footer_at = len.saturating_sub(FOOTER_LEN as u64);
        let mut footer = [0; FOOTER_LEN];
        bytes.read(&mut footer, footer_at, "footer")?;
        let footer = Footer::decode(&footer, len).map_err(|r| refuse(r, &name, footer_at))?;
        let tables = bytes.tables(&footer)?;
        Ok(Layer { name, object, footer, tables, roots: Kept::new(), blocks: Kept::new() })
    }

    /// Returns how long the object is.
    pub(super) fn len(&self) -> u64 {
        self.object.len()
    }

    /// Returns how many chunks its memory has.
    pub(super) fn chunks(&self) -> u64 {
        self.footer.chunk.count(self.footer.memory)
    }

    /// Returns the bytes of the object.
    pub(super) fn bytes(&self) -> Bytes<'_> {
        Bytes { name: &self.name, object: &*self.object }
    }

    /// Returns what this layer knows of a chunk, `None` where it leaves it to the one below.
    pub(super) fn entry(&self, chunk: u64) -> Result<Option<Entry>, ReadError> {
        if chunk >= self.chunks() {
            return Ok(None);
        }
        let number = chunk / BLOCK_CHUNKS;
        let Some((record, block)) = self.block(number)? else {
            return Ok(None);
        };
        let slot = usize::try_from(chunk % BLOCK_CHUNKS).expect("below 512");
        let bad = |bad: Bad| bad.within(&self.name, record.offset);
        let entry = block.get(slot).map_err(bad)?;
        if let Some(Entry::Data(place, _)) = &entry {
            self.check_length(place).map_err(bad)?;
        }
        Ok(entry)
    }

    /// Returns which chunks of a block this layer knows of.
    pub(super) fn occupied(&self, number: u64) -> Result<Bitmap, ReadError> {
        let block = self.block(number)?;
        Ok(block.map_or([0; BITMAP_LEN / 8], |(_, block)| *block.bitmap()))
    }

    /// Hands every entry of this layer to `visit`, in order.
    pub(super) fn for_each_entry(
        &self,
        mut visit: impl FnMut(u64, Entry) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        for number in 0..self.footer.blocks() {
            let bitmap = self.occupied(number)?;
            for slot in (0..BITMAP_LEN * 8).filter(|&slot| has(&bitmap, slot)) {
                let chunk = number * BLOCK_CHUNKS + slot as u64;
                if let Some(entry) = self.entry(chunk)? {
                    visit(chunk, entry)?;
                }
            }
        }
        Ok(())
    }

    /// Reads what is stored at a place of this layer.
    pub(super) fn stored(&self, place: &Place, buffer: &mut Vec<u8>) -> Result<(), ReadError> {
        let end = place.offset.checked_add(place.len.into());
        let inside =
            place.offset >= HEAD_LEN as u64 && end.is_some_and(|end| end <= self.footer.index_at);
        if !inside {
            let expected = format!("chunks before the index at {:#x}", self.footer.index_at);
            let found = format!("{} bytes at {:#x}", place.len, place.offset);
            let bad = Bad::new(0, "place of a chunk", expected, found);
            return Err(bad.within(&self.name, place.offset));
        }
        // At most a chunk: the entry was checked when it was read.
        buffer.resize(place.len as usize, 0);
        self.bytes().read(buffer, place.offset, "chunk")
    }

    /// Returns a block with the record that names it; `None` if the layer has no entry in it.
    pub(super) fn block(&self, number: u64) -> Result<Option<(Record, Arc<Block>)>, ReadError> {
        let record = self.record(number)?;
        if record.is_empty() {
            return Ok(None);
        }
        if let Some(block) = self.blocks.get(number) {
            return Ok(Some((record, block)));
        }
        let block = Arc::new(self.read_block(record)?);
        self.blocks.put(number, &block);
        Ok(Some((record, block)))
    }

    fn read_block(&self, record: Record) -> Result<Block, ReadError> {
        let len = record.len as usize;
        let end = record.offset.checked_add(record.len.into());
        let inside = record.offset >= self.footer.index_at
            && end.is_some_and(|end| end <= self.footer.root_at);
        if !inside || !(BITMAP_LEN..=BLOCK_LEN_MAX).contains(&len) {
            let expected = "a block between the chunks and the root";
            let found = format!("{len} bytes at {:#x}", record.offset);
            return Err(Bad::new(0, "block", expected, found).within(&self.name, record.offset));
        }
        let mut bytes = vec![0; len];
        self.bytes().read(&mut bytes, record.offset, "block")?;
        let found = crc32c::crc32c(&bytes);
        if found != record.crc {
            let bad = Bad::new(0, "block checksum", hex(record.crc), hex(found));
            return Err(bad.within(&self.name, record.offset));
        }
        Block::decode(&bytes).map_err(|bad| bad.within(&self.name, record.offset))
    }

    fn record(&self, number: u64) -> Result<Record, ReadError> {
        let page = number / ROOT_RECORDS;
        let records = match self.roots.get(page) {
            Some(records) => records,
            None => {
                let records = Arc::new(self.read_root_page(page)?);
                self.roots.put(page, &records);
                records
            }
        };
        Ok(records[usize::try_from(number % ROOT_RECORDS).expect("below 255")])
    }

    fn read_root_page(&self, page: u64) -> Result<Vec<Record>, ReadError> {
        let (at, len) = root_page(self.footer.blocks(), page);
        let at = self.footer.root_at + at;
        let mut bytes = vec![0; len];
        self.bytes().read(&mut bytes, at, "root page")?;
        decode_root_page(page, &bytes).map_err(|bad| bad.within(&self.name, at))
    }

    /// Checks that a chunk is stored in no more bytes than it has.
    fn check_length(&self, place: &Place) -> Result<(), Bad> {
        let (chunk, len) = (self.footer.chunk.bytes().0, u64::from(place.len));
        let fits = match place.method {
            Method::None => len == chunk,
            Method::Lz4 | Method::Zstd => len < chunk,
        };
        if fits {
            return Ok(());
        }
        Err(Bad::new(0, "stored length", format!("a chunk of {chunk} or less"), len))
    }
}

fn refuse(refused: Refused, object: &str, at: u64) -> ReadError {
    match refused {
        Refused::Bad(bad) => bad.within(object, at),
        Refused::TooNew(what) => ReadError::TooNew { object: object.to_owned(), what },
    }
}

/// The bytes of an object with its name for errors.
pub(super) struct Bytes<'a> {
    name: &'a str,
    object: &'a dyn Object,
}

impl Bytes<'_> {
    /// Fills `buffer`; `field` is what the error will say was cut off.
    pub(super) fn read(
        &self,
        buffer: &mut [u8],
        offset: u64,
        field: &'static str,
    ) -> Result<(), ReadError> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.object.len()) {
            let expected = format!("{} bytes", buffer.len());
            let found = format!("the end of the file at {:#x}", self.object.len());
            return Err(Bad::new(0, field, expected, found).within(self.name, offset));
        }
        let read = self.object.read_at(offset, buffer);
        read.map_err(|source| ReadError::Io { object: self.name.to_owned(), offset, source })
    }

    fn tables(&self, footer: &Footer) -> Result<Tables, ReadError> {
        // The footer's places add up to the length of the object: so much is there.
        let mut bytes = vec![0; usize::try_from(footer.tables_len).expect("at most 256 MiB")];
        self.read(&mut bytes, footer.tables_at, "tables")?;
        let bad = |bad: Bad| bad.within(self.name, footer.tables_at);
        let found = crc32c::crc32c(&bytes);
        if found != footer.tables_crc {
            return Err(bad(Bad::new(0, "tables checksum", hex(footer.tables_crc), hex(found))));
        }
        let tables = Tables::decode(&bytes, footer.memory).map_err(bad)?;
        if tables.parent.is_some() != footer.parent.is_some() {
            let found = tables.parent.unwrap_or_else(|| "none".to_owned());
            return Err(bad(Bad::new(0, "parent", "a name exactly if there is an id", found)));
        }
        Ok(tables)
    }
}

/// The parts of an index read last.
struct Kept<T>(Mutex<Parts<T>>);

struct Parts<T> {
    by_number: BTreeMap<u64, Arc<T>>,
    /// Oldest first.
    order: VecDeque<u64>,
}

impl<T> Kept<T> {
    fn new() -> Kept<T> {
        Kept(Mutex::new(Parts { by_number: BTreeMap::new(), order: VecDeque::new() }))
    }

    fn get(&self, number: u64) -> Option<Arc<T>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_number.get(&number).cloned()
    }

    /// Keeps a part, and lets go of the one kept longest when there are too many.
    fn put(&self, number: u64, part: &Arc<T>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.by_number.insert(number, Arc::clone(part)).is_none() {
            kept.order.push_back(number);
        }
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_number.remove(&oldest);
        }
    }
}
