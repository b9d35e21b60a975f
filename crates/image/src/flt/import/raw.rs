//! A raw memory file: guest memory from its first byte to its last, as Firecracker and most VMMs
//! write it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use faultless_pages::{Bytes, Va};

use super::super::tables::Region;
use super::{ImportError, Source};
use crate::core::Access;
use crate::core::source::raw_extent;

/// A raw memory file, possibly sparse.
pub struct RawFile {
    path: PathBuf,
    file: File,
    len: u64,
}

impl RawFile {
    /// Opens the file.
    ///
    /// # Errors
    /// [`ImportError`] if it cannot be opened or is none.
    pub fn open(path: &Path) -> Result<RawFile, ImportError> {
        let io = |source| ImportError::Io { file: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(ImportError::NotAFile { file: path.to_path_buf() });
        }
        Ok(RawFile { path: path.to_path_buf(), file, len: metadata.len() })
    }

    fn io(&self, source: io::Error) -> ImportError {
        ImportError::Io { file: self.path.clone(), source }
    }
}

impl Source for RawFile {
    fn memory(&self) -> Bytes {
        Bytes(self.len)
    }

    /// One region from address 0: where the memory lay is not in the file.
    fn regions(&self) -> Vec<Region> {
        let len = Bytes(self.len);
        let access = Access { read: true, write: true, execute: true };
        vec![Region { address: Va(0), len, offset: Bytes::ZERO, held: len, access }]
    }

    fn next_data(&self, from: u64) -> Result<Option<(u64, u64)>, ImportError> {
        raw_extent(&self.file, from).map_err(|error| self.io(error))
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImportError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| self.io(error))
    }
}
