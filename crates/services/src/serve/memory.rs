//! What is served: memory in a file, whichever kind of file it is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use faultless_image::flt::{
    ChunkSize, Folder, Image, ImportError, RawFile, ReadError, Source, is_image, open_core,
};
use faultless_pages::Bytes;

use super::cache::Cache;

/// Why an image cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refused.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An image that cannot be read.
    #[error(transparent)]
    Image(#[from] ReadError),
    /// A raw memory file or a core that cannot be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// There is nothing in it.
    #[error("{} holds no memory", .0.display())]
    Empty(PathBuf),
}

/// Why a piece of memory could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PieceError {
    /// It may work another time.
    #[error("{0}")]
    Passing(String),
    /// It is lost.
    #[error("{0}")]
    Corrupt(String),
}

/// Memory that clients get pages of.
pub struct Memory {
    held: Held,
    len: Bytes,
}

enum Held {
    /// Chunks are decompressed once for all clients, as far as the cache holds them.
    Image { image: Image, cache: Cache },
    /// The page cache does that for files.
    Plain(Box<dyn Source>),
}

impl Memory {
    /// Opens a file: an image of this project, an ELF core, or, if it is neither, raw memory such
    /// as the memory file of a Firecracker snapshot. `cache` bounds what is kept decompressed.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path, cache: Bytes) -> Result<Memory, OpenError> {
        let io = |source| OpenError::Io { file: path.to_owned(), source };
        let mut first = Vec::new();
        File::open(path).and_then(|file| file.take(16).read_to_end(&mut first)).map_err(io)?;
        let held = if is_image(&first) {
            let invalid = || io(io::Error::from(io::ErrorKind::InvalidInput));
            let (folder, name) = Folder::of(path).ok_or_else(invalid)?;
            let image = Image::open(&folder, &name)?;
            let chunk = image.chunk_size().bytes();
            Held::Image { image, cache: Cache::new(chunk, cache) }
        } else if first.starts_with(b"\x7fELF") {
            Held::Plain(open_core(path, ChunkSize::default())?)
        } else {
            Held::Plain(Box::new(RawFile::open(path)?))
        };
        let len = match &held {
            Held::Image { image, .. } => image.memory(),
            Held::Plain(source) => source.memory(),
        };
        if len == Bytes::ZERO {
            return Err(OpenError::Empty(path.to_owned()));
        }
        Ok(Memory { held, len })
    }

    /// Returns how much memory there is.
    #[must_use]
    pub fn len(&self) -> Bytes {
        self.len
    }

    /// Says whether there is none: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == Bytes::ZERO
    }

    /// Fills `buffer` from `offset` on; behind the end of the memory lie zeros.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), PieceError> {
        let left = usize::try_from(self.len.0.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (held, beyond) = buffer.split_at_mut(left.min(buffer.len()));
        beyond.fill(0);
        if held.is_empty() {
            return Ok(());
        }
        match &self.held {
            Held::Image { image, cache } => cache
                .read(offset, held, |at, chunk| image.read_at(Bytes(at), chunk))
                .map_err(|error| kind(&error)),
            Held::Plain(source) => {
                source.read(offset, held).map_err(|error| PieceError::Passing(error.to_string()))
            }
        }
    }

    /// Returns how much of it is kept decompressed.
    #[must_use]
    pub fn cached(&self) -> Bytes {
        match &self.held {
            Held::Image { cache, .. } => cache.held(),
            Held::Plain(_) => Bytes::ZERO,
        }
    }
}

/// Tells what may pass from what is lost for good.
fn kind(error: &ReadError) -> PieceError {
    match error {
        ReadError::Io { .. } => PieceError::Passing(error.to_string()),
        _ => PieceError::Corrupt(error.to_string()),
    }
}
