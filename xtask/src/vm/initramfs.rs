//! Writes the archive a kernel unpacks as its first root file system: the cpio format "newc".
//!
//! [`super::run`] fills one with the test programs. Written here because the format is a header of
//! thirteen hexadecimal numbers, and a tool for it is one more package to install.

use std::collections::BTreeSet;
use std::io::{self, Write};

const MODE_DIRECTORY: u32 = 0o040_755;
const MODE_FILE: u32 = 0o100_000;
const MODE_SYMLINK: u32 = 0o120_777;
const MODE_CHARACTER_DEVICE: u32 = 0o020_600;

/// Major and minor number of `/dev/console`.
const CONSOLE: (u32, u32) = (5, 1);

/// An archive under way; [`Archive::finish`] ends it.
pub(crate) struct Archive<W: Write> {
    out: W,
    next_inode: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// Begins an archive that holds `/dev/console` and nothing else.
    ///
    /// The kernel opens the console for process 1 before anything could mount `/dev`.
    pub(crate) fn new(out: W) -> io::Result<Archive<W>> {
        let mut archive = Archive { out, next_inode: 1, directories: BTreeSet::new() };
        archive.parents_of("/dev/console")?;
        archive.entry("/dev/console", MODE_CHARACTER_DEVICE, CONSOLE, &[])?;
        Ok(archive)
    }

    /// Adds a file with the given permissions, and the directories above it.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.parents_of(path)?;
        self.entry(path, MODE_FILE | (permissions & 0o7777), (0, 0), content)
    }

    /// Adds a symbolic link, and the directories above it.
    pub(crate) fn symlink(&mut self, path: &str, destination: &str) -> io::Result<()> {
        self.parents_of(path)?;
        self.entry(path, MODE_SYMLINK, (0, 0), destination.as_bytes())
    }

    /// Ends the archive and gives back what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parents_of(&mut self, path: &str) -> io::Result<()> {
        for (end, _) in path.match_indices('/').skip(1) {
            let parent = &path[..end];
            if self.directories.insert(parent.to_owned()) {
                self.entry(parent, MODE_DIRECTORY, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        (major, minor): (u32, u32),
        content: &[u8],
    ) -> io::Result<()> {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::other(format!("{path} is larger than the format allows")))?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, check
        let fields = [self.next_inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.next_inode += 1;
        let mut header = "070701".to_owned();
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        write!(self.out, "{header}{name}\0")?;
        self.pad(header.len() + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Headers and contents start at multiples of four.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archive: &[u8]) -> Vec<String> {
        let mut rest = archive;
        let mut names = Vec::new();
        while !rest.is_empty() {
            let header = std::str::from_utf8(&rest[..110]).unwrap();
            assert!(header.starts_with("070701"));
            let field =
                |i: usize| usize::from_str_radix(&header[6 + 8 * i..14 + 8 * i], 16).unwrap();
            let (size, name_size) = (field(6), field(11));
            names.push(String::from_utf8(rest[110..110 + name_size - 1].to_vec()).unwrap());
            let content = (110 + name_size).next_multiple_of(4);
            rest = &rest[(content + size).next_multiple_of(4)..];
        }
        names
    }

    #[test]
    fn directories_come_once_and_before_what_they_hold() {
        let mut archive = Archive::new(Vec::new()).unwrap();
        archive.file("/a/b/one", 0o755, b"12345").unwrap();
        archive.symlink("/a/b/two", "/a/b/one").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(
            names(&bytes),
            ["dev", "dev/console", "a", "a/b", "a/b/one", "a/b/two", "TRAILER!!!"]
        );
    }
}
