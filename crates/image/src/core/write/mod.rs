//! Writing cores: pages in any order ([`RawWriter`]) or as a compressed stream in address order
//! ([`CompressedWriter`]).
//!
//! Called by the snapshot service. Both keep a ledger of what was saved and end in
//! `finish`, which writes notes and headers and publishes the file.

mod compressed;
mod data_file;
mod raw;

use std::io;
use std::path::{Path, PathBuf};

use faultless_pages::{Bytes, Va};

pub use compressed::{CompressedWriter, Compression};
pub use raw::RawWriter;

use super::layout::LayoutError;
use super::notes::NotesError;
use super::record::Record;

/// A core that is whole and has its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Length of the core, holes included; what `zstd -d` makes of a compressed one.
    pub core_len: Bytes,
    /// Length of the file.
    pub file_len: Bytes,
    /// What the core says about itself: page counts, freed and shared ranges, checksums.
    pub record: Record,
}

/// Why a core could not be written. The file is gone when the writer is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The output exists and replacing it was not asked for.
    #[error("{} exists; choose another name or replace it with --force", file.display())]
    Exists {
        /// The output.
        file: PathBuf,
    },
    /// The output is a directory, a device or another thing that is no file.
    #[error("`{}` is not the name of a regular file; choose another", file.display())]
    NotAFile {
        /// The output.
        file: PathBuf,
    },
    /// The directory of the output does not exist.
    #[error("the directory of {} does not exist; create it or choose another", file.display())]
    NoDirectory {
        /// The output.
        file: PathBuf,
    },
    /// No right to create the output.
    #[error("no permission to write {}; choose a directory you can write to", file.display())]
    Denied {
        /// The output.
        file: PathBuf,
    },
    /// The file system of the output is mounted read-only.
    #[error("{} lies on a read-only file system; choose another", file.display())]
    ReadOnly {
        /// The output.
        file: PathBuf,
    },
    /// The disk or the quota is full.
    #[error(
        "no space left for {}: {source}; free some, choose another disk, or try --compress",
        file.display()
    )]
    NoSpace {
        /// The output.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The core is longer than the file system or the limit of the process allows.
    #[error(
        "{} grows beyond the largest file allowed here; raise `ulimit -f`, choose another file \
         system, or try --compress",
        file.display()
    )]
    TooLarge {
        /// The output.
        file: PathBuf,
    },
    /// Anything else the system refused.
    #[error("cannot {doing} {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A run that is not whole pages within the dumped parts of segments.
    #[error("the {len:?} at {address} are not whole pages of dumped segments")]
    OutsideLayout {
        /// Where the run starts.
        address: Va,
        /// Its length.
        len: Bytes,
    },
    /// A run that holds a page saved before.
    #[error("the {len:?} at {address} hold a page that was saved before")]
    SavedTwice {
        /// Where the run starts.
        address: Va,
        /// Its length.
        len: Bytes,
    },
    /// A run before one already compressed.
    #[error("the run at {address} comes after a later one; a compressed core is a stream")]
    OutOfOrder {
        /// Where the run starts.
        address: Va,
    },
    /// The segments cannot be laid out.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The notes cannot be written.
    #[error(transparent)]
    Notes(#[from] NotesError),
}

impl WriteError {
    /// Sorts an error of the system by what the user can do about it.
    ///
    /// | errno | variant |
    /// |---|---|
    /// | EEXIST | [`WriteError::Exists`] |
    /// | ENOENT, ENOTDIR | [`WriteError::NoDirectory`] |
    /// | EACCES, EPERM | [`WriteError::Denied`] |
    /// | EROFS | [`WriteError::ReadOnly`] |
    /// | ENOSPC, EDQUOT | [`WriteError::NoSpace`] |
    /// | EFBIG | [`WriteError::TooLarge`] |
    /// | others | [`WriteError::Io`], which says what was being done |
    #[must_use]
    pub fn io(file: &Path, doing: &'static str, source: io::Error) -> WriteError {
        use io::ErrorKind;
        let file = file.to_path_buf();
        match source.kind() {
            ErrorKind::AlreadyExists => WriteError::Exists { file },
            ErrorKind::NotFound | ErrorKind::NotADirectory => WriteError::NoDirectory { file },
            ErrorKind::PermissionDenied => WriteError::Denied { file },
            ErrorKind::ReadOnlyFilesystem => WriteError::ReadOnly { file },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                WriteError::NoSpace { file, source }
            }
            ErrorKind::FileTooLarge => WriteError::TooLarge { file },
            _ => WriteError::Io { file, doing, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn errors_of_the_system_name_file_and_next_step() {
        let text =
            |errno: Errno| WriteError::io("a.core".as_ref(), "write", errno.into()).to_string();
        assert!(text(Errno::NOSPC).contains("no space left for a.core"));
        assert!(text(Errno::DQUOT).contains("free some"));
        assert!(text(Errno::EXIST).contains("--force"));
        assert!(text(Errno::FBIG).contains("ulimit -f"));
        assert!(text(Errno::ROFS).contains("read-only"));
        assert!(text(Errno::ACCESS).contains("no permission to write a.core"));
        assert!(text(Errno::IO).starts_with("cannot write a.core: "));
    }
}
