//! Images in layers.
//!
//! An image guards every byte with checksums, so damage alone gets nowhere. The first byte of an
//! input says whether they are made right again before it is read.

use std::io;
use std::sync::{Arc, Mutex};

use faultless_image::core::WriteError;
use faultless_image::flt::{
    ChunkSize, Codec, Image, ImageWriter, NewObject, Object, Options, Store,
};
use faultless_pages::Bytes;

use crate::way;

const PAGE: usize = 4096;
const FOOTER_LEN: usize = 256;
/// Bytes of the memory that are read of an image that claims to hold more.
const READ_MAX: u64 = 1 << 20;

/// Opens, describes, reads and checks.
pub fn run(data: &[u8]) -> u64 {
    let Some((&[sealed], bytes)) = data.split_first_chunk::<1>() else { return 0 };
    let mut bytes = bytes.to_vec();
    if sealed % 4 != 0 {
        seal(&mut bytes);
    }
    let store = One::of(bytes);
    let image = match Image::open(&store, "top.flt") {
        Ok(image) => image,
        Err(error) => return way(&kind_of(&error)),
    };
    let _ = image.summary();
    let read = read(&image).map_err(|error| kind_of(&error));
    // Walking an index that claims to be huge is slow, not wrong.
    let checked = (image.memory().0 <= READ_MAX).then(|| image.check(|_| true).is_ok());
    way(&format!("{read:?} {checked:?}"))
}

fn read(image: &Image) -> Result<(), faultless_image::flt::ReadError> {
    let mut piece = vec![0; PAGE];
    let held = image.memory().0;
    let mut offset = 0;
    while offset < held.min(READ_MAX) {
        let now = usize::try_from((held - offset).min(PAGE as u64)).expect("at most a page");
        image.read_at(Bytes(offset), &mut piece[..now])?;
        offset += now as u64;
    }
    image.chunks(0).take(64).try_for_each(|chunk| chunk.map(drop))
}

/// The error's words, without what the object put into them.
fn kind_of(error: &faultless_image::flt::ReadError) -> String {
    let words = error.to_string();
    // Quoted names and numbers of the object follow.
    words.split(", found").next().unwrap_or_default().to_owned()
}

/// Makes the checksums of head, root page, tables and footer right, where they can be found.
fn seal(bytes: &mut [u8]) {
    put(bytes, 12, 0, 12);
    let Some(footer) = bytes.len().checked_sub(FOOTER_LEN) else { return };
    let word = |bytes: &[u8], at: usize| {
        let number = bytes.get(at..at + 8)?.first_chunk::<8>()?;
        usize::try_from(u64::from_le_bytes(*number)).ok()
    };
    let places = (word(bytes, footer + 40), word(bytes, footer + 48), word(bytes, footer + 56));
    if let (Some(blocks), Some(root), Some(tables)) = places {
        put(bytes, root.saturating_add(12), blocks, root);
        put(bytes, tables.saturating_sub(4), root, tables.saturating_sub(4));
        put(bytes, footer + 72, tables, footer);
    }
    put(bytes, footer + 252, footer, footer + 252);
}

/// Puts the checksum of `from..to` at `at`, if there is such a place.
fn put(bytes: &mut [u8], at: usize, from: usize, to: usize) {
    let Some(crc) = bytes.get(from..to).map(crc32c::crc32c) else { return };
    let end = at.saturating_add(4);
    if let Some(place) = bytes.get_mut(at..end) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Images with every kind of entry.
pub fn seeds() -> Vec<Vec<u8>> {
    let text: Vec<u8> = b"page by page ".iter().copied().cycle().take(PAGE).collect();
    let noise: Vec<u8> = (0..PAGE).map(|n| (n * n >> 3).to_le_bytes()[0] ^ 0x5a).collect();
    let memory = [&text[..], &[0; PAGE], &[7; PAGE], &noise, &text, &noise[..40]].concat();
    let codecs = [Codec::None, Codec::Lz4, Codec::Zstd { level: 1 }];
    codecs.into_iter().map(|codec| [vec![1], write(&memory, codec)].concat()).collect()
}

fn write(memory: &[u8], codec: Codec) -> Vec<u8> {
    let store = One::of(Vec::new());
    let options = Options {
        chunk: ChunkSize::MIN,
        codec,
        memory: Bytes::from(memory.len()),
        ..Options::default()
    };
    let mut writer = ImageWriter::new(store.clone(), options, None).expect("the options are right");
    for (number, content) in (0..).zip(memory.chunks(PAGE)) {
        let mut chunk = vec![0; PAGE];
        chunk[..content.len()].copy_from_slice(content);
        writer.put(number, &chunk).expect("memory takes any bytes");
    }
    writer.finish().expect("memory takes any bytes");
    store.bytes()
}

/// A store that holds one object, whatever it is called.
#[derive(Clone)]
struct One(Arc<Mutex<Vec<u8>>>);

impl One {
    fn of(bytes: Vec<u8>) -> One {
        One(Arc::new(Mutex::new(bytes)))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("nothing panics while it is held").clone()
    }
}

impl Store for One {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Object>> {
        if name != "top.flt" {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(InMemory(self.bytes())))
    }
}

impl NewObject for One {
    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.0.lock().expect("nothing panics while it is held").extend(bytes);
        Ok(())
    }

    fn publish(self) -> Result<(), WriteError> {
        Ok(())
    }
}

struct InMemory(Vec<u8>);

impl Object for InMemory {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(self.0.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
