//! Reading an image: memory from anywhere, through all its layers.
//!
//! Called by `faultless image`, by whoever serves pages. A read looks a chunk up in the index of
//! each layer, top first, reads the one that has it, and compares it with its digest: what is
//! returned is what was written, or an error.

use std::fmt;

use faultless_pages::Bytes;

use super::chain;
use super::chunk::{ChunkSize, fill};
use super::digest::Digest;
use super::error::{Bad, ReadError};
use super::index::{BITMAP_LEN, BLOCK_CHUNKS, Bitmap, Entry, Place, has};
use super::layer::Layer;
use super::store::Store;
use super::tables::{ElfNotes, Region};

/// An open image.
pub struct Image {
    /// Top first.
    pub(super) layers: Vec<Layer>,
}

/// Where the content of a chunk is, as seen from the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// No layer has it: zeros.
    Nothing,
    Fill(u64),
    /// In the layer of this number, 0 for the top.
    Data {
        layer: usize,
        place: Place,
        digest: Digest,
    },
}

/// Room for a chunk as it is stored; kept from read to read.
#[derive(Default)]
pub(super) struct Scratch(Vec<u8>);

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("id", &self.id()).field("memory", &self.memory()).finish()
    }
}

impl Image {
    /// Opens an image and all layers below it, reading their footers and tables only.
    ///
    /// # Errors
    /// [`ReadError`] names the first field that is not what it must be, or the layer that is not
    /// there.
    pub fn open(store: &dyn Store, name: &str) -> Result<Image, ReadError> {
        Ok(Image { layers: chain::open(store, name)? })
    }

    /// Returns how much memory the image holds, zeros included.
    #[must_use]
    pub fn memory(&self) -> Bytes {
        self.top().footer.memory
    }

    /// Returns the size of its chunks: reads of whole chunks decompress nothing twice.
    #[must_use]
    pub fn chunk_size(&self) -> ChunkSize {
        self.top().footer.chunk
    }

    /// Returns where parts of the memory lay when they were taken, sorted by offset.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.top().tables.regions
    }

    /// Returns what a core says beside memory, `None` if the image was not made of one.
    #[must_use]
    pub fn notes(&self) -> Option<&ElfNotes> {
        self.top().tables.notes.as_ref()
    }

    /// Returns the id: equal ids mean equal images.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.top().footer.id
    }

    /// Fills `buffer` with the memory from `offset` on.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] if a chunk is not what was written; the rest of [`ReadError`] for
    /// an index that is not, or an object that cannot be read.
    pub fn read_at(&self, offset: Bytes, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = buffer.len() as u64;
        let end = offset.0.checked_add(len).filter(|&end| end <= self.memory().0);
        let end = end.ok_or_else(|| ReadError::OutOfRange {
            object: self.top().name.clone(),
            offset: offset.0,
            len,
            memory: self.memory().0,
        })?;
        let chunk_len = self.chunk_size().bytes().0;
        let mut scratch = Scratch::default();
        let mut whole = Vec::new();
        let mut at = offset.0;
        let mut rest = buffer;
        while at < end {
            let into = at % chunk_len;
            let now = Bytes((chunk_len - into).min(end - at)).as_usize();
            let (part, behind) = rest.split_at_mut(now);
            let found = self.find(at / chunk_len)?;
            self.read_part(at / chunk_len, found, part, into, &mut whole, &mut scratch)?;
            (rest, at) = (behind, at + now as u64);
        }
        Ok(())
    }

    /// Returns the chunks from `first` on, in order, that may be anything but zeros.
    ///
    /// # Errors
    /// Each item is one if the index cannot be read there.
    pub fn chunks(&self, first: u64) -> impl Iterator<Item = Result<u64, ReadError>> + '_ {
        let count = self.chunk_size().count(self.memory());
        let mut at = first;
        let mut block: Option<(u64, Bitmap)> = None;
        std::iter::from_fn(move || {
            while at < count {
                let number = at / BLOCK_CHUNKS;
                let bitmap = match &block {
                    Some((known, bitmap)) if *known == number => bitmap,
                    _ => match self.occupied(number) {
                        Ok(bitmap) => &block.insert((number, bitmap)).1,
                        Err(error) => {
                            at = count;
                            return Some(Err(error));
                        }
                    },
                };
                let slot = usize::try_from(at % BLOCK_CHUNKS).expect("below 512");
                let next = (slot..BITMAP_LEN * 8).find(|&slot| has(bitmap, slot));
                match next.map(|next| number * BLOCK_CHUNKS + next as u64) {
                    Some(chunk) if chunk < count => {
                        at = chunk + 1;
                        return Some(Ok(chunk));
                    }
                    _ => at = (number + 1) * BLOCK_CHUNKS,
                }
            }
            None
        })
    }

    pub(super) fn top(&self) -> &Layer {
        self.layers.first().expect("an image has a layer")
    }

    /// Returns which chunks of a block any layer knows of.
    fn occupied(&self, number: u64) -> Result<Bitmap, ReadError> {
        let mut all = [0; BITMAP_LEN / 8];
        for layer in self.layers.iter().filter(|layer| number < layer.footer.blocks()) {
            let bitmap = layer.occupied(number)?;
            all.iter_mut().zip(bitmap).for_each(|(all, word)| *all |= word);
        }
        Ok(all)
    }

    /// Looks a chunk up, top layer first.
    pub(super) fn find(&self, chunk: u64) -> Result<Found, ReadError> {
        for (number, layer) in self.layers.iter().enumerate() {
            if let Some(entry) = layer.entry(chunk)? {
                return self.resolve(number, entry);
            }
            // Behind the end of a layer there were zeros when the one above was made.
            if chunk >= layer.chunks() {
                break;
            }
        }
        Ok(Found::Nothing)
    }

    /// Says which layer an entry of layer `number` means.
    pub(super) fn resolve(&self, number: usize, entry: Entry) -> Result<Found, ReadError> {
        let (place, digest) = match entry {
            Entry::Fill(word) => return Ok(Found::Fill(word)),
            Entry::Data(place, digest) => (place, digest),
        };
        let layer = number + usize::from(place.below);
        if layer >= self.layers.len() {
            let expected = format!("at most {} layers further down", self.layers.len() - number);
            let bad = Bad::new(0, "layer of a chunk", expected, place.below);
            return Err(bad.within(&self.layers[number].name, place.offset));
        }
        Ok(Found::Data { layer, place, digest })
    }

    /// Fills `out`, which is one chunk long, with a chunk's content.
    pub(super) fn read_chunk(
        &self,
        chunk: u64,
        found: Found,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<(), ReadError> {
        match found {
            Found::Nothing => out.fill(0),
            Found::Fill(word) => fill(word, out),
            Found::Data { layer, place, digest } => {
                let layer = &self.layers[layer];
                layer.stored(&place, &mut scratch.0)?;
                let right = crc32c::crc32c(&scratch.0) == place.crc
                    && place.method.expand(&scratch.0, out)
                    && Digest::of(out) == digest;
                if !right {
                    let (object, offset) = (layer.name.clone(), place.offset);
                    return Err(ReadError::Damaged { object, chunk, offset, digest });
                }
            }
        }
        Ok(())
    }

    /// Fills `part` with a chunk's content from `into` on; only a whole one is read in place.
    fn read_part(
        &self,
        chunk: u64,
        found: Found,
        part: &mut [u8],
        into: u64,
        whole: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), ReadError> {
        if part.len() as u64 == self.chunk_size().bytes().0 {
            return self.read_chunk(chunk, found, part, scratch);
        }
        if found == Found::Nothing {
            part.fill(0);
            return Ok(());
        }
        whole.resize(self.chunk_size().bytes().as_usize(), 0);
        self.read_chunk(chunk, found, whole, scratch)?;
        let into = Bytes(into).as_usize();
        part.copy_from_slice(&whole[into..into + part.len()]);
        Ok(())
    }
}
