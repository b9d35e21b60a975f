//! The Debian programs a guest has besides our own: what tests take as targets and helpers.
//!
//! [`super::run`] packs the tree into the initramfs. Packages are unpacked without running their
//! scripts, which is enough for programs that need no configuration.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::apt::Apt;
use super::initramfs::Archive;

/// Programs the tests start (cat, sleep, python3, setpriv, sh), what makes the disk's file system,
/// and what a person debugging wants.
const PACKAGES: &[&str] =
    &["coreutils", "dash", "e2fsprogs", "grep", "procps", "python3", "util-linux"];

/// Directories that are links into `/usr` on every Debian since 12.
const MERGED: &[&str] = &["bin", "lib", "lib64", "sbin"];

/// What no test reads, half of the tree by size.
const LEFT_OUT: &[&str] = &[
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
];

/// Fetches the suite's programs unless they are there already; returns the directory of the tree.
pub(crate) fn fetch(apt: &Apt) -> Result<PathBuf> {
    let dir = apt.dir().join("userland");
    if !dir.exists() {
        apt.update()?;
        apt.unpack(PACKAGES, true, &dir)?;
    }
    Ok(dir)
}

/// Adds the tree to the archive, with `/bin` and its like linked into `/usr`.
pub(crate) fn pack<W: Write>(tree: &Path, archive: &mut Archive<W>) -> io::Result<()> {
    for dir in MERGED {
        archive.symlink(&format!("/{dir}"), &format!("usr/{dir}"))?;
    }
    pack_below(tree, "", archive)
}

fn pack_below<W: Write>(tree: &Path, below: &str, archive: &mut Archive<W>) -> io::Result<()> {
    for entry in fs::read_dir(tree.join(below))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type()?;
        if LEFT_OUT.contains(&path.as_str()) {
            continue;
        }
        if kind.is_dir() {
            pack_below(tree, &path, archive)?;
        } else if kind.is_symlink() {
            let destination = fs::read_link(entry.path())?;
            archive.symlink(&merged(&path), &destination.to_string_lossy())?;
        } else {
            let mode = entry.metadata()?.permissions().mode();
            archive.file(&merged(&path), mode, &fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Where a package's file ends up: below `/usr`, although older packages say `/lib`.
fn merged(path: &str) -> String {
    let top = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&top) { format!("/usr/{path}") } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_unmerged_packages_land_below_usr() {
        assert_eq!(merged("lib/x86_64-linux-gnu/libc.so.6"), "/usr/lib/x86_64-linux-gnu/libc.so.6");
        assert_eq!(merged("usr/bin/cat"), "/usr/bin/cat");
        assert_eq!(merged("library"), "/library");
    }
}
