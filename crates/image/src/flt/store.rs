//! Where the objects of images lie: a folder, or whatever else can be read in ranges.
//!
//! An object is written once, from its start to its end, and never changed: an object store can
//! hold it as well as a file system. A reader asks for ranges of an object by name.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::{OnExisting, PendingFile, WriteError};

/// Written to the file at a time; chunks are smaller.
const BUFFER: usize = 1 << 20;
/// The longest name of an object: what file systems allow.
pub(super) const NAME_LEN_MAX: usize = 255;

/// An object that is whole.
#[expect(clippy::len_without_is_empty, reason = "no image is empty")]
pub trait Object: Send + Sync {
    /// Returns its length.
    fn len(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` where the object ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A place that holds objects by name.
pub trait Store {
    /// Opens an object.
    ///
    /// # Errors
    /// `NotFound` if there is none of the name; what the system says otherwise.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Object>>;
}

/// An object on its way into a store. Dropped without [`publish`](NewObject::publish), it leaves
/// nothing behind.
pub trait NewObject {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// [`WriteError`] names what the user can do about it.
    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError>;

    /// Makes the object appear under its name, whole and durable, or not at all.
    ///
    /// # Errors
    /// As [`append`](NewObject::append).
    fn publish(self) -> Result<(), WriteError>;
}

/// Says whether objects may have this name: one component of a path, so that what a layer says
/// of its parent never leads out of a store.
pub(super) fn is_name(name: &str) -> bool {
    let special = matches!(name, "" | "." | "..");
    !special && name.len() <= NAME_LEN_MAX && !name.contains(['/', '\0'])
}

/// A folder whose files are objects.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Takes a folder; whether it exists shows when something is opened.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Folder {
        Folder { path: path.into() }
    }

    /// Splits a path into the folder and the object's name; `None` if it has no such name.
    #[must_use]
    pub fn of(file: &Path) -> Option<(Folder, String)> {
        let name = file.file_name()?.to_str()?.to_owned();
        let parent = file.parent().filter(|parent| *parent != Path::new(""));
        Some((Folder::new(parent.unwrap_or(Path::new("."))), name))
    }

    /// Begins an object.
    ///
    /// # Errors
    /// As [`PendingFile::create`].
    pub fn create(&self, name: &str, on_existing: OnExisting) -> Result<NewFile, WriteError> {
        Ok(NewFile::new(PendingFile::create(&self.path.join(name), on_existing)?))
    }
}

impl Store for Folder {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Object>> {
        if !is_name(name) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no name of an object"));
        }
        let file = File::open(self.path.join(name))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(FileObject { file, len: metadata.len() }))
    }
}

struct FileObject {
    file: File,
    len: u64,
}

impl Object for FileObject {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// A file that does not have its name yet.
#[derive(Debug)]
pub struct NewFile {
    writer: BufWriter<Appending>,
}

#[derive(Debug)]
struct Appending(PendingFile);

impl io::Write for Appending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file().flush()
    }
}

impl NewFile {
    /// Takes a file that is still empty.
    #[must_use]
    pub fn new(pending: PendingFile) -> NewFile {
        NewFile { writer: BufWriter::with_capacity(BUFFER, Appending(pending)) }
    }
}

impl NewObject for NewFile {
    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let written = self.writer.write_all(bytes);
        written.map_err(|e| WriteError::io(self.writer.get_ref().0.path(), "write", e))
    }

    fn publish(mut self) -> Result<(), WriteError> {
        let flushed = self.writer.flush();
        flushed.map_err(|e| WriteError::io(self.writer.get_ref().0.path(), "write", e))?;
        let (pending, _) = self.writer.into_parts();
        pending.0.publish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lead_out_of_the_folder() {
        for bad in ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\0", &"a".repeat(256)] {
            assert!(!is_name(bad), "{bad:?}");
            let opened = Folder::new("/").open(bad).map(drop);
            assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        assert!(is_name("vm.flt"));
    }

    #[test]
    fn an_object_appears_when_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, name) = Folder::of(&directory.path().join("a.flt")).unwrap();
        let mut object = folder.create(&name, OnExisting::Refuse).unwrap();
        object.append(b"content").unwrap();
        assert_eq!(folder.open(&name).map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
        object.publish().unwrap();
        let object = folder.open(&name).unwrap();
        let mut read = [0; 4];
        object.read_at(3, &mut read).unwrap();
        assert_eq!((object.len(), &read), (7, b"tent"));
        assert!(object.read_at(4, &mut read).is_err());
    }
}
