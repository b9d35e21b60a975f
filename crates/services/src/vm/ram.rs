//! Where the RAM of a QEMU is: in which file, and at which addresses of its process.
//!
//! QEMU says what a backend is and where its file is meant to be; the process says what is mapped.
//! Both must agree on exactly one mapping, or the backend is refused: the wrong memory restored is
//! worse than none.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use faultless_pages::{Bytes, PageSize, VaRange};
use faultless_uffd::base_page_size;

use super::error::VmError;
use super::machine::{Backend, Place};
use crate::vma::{FlagTable, Maps, Vma};

/// `f_type` of file systems whose faults are told.
const TMPFS: u64 = 0x0102_1994;
const HUGETLBFS: u64 = 0x9584_58f6;

/// RAM that was found.
#[derive(Debug)]
pub(super) struct Ram {
    pub(super) id: String,
    /// Where QEMU has it.
    pub(super) memory: VaRange,
    /// Where it begins in its file.
    pub(super) start: Bytes,
    pub(super) page_size: PageSize,
    /// The file, open for reading and writing.
    pub(super) file: File,
    /// A userfaultfd is registered on it.
    paged: bool,
}

/// Memory of one file that is mapped in one stretch, by one mapping or several.
#[derive(Clone, Debug)]
struct Stretch {
    inode: u64,
    name: PathBuf,
    memory: VaRange,
    start: Bytes,
    paged: bool,
    page_size: PageSize,
}

/// Finds the RAM of each backend in the process.
pub(super) fn find(pid: u32, backends: &[Backend]) -> Result<Vec<Ram>, VmError> {
    let read = |what| move |error| VmError::Read { what, pid, error };
    let maps = Maps::open(pid).and_then(|mut maps| maps.read()).map_err(read("the memory map"))?;
    let flags = FlagTable::read(pid).map_err(read("the memory map"))?;
    let stretches = stretches(&maps, &flags);
    backends.iter().map(|backend| find_one(pid, backend, &stretches)).collect()
}

fn find_one(pid: u32, backend: &Backend, stretches: &[Stretch]) -> Result<Ram, VmError> {
    let refuse = |why: String| VmError::NotFound { backend: backend.id.clone(), pid, why };
    let inode = match &backend.place {
        Place::File(path) => inode_of(pid, path),
        Place::Memfd => None,
    };
    let fits = |it: &&Stretch| {
        it.memory.len() == backend.size && is_its_file(backend, inode, it.inode, &it.name)
    };
    let stretch = match stretches.iter().filter(fits).collect::<Vec<_>>()[..] {
        [stretch] => stretch,
        [] => return Err(refuse(format!("no shared mapping of {}", backend.size))),
        [..] => return Err(refuse(format!("several mappings of {} are like it", backend.size))),
    };
    let file = open(pid, stretch.inode)
        .map_err(|error| refuse(format!("its file cannot be opened: {error}")))?;
    Ok(Ram {
        id: backend.id.clone(),
        memory: stretch.memory,
        start: stretch.start,
        page_size: stretch.page_size,
        file,
        paged: stretch.paged,
    })
}

/// Says whether a mapped file is a backend's.
fn is_its_file(backend: &Backend, wanted: Option<u64>, inode: u64, name: &Path) -> bool {
    let name = name.to_string_lossy();
    match &backend.place {
        Place::Memfd => name.starts_with("/memfd:memory-backend-memfd"),
        Place::File(_) if wanted.is_some() => wanted == Some(inode),
        // In a directory QEMU makes a file and removes its name.
        Place::File(_) => name.contains("/qemu_back_mem."),
    }
}

/// Returns the inode of a file as the process sees it; `None` if it is none, or has no name.
fn inode_of(pid: u32, path: &Path) -> Option<u64> {
    let base = if path.is_absolute() { "root" } else { "cwd" };
    let relative = path.strip_prefix("/").unwrap_or(path);
    let seen = Path::new(&format!("/proc/{pid}/{base}")).join(relative);
    fs::metadata(seen).ok().filter(fs::Metadata::is_file).map(|it| it.ino())
}

/// Opens the file of an inode through a descriptor of the process, which keeps those of its RAM.
fn open(pid: u32, inode: u64) -> io::Result<File> {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let is_it = fs::metadata(entry.path()).is_ok_and(|it| it.is_file() && it.ino() == inode);
        if is_it {
            return File::options().read(true).write(true).open(entry.path());
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the process keeps no descriptor of it"))
}

/// Joins shared, writable mappings of files that lie one behind the other.
fn stretches(maps: &[Vma], flags: &FlagTable) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for vma in maps.iter().filter(|vma| vma.shared && vma.access.write && vma.inode != 0) {
        let told = flags.of(vma.range);
        let paged = told.is_some_and(|flags| flags.paged);
        let page_size = told.and_then(|flags| flags.huge).unwrap_or(base_page_size());
        match found.last_mut() {
            Some(last)
                if last.inode == vma.inode
                    && last.memory.end() == vma.range.start()
                    && last.start.0 + last.memory.len().0 == vma.offset.0 =>
            {
                last.memory = VaRange::new(last.memory.start(), vma.range.end());
                last.paged |= paged;
            }
            _ => found.push(Stretch {
                inode: vma.inode,
                name: vma.name.clone(),
                memory: vma.range,
                start: vma.offset,
                paged,
                page_size,
            }),
        }
    }
    found
}

impl Ram {
    /// Refuses memory whose missing pages are not zeros, but still to come.
    pub(super) fn check_whole(&self) -> Result<(), VmError> {
        if self.paged {
            return Err(VmError::Paged { backend: self.id.clone() });
        }
        Ok(())
    }

    /// Refuses memory whose faults the kernel does not tell.
    pub(super) fn check_told(&self) -> Result<(), VmError> {
        let kind = rustix::fs::fstatfs(&self.file).map(|it| it.f_type.cast_unsigned());
        match kind {
            Ok(TMPFS | HUGETLBFS) => Ok(()),
            _ => Err(VmError::OnDisk { backend: self.id.clone() }),
        }
    }

    /// Refuses memory that another process has too, such as the QEMU that was saved: emptying it
    /// would be that one's end. Processes that may not be looked at are passed over.
    pub(super) fn check_alone(&self, pid: u32) -> Result<(), VmError> {
        let Ok(own) = self.file.metadata() else { return Ok(()) };
        let device = (rustix::fs::major(own.dev()), rustix::fs::minor(own.dev()));
        let same = |vma: &Vma| vma.shared && (vma.device, vma.inode) == (device, own.ino());
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        let others = numbers.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
        for other in others.filter(|other| *other != pid && *other != std::process::id()) {
            let maps = Maps::open(other).and_then(|mut maps| maps.read()).unwrap_or_default();
            if maps.iter().any(same) {
                return Err(VmError::InUse { backend: self.id.clone(), pid: other });
            }
        }
        Ok(())
    }

    /// Drops everything the file holds of it.
    pub(super) fn empty(&self) -> Result<(), VmError> {
        use rustix::fs::FallocateFlags;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.file, flags, self.start.0, self.memory.len().0)
            .map_err(|errno| VmError::Punch { backend: self.id.clone(), error: errno.into() })
    }
}

#[cfg(test)]
mod tests {
    use faultless_image::core::Access;
    use faultless_pages::Va;

    use super::*;

    fn vma(start: u64, end: u64, offset: u64, inode: u64, name: &str) -> Vma {
        let access = Access { read: true, write: true, execute: false };
        let range = VaRange::new(Va(start), Va(end));
        let (offset, device) = (Bytes(offset), (0, 1));
        Vma { range, access, shared: true, offset, device, inode, name: name.into() }
    }

    #[test]
    fn pieces_of_a_file_in_a_row_are_one_stretch() {
        let maps = [
            vma(0x1000, 0x3000, 0, 7, "/dev/shm/ram"),
            vma(0x3000, 0x4000, 0x2000, 7, "/dev/shm/ram"),
            vma(0x4000, 0x5000, 0x9000, 7, "/dev/shm/ram"),
            Vma { shared: false, ..vma(0x6000, 0x7000, 0, 8, "/lib/x") },
        ];
        let found = stretches(&maps, &FlagTable::default());
        let memory: Vec<_> =
            found.iter().map(|it| (it.memory.start().0, it.memory.len().0)).collect();
        assert_eq!(memory, [(0x1000, 0x3000), (0x4000, 0x1000)]);
    }

    #[test]
    fn two_alike_memfds_are_refused_rather_than_mixed_up() {
        let name = "/memfd:memory-backend-memfd (deleted)";
        let maps = [vma(0x1000, 0x3000, 0, 7, name), vma(0x8000, 0xa000, 0, 9, name)];
        let found = stretches(&maps, &FlagTable::default());
        let backend = Backend { id: "a".into(), size: Bytes(0x2000), place: Place::Memfd };
        let error = find_one(1, &backend, &found).unwrap_err().to_string();
        assert!(error.contains("several mappings of 8 KiB"), "{error}");
    }

    #[test]
    fn a_file_is_found_by_its_inode_through_the_descriptor_that_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ram");
        fs::write(&path, [1; 4096]).unwrap();
        let kept = File::open(&path).unwrap();
        let pid = std::process::id();
        let inode = inode_of(pid, &path).unwrap();
        assert_eq!(inode, kept.metadata().unwrap().ino());
        assert_eq!(open(pid, inode).unwrap().metadata().unwrap().len(), 4096);
        assert_eq!(inode_of(pid, directory.path()), None);
        assert_eq!(open(pid, u64::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
