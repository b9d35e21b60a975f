//! Writing an image: chunks in any order, each stored once; then the index.
//!
//! Called by whatever has memory to keep. What a chunk becomes is decided when it comes: the same
//! as in the layer below (nothing), one word over and over (an entry), the same as a chunk stored
//! before, here or further down (an entry), or content (compressed and stored).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use faultless_pages::Bytes;

use super::chain::LAYERS_MAX;
use super::chunk::{ChunkSize, fill_word};
use super::codec::{Codec, Encoder};
use super::digest::Digest;
use super::error::{ReadError, WriteError};
use super::footer::{Counts, FOOTER_LEN, Footer, HEAD_LEN, MEMORY_MAX, head};
use super::index::{
    BLOCK_CHUNKS, Block, Entry, Place, ROOT_RECORDS, Record, block_count, encode_root_page,
};
use super::reader::{Found, Image};
use super::store::NewObject;
use super::tables::{ElfNotes, Region, Tables, misplaced};

/// How an image is to be written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The size of its chunks.
    pub chunk: ChunkSize,
    /// What they are compressed with.
    pub codec: Codec,
    /// How much memory it holds.
    pub memory: Bytes,
    /// Where parts of the memory lay, sorted by offset.
    pub regions: Vec<Region>,
    /// When the memory was as it is written: nanoseconds since the Unix epoch.
    pub time_unix_ns: u64,
    /// The program that writes it.
    pub tool_version: String,
    /// What a core says beside memory, if the memory is that of a process.
    pub notes: Option<ElfNotes>,
}

/// A layer below: its name in the same store, and it.
pub type Parent = (String, Arc<Image>);

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Written {
    /// Length of the object in bytes.
    pub object_bytes: u64,
    /// Memory the image holds, in bytes.
    pub memory_bytes: u64,
    /// Chunks stored in it.
    pub stored_chunks: u64,
    /// Bytes they take.
    pub stored_bytes: u64,
    /// Chunks that are one word over and over, and not as in the layer below.
    pub filled_chunks: u64,
    /// Chunks equal to one stored before.
    pub shared_chunks: u64,
    /// Chunks that came and are as in the layer below, or zeros where there is none.
    pub inherited_chunks: u64,
}

/// An image that is being written.
pub struct ImageWriter<O> {
    object: O,
    options: Options,
    parent: Option<Parent>,
    encoder: Encoder,
    entries: BTreeMap<u64, Entry>,
    /// Where content lies that was stored before; `below` as seen from this layer.
    known: HashMap<Digest, Place>,
    /// Chunks found to be as in the layer below.
    inherited: u64,
    counts: Counts,
    at: u64,
}

impl<O: NewObject> ImageWriter<O> {
    /// Begins an image; with a parent, which has a name in the same store, a layer over it.
    ///
    /// # Errors
    /// [`WriteError`] says what does not fit; with a parent its whole index is read.
    pub fn new(
        mut object: O,
        options: Options,
        parent: Option<Parent>,
    ) -> Result<ImageWriter<O>, WriteError> {
        check(&options, parent.as_ref().map(|(_, image)| &**image))?;
        let encoder = Encoder::new(options.codec, options.chunk.bytes().as_usize());
        let encoder = encoder.map_err(WriteError::Codec)?;
        let known = match &parent {
            Some((_, image)) => stored_below(image)?,
            None => HashMap::new(),
        };
        object.append(&head())?;
        Ok(ImageWriter {
            object,
            options,
            parent,
            encoder,
            entries: BTreeMap::new(),
            known,
            inherited: 0,
            counts: Counts::default(),
            at: HEAD_LEN as u64,
        })
    }

    /// Returns the size of the chunks.
    #[must_use]
    pub fn chunk_size(&self) -> ChunkSize {
        self.options.chunk
    }

    /// Returns how much memory the image holds.
    pub(super) fn memory(&self) -> Bytes {
        self.options.memory
    }

    /// Adds the content of a chunk, padded with zeros behind the end of the memory.
    ///
    /// Chunks that are never added are as in the layer below, or zeros.
    ///
    /// # Errors
    /// [`WriteError`] if the chunk is none of this image, was stored before, or cannot be stored.
    pub fn put(&mut self, chunk: u64, content: &[u8]) -> Result<(), WriteError> {
        if content.len() as u64 != self.options.chunk.bytes().0 {
            return Err(WriteError::NotAChunk { chunk });
        }
        let below = self.below(chunk)?;
        if let Some(word) = fill_word(content) {
            self.put_fill(chunk, word, below);
            return Ok(());
        }
        self.put_data(chunk, content, below)
    }

    /// Adds a chunk of zeros.
    ///
    /// # Errors
    /// As [`put`](ImageWriter::put).
    pub fn put_zeros(&mut self, chunk: u64) -> Result<(), WriteError> {
        // Without a layer below, a chunk nobody adds is one of zeros.
        if self.parent.is_none() {
            self.inherited += 1;
            return Ok(());
        }
        let below = self.below(chunk)?;
        self.put_fill(chunk, 0, below);
        Ok(())
    }

    /// Replaces what the options said about regions and notes.
    ///
    /// # Errors
    /// [`WriteError::BadRegion`].
    pub(super) fn describe(
        &mut self,
        regions: Vec<Region>,
        notes: ElfNotes,
    ) -> Result<(), WriteError> {
        if let Some(offset) = misplaced(&regions, self.options.memory) {
            return Err(WriteError::BadRegion { offset: offset.0 });
        }
        self.options.regions = regions;
        self.options.notes = Some(notes);
        Ok(())
    }

    /// Looks up what the layers below have, for a chunk of this image that did not come before.
    fn below(&self, chunk: u64) -> Result<Found, WriteError> {
        if chunk >= self.options.chunk.count(self.options.memory) {
            return Err(WriteError::NotAChunk { chunk });
        }
        if self.entries.contains_key(&chunk) {
            return Err(WriteError::WrittenTwice { chunk });
        }
        match &self.parent {
            Some((_, image)) => Ok(image.find(chunk)?),
            None => Ok(Found::Nothing),
        }
    }

    fn put_fill(&mut self, chunk: u64, word: u64, below: Found) {
        let same = match below {
            Found::Nothing => word == 0,
            Found::Fill(known) => word == known,
            Found::Data { .. } => false,
        };
        if same {
            self.inherited += 1;
        } else {
            self.counts.filled += 1;
            self.entries.insert(chunk, Entry::Fill(word));
        }
    }

    fn put_data(&mut self, chunk: u64, content: &[u8], below: Found) -> Result<(), WriteError> {
        let digest = Digest::of(content);
        if matches!(below, Found::Data { digest: known, .. } if known == digest) {
            self.inherited += 1;
            return Ok(());
        }
        let place = match self.known.get(&digest) {
            Some(&place) => {
                self.counts.shared += 1;
                place
            }
            None => self.store(content, digest)?,
        };
        self.entries.insert(chunk, Entry::Data(place, digest));
        Ok(())
    }

    fn store(&mut self, content: &[u8], digest: Digest) -> Result<Place, WriteError> {
        let (method, stored) = self.encoder.encode(content).map_err(WriteError::Codec)?;
        self.object.append(stored)?;
        let len = u32::try_from(stored.len()).expect("at most a chunk");
        let crc = crc32c::crc32c(stored);
        let place = Place { below: 0, method, len, offset: self.at, crc };
        self.at += u64::from(len);
        self.counts.stored += 1;
        self.known.insert(digest, place);
        Ok(place)
    }

    /// Writes the index and gives the object its name.
    ///
    /// # Errors
    /// [`WriteError::Store`].
    pub fn finish(mut self) -> Result<Written, WriteError> {
        let stored_bytes = self.at - HEAD_LEN as u64;
        let footer = self.append_index()?;
        self.object.append(&footer.encode())?;
        self.object.publish()?;
        Ok(Written {
            object_bytes: self.at + FOOTER_LEN as u64,
            memory_bytes: self.options.memory.0,
            stored_chunks: self.counts.stored,
            stored_bytes,
            filled_chunks: self.counts.filled,
            shared_chunks: self.counts.shared,
            inherited_chunks: self.inherited,
        })
    }

    /// Writes blocks, root pages and tables, and returns the footer that tells of them.
    fn append_index(&mut self) -> Result<Footer, WriteError> {
        let mut hasher = blake3::Hasher::new();
        let index_at = self.at;
        let records = self.append_blocks(&mut hasher)?;
        let root_at = self.at;
        let blocks = block_count(self.options.chunk.count(self.options.memory));
        self.append_root(blocks, &records, &mut hasher)?;
        let tables = Tables {
            regions: std::mem::take(&mut self.options.regions),
            parent: self.parent.as_ref().map(|(name, _)| name.clone()),
            tool_version: std::mem::take(&mut self.options.tool_version),
            notes: self.options.notes.take(),
        };
        let tables = tables.encode();
        let tables_at = self.at;
        self.append(&tables, &mut hasher)?;
        Ok(self.footer([index_at, root_at, tables_at], &tables, hasher))
    }

    fn append(&mut self, bytes: &[u8], hasher: &mut blake3::Hasher) -> Result<(), WriteError> {
        hasher.update(bytes);
        self.object.append(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes the blocks that have entries and returns where they lie.
    fn append_blocks(
        &mut self,
        hasher: &mut blake3::Hasher,
    ) -> Result<BTreeMap<u64, Record>, WriteError> {
        let entries = std::mem::take(&mut self.entries);
        let mut records = BTreeMap::new();
        let mut next = entries.first_key_value().map(|(&chunk, _)| chunk);
        while let Some(first) = next {
            let number = first / BLOCK_CHUNKS;
            let end = (number + 1) * BLOCK_CHUNKS;
            let slot = |chunk: u64| usize::try_from(chunk % BLOCK_CHUNKS).expect("below 512");
            let inside = entries.range(first..end).map(|(&chunk, entry)| (slot(chunk), entry));
            let block = Block::encode(inside);
            let len = u32::try_from(block.len()).expect("at most 26 KiB");
            let record = Record { offset: self.at, len, crc: crc32c::crc32c(&block) };
            records.insert(number, record);
            self.append(&block, hasher)?;
            next = entries.range(end..).next().map(|(&chunk, _)| chunk);
        }
        Ok(records)
    }

    fn append_root(
        &mut self,
        blocks: u64,
        records: &BTreeMap<u64, Record>,
        hasher: &mut blake3::Hasher,
    ) -> Result<(), WriteError> {
        for page in 0..blocks.div_ceil(ROOT_RECORDS) {
            let numbers = page * ROOT_RECORDS..((page + 1) * ROOT_RECORDS).min(blocks);
            let record = |number| records.get(&number).copied().unwrap_or_default();
            let page = encode_root_page(page, &numbers.map(record).collect::<Vec<_>>());
            self.append(&page, hasher)?;
        }
        Ok(())
    }

    fn footer(&self, places: [u64; 3], tables: &[u8], hasher: blake3::Hasher) -> Footer {
        let [index_at, root_at, tables_at] = places;
        let depth = self.parent.as_ref().map_or(0, |(_, image)| image.layers.len());
        let mut footer = Footer {
            compatible: 0,
            chunk: self.options.chunk,
            depth: u32::try_from(depth).expect("at most 64 layers"),
            memory: self.options.memory,
            index_at,
            root_at,
            tables_at,
            tables_len: tables.len() as u64,
            tables_crc: crc32c::crc32c(tables),
            counts: self.counts,
            time_unix_ns: self.options.time_unix_ns,
            parent: self.parent.as_ref().map(|(_, image)| image.id()),
            id: Digest::default(),
        };
        footer.id = footer.identify(hasher);
        footer
    }
}

/// Checks that an image of these options can be read again.
fn check(options: &Options, parent: Option<&Image>) -> Result<(), WriteError> {
    if options.memory > MEMORY_MAX {
        return Err(WriteError::TooMuchMemory(options.memory));
    }
    if let Some(offset) = misplaced(&options.regions, options.memory) {
        return Err(WriteError::BadRegion { offset: offset.0 });
    }
    let Some(parent) = parent else { return Ok(()) };
    if parent.layers.len() >= LAYERS_MAX {
        return Err(WriteError::TooManyLayers { layers: parent.layers.len() });
    }
    if parent.chunk_size() != options.chunk {
        return Err(WriteError::OtherChunkSize {
            chosen: options.chunk.bytes(),
            parent: parent.chunk_size().bytes(),
        });
    }
    Ok(())
}

/// Collects what the layers below store, as seen from a layer over them.
fn stored_below(image: &Image) -> Result<HashMap<Digest, Place>, ReadError> {
    let mut known = HashMap::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let below = u16::try_from(number + 1).expect("at most 64 layers");
        layer.for_each_entry(|_, entry| {
            // Places further down are found in the layer they are in.
            if let Entry::Data(place, digest) = entry
                && place.below == 0
            {
                known.entry(digest).or_insert(Place { below, ..place });
            }
            Ok(())
        })?;
    }
    Ok(known)
}
