//! A directory that is gone when the soak is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// A new, empty directory; removed with everything in it on drop.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one under `parent`, or under the system's directory for temporary files.
    pub(crate) fn new(parent: Option<&Path>) -> Result<Scratch> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("faultless-soak-{}-{number}", std::process::id());
        let path = parent.map_or_else(std::env::temp_dir, Path::to_owned).join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Scratch(path))
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the names of everything in it.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Removes every file in it; returns how many there were.
    pub(crate) fn empty(&self) -> Result<usize> {
        let names = self.names()?;
        for name in &names {
            std::fs::remove_file(self.0.join(name))?;
        }
        Ok(names.len())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}
