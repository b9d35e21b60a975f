//! Memory from elsewhere: what can be made an image.

mod core;
mod criu;
mod raw;
mod space;

use std::io;
use std::path::PathBuf;

use faultless_pages::{Bytes, Va};

pub use self::core::open_core;
pub use criu::{criu_processes, open_criu};
pub use raw::RawFile;

use super::error::WriteError;
use super::store::NewObject;
use super::tables::{ElfNotes, Region};
use super::writer::{ImageWriter, Options};

/// Memory that can be read from anywhere.
pub trait Source: Send + Sync {
    /// Returns how much there is.
    fn memory(&self) -> Bytes;

    /// Returns where parts of it lay, sorted by offset.
    fn regions(&self) -> Vec<Region>;

    /// Returns what a core says beside memory, if it is one.
    fn notes(&self) -> Option<ElfNotes> {
        None
    }

    /// Returns the next stretch at or behind `from` that may hold anything but zeros.
    ///
    /// # Errors
    /// [`ImportError`].
    fn next_data(&self, from: u64) -> Result<Option<(u64, u64)>, ImportError>;

    /// Fills `buffer`, which ends with the memory at the latest, from `offset` on.
    ///
    /// # Errors
    /// [`ImportError`].
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImportError>;
}

/// Why memory from elsewhere cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The system refused.
    #[error("cannot read {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A core that cannot be read.
    #[error(transparent)]
    Core(#[from] crate::core::ReadError),
    /// A dump of CRIU that cannot be read.
    #[error("{}: {what}", file.display())]
    Criu {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Segments of a core that overlap.
    #[error("{} holds two things at {address}", file.display())]
    Contradiction {
        /// The core.
        file: PathBuf,
        /// Where.
        address: Va,
    },
    /// More memory than an image can hold.
    #[error("with the memory at {address} it is more than an image holds")]
    TooMuch {
        /// Where it becomes too much.
        address: Va,
    },
    /// A directory, a device or a pipe.
    #[error("{} is not a regular file", file.display())]
    NotAFile {
        /// The file.
        file: PathBuf,
    },
}

/// Puts all memory of a source into a writer made with [`Options::of`] it.
///
/// `progress` hears how many bytes were passed, and ends the work by returning `false`.
///
/// # Errors
/// [`WriteError`] for either side; [`WriteError::Stopped`] if `progress` said so.
pub fn copy<O: NewObject>(
    source: &dyn Source,
    writer: &mut ImageWriter<O>,
    mut progress: impl FnMut(Bytes) -> bool,
) -> Result<(), WriteError> {
    let (chunk, memory) = (writer.chunk_size(), source.memory());
    let mut content = chunk.buffer();
    let mut data = source.next_data(0)?;
    for number in 0..chunk.count(memory) {
        let start = number * chunk.bytes().0;
        let end = (start + chunk.bytes().0).min(memory.0);
        while let Some((_, to)) = data
            && to <= start
        {
            data = source.next_data(to)?;
        }
        if data.is_some_and(|(from, _)| from < end) {
            let len = Bytes(end - start).as_usize();
            source.read(start, &mut content[..len])?;
            content[len..].fill(0);
            writer.put(number, &content)?;
        } else {
            writer.put_zeros(number)?;
        }
        if !progress(Bytes(end)) {
            return Err(WriteError::Stopped);
        }
    }
    Ok(())
}

impl Options {
    /// Takes memory, regions and notes from a source.
    #[must_use]
    pub fn of(source: &dyn Source) -> Options {
        Options {
            memory: source.memory(),
            regions: source.regions(),
            notes: source.notes(),
            ..Options::default()
        }
    }
}
