//! A file under its final name is whole: temporary file, sync, then the name.
//!
//! Where the file system can, the temporary file has no name at all (`O_TMPFILE`), so that even
//! a writer killed outright leaves nothing behind. Elsewhere it stands beside the final name as
//! `NAME.partial-PID-N` and goes when the [`PendingFile`] is dropped.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};

use super::write::WriteError;

/// What to do when the output exists already.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnExisting {
    /// Leave it alone and fail.
    #[default]
    Refuse,
    /// Replace it, in one step, once the new file is whole.
    Replace,
}

/// Only the owner: a core holds whatever secrets the process held.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Names tried before giving up; each taken one belongs to a writer that was killed.
const NAME_TRIES: u32 = 1000;

/// A file that does not have its name yet.
///
/// Dropping it without [`publish`](PendingFile::publish) leaves nothing behind.
#[derive(Debug)]
pub struct PendingFile {
    file: File,
    path: PathBuf,
    directory: PathBuf,
    on_existing: OnExisting,
    /// Bring it to the disk before it gets its name.
    sync: bool,
    /// The name it has meanwhile; `None` for a file without one.
    temporary: Option<PathBuf>,
}

impl PendingFile {
    /// Creates an empty file that will be called `path`, readable by its owner only.
    ///
    /// Done before the process is stopped, so that what is wrong with the output shows before it
    /// costs anything.
    ///
    /// # Errors
    /// | errno | variant |
    /// |---|---|
    /// | EEXIST | [`WriteError::Exists`], also found before anything is created |
    /// | ENOENT | [`WriteError::NoDirectory`] |
    /// | EACCES, EPERM | [`WriteError::Denied`] |
    /// | EROFS | [`WriteError::ReadOnly`] |
    /// | ENOSPC, EDQUOT | [`WriteError::NoSpace`] |
    pub fn create(path: &Path, on_existing: OnExisting) -> Result<PendingFile, WriteError> {
        check_name(path, on_existing)?;
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let (file, temporary) = match create_nameless(&directory) {
            Ok(file) => (file, None),
            // The file system cannot, or /proc is missing and the file could never get a name.
            Err(_) => {
                let (file, name) = create_beside(path)?;
                (file, Some(name))
            }
        };
        let path = path.to_path_buf();
        Ok(PendingFile { file, path, directory, on_existing, sync: true, temporary })
    }

    /// Leaves the file to the page cache: it gets its name without waiting for the disk.
    ///
    /// Whoever sees the name sees the whole file, as long as the machine does not crash.
    #[must_use]
    pub fn without_sync(mut self) -> PendingFile {
        self.sync = false;
        self
    }

    /// Returns the name the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Says whether the file is to be on the disk when it gets its name.
    pub(super) fn is_synced(&self) -> bool {
        self.sync
    }

    /// Opens the file a second time, for writing past the page cache (`O_DIRECT`).
    ///
    /// # Errors
    /// EINVAL: the file system cannot; ENOENT: there is no `/proc`.
    pub(super) fn reopen_direct(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(CWD, proc_name(&self.file), flags, Mode::empty())?))
    }

    /// Brings the content to the disk, unless that is [not wanted](PendingFile::without_sync),
    /// then gives the file its name.
    ///
    /// # Errors
    /// As [`PendingFile::create`]; EEXIST also if somebody made the file meanwhile.
    pub fn publish(mut self) -> Result<(), WriteError> {
        if self.sync {
            self.file.sync_all().map_err(|e| WriteError::io(&self.path, "sync", e))?;
        }
        let named = match (self.temporary.take(), self.on_existing) {
            (None, OnExisting::Refuse) => link_nameless(&self.file, &self.path),
            (None, OnExisting::Replace) => {
                self.temporary = Some(self.link_beside()?);
                self.rename(OnExisting::Replace)
            }
            (Some(name), on_existing) => {
                self.temporary = Some(name);
                self.rename(on_existing)
            }
        };
        named.map_err(|e| WriteError::io(&self.path, "name", e))?;
        self.temporary = None;
        if self.sync { self.sync_directory() } else { Ok(()) }
    }

    /// Brings the name to the disk: a rename is there only when its directory is.
    fn sync_directory(&self) -> Result<(), WriteError> {
        let directory = match File::open(&self.directory) {
            // One may write to a directory one may not read; the file is whole all the same.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            directory => directory,
        };
        directory
            .and_then(|directory| directory.sync_all())
            .map_err(|e| WriteError::io(&self.directory, "sync the directory", e))
    }

    /// Moves the temporary name to the final one.
    fn rename(&self, on_existing: OnExisting) -> io::Result<()> {
        let from = self.temporary.as_deref().expect("a temporary name");
        if on_existing == OnExisting::Replace {
            return std::fs::rename(from, &self.path);
        }
        match rustix::fs::renameat_with(CWD, from, CWD, &self.path, RenameFlags::NOREPLACE) {
            // Some network file systems know no flags: a hard link refuses to replace as well.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                std::fs::hard_link(from, &self.path)?;
                std::fs::remove_file(from)
            }
            result => Ok(result?),
        }
    }

    /// Gives a nameless file a temporary name, because linking cannot replace but renaming can.
    fn link_beside(&self) -> Result<PathBuf, WriteError> {
        for_free_name(&self.path, |name| {
            link_nameless(&self.file, name).map(|()| name.to_path_buf())
        })
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            // Nothing better can be done about a name that cannot be removed.
            let _ = std::fs::remove_file(name);
        }
    }
}

/// Refuses what stands under the final name already and may not be replaced, and names no file
/// can have: a nameless file would show them only at the end.
fn check_name(path: &Path, on_existing: OnExisting) -> Result<(), WriteError> {
    let file = path.to_path_buf();
    if path.as_os_str().is_empty() || path.as_os_str().as_bytes().ends_with(b"/") {
        return Err(WriteError::NotAFile { file });
    }
    let existing = match std::fs::symlink_metadata(path) {
        Ok(existing) => existing,
        // The directory is looked at when the file is made in it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(WriteError::io(path, "use the name", error)),
    };
    if on_existing == OnExisting::Refuse {
        Err(WriteError::Exists { file })
    } else if !existing.is_file() {
        // Replacing /dev/null or a directory by a core is never what was meant.
        Err(WriteError::NotAFile { file })
    } else {
        Ok(())
    }
}

fn create_nameless(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(CWD, directory, flags, MODE)?);
    // Without /proc it could never be linked.
    std::fs::symlink_metadata(proc_name(&file))?;
    Ok(file)
}

fn link_nameless(file: &File, to: &Path) -> io::Result<()> {
    let from = proc_name(file);
    Ok(rustix::fs::linkat(CWD, from, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
}

fn proc_name(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn create_beside(path: &Path) -> Result<(File, PathBuf), WriteError> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    for_free_name(path, |name| {
        let file = rustix::fs::openat(CWD, name, flags, MODE)?;
        Ok((File::from(file), name.to_path_buf()))
    })
}

/// Tries temporary names for `path` until `make` finds one that is free.
fn for_free_name<T>(
    path: &Path,
    mut make: impl FnMut(&Path) -> io::Result<T>,
) -> Result<T, WriteError> {
    let mut taken = None;
    for attempt in 0..NAME_TRIES {
        let mut name = OsString::from(path);
        name.push(format!(".partial-{}-{attempt}", std::process::id()));
        match make(Path::new(&name)) {
            Ok(made) => return Ok(made),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => taken = Some(e),
            Err(e) => return Err(WriteError::io(path, "create", e)),
        }
    }
    Err(WriteError::io(path, "create", taken.expect("tried")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(directory: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn dropping_leaves_nothing_and_publishing_leaves_the_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.core");
        drop(PendingFile::create(&path, OnExisting::Refuse).unwrap());
        assert!(names(directory.path()).is_empty());
        let pending = PendingFile::create(&path, OnExisting::Refuse).unwrap();
        pending.file().write_all(b"whole").unwrap();
        assert!(!path.exists());
        pending.publish().unwrap();
        assert_eq!(names(directory.path()), ["a.core"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_named_temporary_behaves_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.core");
        let named = |on_existing| {
            let (file, name) = create_beside(&path).unwrap();
            PendingFile {
                file,
                path: path.clone(),
                directory: directory.path().to_path_buf(),
                on_existing,
                sync: true,
                temporary: Some(name),
            }
        };
        drop(named(OnExisting::Refuse));
        assert!(names(directory.path()).is_empty());
        named(OnExisting::Refuse).publish().unwrap();
        assert_eq!(names(directory.path()), ["a.core"]);
        let refused = named(OnExisting::Refuse).publish();
        assert!(matches!(refused, Err(WriteError::Exists { .. })));
        named(OnExisting::Replace).publish().unwrap();
        assert_eq!(names(directory.path()), ["a.core"]);
    }

    #[test]
    fn an_existing_output_is_refused_at_once_and_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.core");
        let pending = PendingFile::create(&path, OnExisting::Refuse).unwrap();
        std::fs::write(&path, b"mine").unwrap();
        let late = pending.publish();
        assert!(matches!(late, Err(WriteError::Exists { .. })));
        let early = PendingFile::create(&path, OnExisting::Refuse);
        assert!(matches!(early, Err(WriteError::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        assert_eq!(names(directory.path()), ["a.core"]);
    }

    #[test]
    fn replacing_is_one_step_and_spares_what_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.core");
        std::fs::write(&path, b"old").unwrap();
        let pending = PendingFile::create(&path, OnExisting::Replace).unwrap();
        pending.file().write_all(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        pending.publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let refused = PendingFile::create(directory.path(), OnExisting::Replace);
        assert!(matches!(refused, Err(WriteError::NotAFile { .. })));
    }

    #[test]
    fn a_name_no_file_can_have_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |name: &str| {
            let path = directory.path().join(name);
            PendingFile::create(&path, OnExisting::Refuse).expect_err("no such name")
        };
        assert!(matches!(refused("a/"), WriteError::NotAFile { .. }));
        assert!(matches!(refused(&"a".repeat(300)), WriteError::Io { .. }));
        let empty = PendingFile::create(Path::new(""), OnExisting::Refuse);
        assert!(matches!(empty, Err(WriteError::NotAFile { .. })));
        assert_eq!(names(directory.path()), Vec::<OsString>::new());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/a.core");
        let error = PendingFile::create(&path, OnExisting::Refuse).unwrap_err();
        assert!(matches!(error, WriteError::NoDirectory { .. }), "{error}");
    }
}
