//! A folder that appears whole: filled under another name, synced, renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use faultless_image::core::{OnExisting, PendingFile};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::error::VmError;
use super::manifest::MANIFEST;

/// A folder that does not have its name yet. Dropped without [`publish`](NewFolder::publish), it
/// goes with all that is in it.
#[derive(Debug)]
pub(super) struct NewFolder {
    path: PathBuf,
    temporary: PathBuf,
    force: bool,
}

impl NewFolder {
    /// Makes an empty folder that will be called `path`. With `force`, a saved VM of that name is
    /// replaced; anything else never is.
    pub(super) fn create(path: &Path, force: bool) -> Result<NewFolder, VmError> {
        let replaceable = force && path.join(MANIFEST).is_file();
        if fs::symlink_metadata(path).is_ok() && !replaceable {
            return Err(VmError::Exists(path.to_owned()));
        }
        let Some(name) = path.file_name() else {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(VmError::Folder { folder: path.to_owned(), source });
        };
        let mut other = OsString::from(name);
        other.push(format!(".partial-{}", std::process::id()));
        let temporary = path.with_file_name(other);
        fs::create_dir(&temporary)
            .map_err(|source| VmError::Folder { folder: temporary.clone(), source })?;
        Ok(NewFolder { path: path.to_owned(), temporary, force })
    }

    /// Returns where it is for now.
    pub(super) fn place(&self) -> &Path {
        &self.temporary
    }

    /// Adds a file.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), VmError> {
        use std::io::Write as _;
        let path = self.temporary.join(name);
        let pending = PendingFile::create(&path, OnExisting::Refuse)?;
        pending.file().write_all(content).map_err(|source| self.error(source))?;
        Ok(pending.publish()?)
    }

    /// Gives it its name, in one step.
    pub(super) fn publish(self) -> Result<(), VmError> {
        let parent = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let sync = |folder: &Path| File::open(folder).and_then(|folder| folder.sync_all());
        sync(&self.temporary).map_err(|source| self.error(source))?;
        let exchange = self.force && self.path.exists();
        let how = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, &self.temporary, CWD, &self.path, how)
            .map_err(|errno| self.error(errno.into()))?;
        sync(parent).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> VmError {
        VmError::Folder { folder: self.path.clone(), source }
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // After an exchange it is what was replaced; after a plain rename there is none.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn it_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vm");
        let folder = NewFolder::create(&path, false).unwrap();
        folder.write(MANIFEST, b"1").unwrap();
        assert!(!path.exists());
        drop(folder);
        assert!(names(directory.path()).is_empty());
        let folder = NewFolder::create(&path, false).unwrap();
        folder.write(MANIFEST, b"1").unwrap();
        folder.publish().unwrap();
        assert_eq!(names(directory.path()), ["vm"]);
    }

    #[test]
    fn only_a_saved_vm_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vm");
        fs::create_dir(&path).unwrap();
        assert!(matches!(NewFolder::create(&path, true), Err(VmError::Exists(_))));
        fs::write(path.join(MANIFEST), b"1").unwrap();
        assert!(matches!(NewFolder::create(&path, false), Err(VmError::Exists(_))));
        let folder = NewFolder::create(&path, true).unwrap();
        folder.write(MANIFEST, b"2").unwrap();
        folder.publish().unwrap();
        assert_eq!(fs::read(path.join(MANIFEST)).unwrap(), b"2");
        assert_eq!(names(directory.path()), ["vm"]);
    }
}
