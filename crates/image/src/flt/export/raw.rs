//! Makes a raw memory file of an image.

use std::os::unix::fs::FileExt;

use faultless_pages::Bytes;

use super::super::error::WriteError;
use super::super::reader::{Image, Scratch};
use crate::core::{self, PendingFile};

/// Writes all memory of an image as it is from offset 0 on, zeros as holes, and gives the file
/// its name. Every chunk is compared with its digest on the way.
///
/// `progress` hears how many bytes of memory were passed, and ends the work by returning `false`.
///
/// # Errors
/// [`WriteError`] for either side; [`WriteError::Stopped`] if `progress` said so.
pub fn export_raw(
    image: &Image,
    pending: PendingFile,
    mut progress: impl FnMut(Bytes) -> bool,
) -> Result<(), WriteError> {
    let (size, memory) = (image.chunk_size().bytes().0, image.memory().0);
    let extended = pending.file().set_len(memory);
    extended.map_err(|e| core::WriteError::io(pending.path(), "extend", e))?;
    let mut content = image.chunk_size().buffer();
    let mut scratch = Scratch::default();
    for chunk in image.chunks(0) {
        let chunk = chunk?;
        image.read_chunk(chunk, image.find(chunk)?, &mut content, &mut scratch)?;
        let start = chunk * size;
        let len = Bytes((memory - start).min(size)).as_usize();
        if !core::checksum::is_zero(&content[..len]) {
            let written = pending.file().write_all_at(&content[..len], start);
            written.map_err(|e| core::WriteError::io(pending.path(), "write", e))?;
        }
        if !progress(Bytes(start)) {
            return Err(WriteError::Stopped);
        }
    }
    Ok(pending.publish()?)
}
