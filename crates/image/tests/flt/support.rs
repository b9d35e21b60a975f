//! A store in memory, and short ways to write and read images in it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use faultless_image::core::WriteError;
use faultless_image::flt::{
    ChunkSize, Codec, Image, ImageWriter, NewObject, Object, Options, Store, Written,
};
use faultless_pages::Bytes;

pub(crate) const PAGE: usize = 4096;

/// Objects in memory, and how many bytes of them were read.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    objects: Arc<Mutex<BTreeMap<String, Arc<Vec<u8>>>>>,
    read: Arc<AtomicU64>,
}

impl Memory {
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        self.objects.lock().unwrap()[name].to_vec()
    }

    pub(crate) fn set(&self, name: &str, bytes: Vec<u8>) {
        self.objects.lock().unwrap().insert(name.to_owned(), Arc::new(bytes));
    }

    /// Returns the bytes read since this was asked last.
    pub(crate) fn take_read(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn create(&self, name: &str) -> NewInMemory {
        NewInMemory { store: self.clone(), name: name.to_owned(), bytes: Vec::new() }
    }

    pub(crate) fn open(&self, name: &str) -> Image {
        Image::open(self, name).unwrap()
    }
}

impl Store for Memory {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Object>> {
        let objects = self.objects.lock().unwrap();
        let bytes = objects.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(InMemory { bytes: Arc::clone(bytes), read: Arc::clone(&self.read) }))
    }
}

struct InMemory {
    bytes: Arc<Vec<u8>>,
    read: Arc<AtomicU64>,
}

impl Object for InMemory {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let range = offset..offset + buffer.len();
        buffer.copy_from_slice(self.bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

pub(crate) struct NewInMemory {
    store: Memory,
    name: String,
    bytes: Vec<u8>,
}

impl NewObject for NewInMemory {
    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.bytes.extend(bytes);
        Ok(())
    }

    fn publish(self) -> Result<(), WriteError> {
        self.store.set(&self.name, self.bytes);
        Ok(())
    }
}

/// Options for small chunks.
pub(crate) fn options(memory: usize, codec: Codec) -> Options {
    Options {
        chunk: ChunkSize::MIN,
        codec,
        memory: Bytes::from(memory),
        tool_version: "faultless test".to_owned(),
        ..Options::default()
    }
}

/// Puts all of `memory` into a writer and finishes it.
pub(crate) fn write<O: NewObject>(mut writer: ImageWriter<O>, memory: &[u8]) -> Written {
    let mut chunk = writer.chunk_size().buffer();
    for (number, content) in (0..).zip(memory.chunks(chunk.len())) {
        chunk.fill(0);
        chunk[..content.len()].copy_from_slice(content);
        writer.put(number, &chunk).unwrap();
    }
    writer.finish().unwrap()
}

/// Writes an image of `memory`, over `parent` if there is one.
pub(crate) fn image(
    store: &Memory,
    name: &str,
    memory: &[u8],
    codec: Codec,
    parent: Option<&str>,
) -> Written {
    let below = parent.map(|parent| (parent.to_owned(), Arc::new(store.open(parent))));
    let options = options(memory.len(), codec);
    write(ImageWriter::new(store.create(name), options, below).unwrap(), memory)
}

/// Reads all memory of an image.
pub(crate) fn read_all(image: &Image) -> Vec<u8> {
    let mut memory = vec![0xaa; image.memory().as_usize()];
    image.read_at(Bytes(0), &mut memory).unwrap();
    memory
}

/// Bytes that do not compress, different for each seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

/// Bytes that compress, different for each seed.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    format!("page {seed} holds words and words; ").bytes().cycle().take(len).collect()
}
