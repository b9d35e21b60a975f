//! Makes one image, which stands by itself, of all layers of another.

use faultless_pages::Bytes;

use super::codec::Codec;
use super::error::WriteError;
use super::reader::{Image, Scratch};
use super::store::NewObject;
use super::writer::{ImageWriter, Options, Written};

/// Writes an image with the same memory and no layer below it. Every chunk is compared with its
/// digest on the way.
///
/// `progress` hears how many bytes of memory were passed, and ends the work by returning `false`.
///
/// # Errors
/// [`WriteError`] for either side; [`WriteError::Stopped`] if `progress` said so.
pub fn squash<O: NewObject>(
    image: &Image,
    object: O,
    codec: Codec,
    mut progress: impl FnMut(Bytes) -> bool,
) -> Result<Written, WriteError> {
    let top = image.top();
    let options = Options {
        chunk: image.chunk_size(),
        codec,
        memory: image.memory(),
        regions: image.regions().to_vec(),
        time_unix_ns: top.footer.time_unix_ns,
        tool_version: top.tables.tool_version.clone(),
        notes: image.notes().cloned(),
    };
    let mut writer = ImageWriter::new(object, options, None)?;
    let mut content = image.chunk_size().buffer();
    let mut scratch = Scratch::default();
    for chunk in image.chunks(0) {
        let chunk = chunk?;
        image.read_chunk(chunk, image.find(chunk)?, &mut content, &mut scratch)?;
        writer.put(chunk, &content)?;
        if !progress(Bytes(chunk * image.chunk_size().bytes().0)) {
            return Err(WriteError::Stopped);
        }
    }
    writer.finish()
}
