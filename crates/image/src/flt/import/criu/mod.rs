//! A process that CRIU saved: `pagemap-PID.img` says which pages `pages-N.img` holds.
//!
//! Pages that did not change since an earlier dump lie in the folder `parent`, which may have one
//! again. Pages left with the source (`--lazy-pages`) are nowhere: such a dump is refused.

mod pagemap;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use faultless_pages::{Bytes, Va};

use self::pagemap::{Entry, Held};
use super::super::chunk::ChunkSize;
use super::super::tables::Region;
use super::space::{ByAddress, Space};
use super::{ImportError, Source};
use crate::core::Access;

/// Folders followed by way of `parent`: as many as an image has layers.
const PARENTS_MAX: u32 = 64;

/// Returns the processes a folder has a `pagemap-PID.img` of, in order.
///
/// # Errors
/// [`ImportError::Io`] if the folder cannot be read.
pub fn criu_processes(folder: &Path) -> Result<Vec<u32>, ImportError> {
    let io = |source| ImportError::Io { file: folder.to_path_buf(), source };
    let mut processes = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix("pagemap-")?.strip_suffix(".img"));
        processes.extend(pid.and_then(|pid| pid.parse::<u32>().ok()));
    }
    processes.sort_unstable();
    Ok(processes)
}

/// Opens what CRIU saved of a process, for an image with chunks of this size.
///
/// # Errors
/// [`ImportError::Criu`] names the file and what is wrong with it.
pub fn open_criu(
    folder: &Path,
    pid: u32,
    chunk: ChunkSize,
) -> Result<Box<dyn Source>, ImportError> {
    let pages = Pages { extents: load(folder, pid, PARENTS_MAX)? };
    let mut regions: Vec<Region> = Vec::new();
    for extent in &pages.extents {
        let len = Bytes(extent.end - extent.start);
        match regions.last_mut() {
            Some(last) if last.address.0 + last.len.0 == extent.start => {
                last.len = Bytes(last.len.0 + len.0);
                last.held = last.len;
            }
            _ => regions.push(Region {
                address: Va(extent.start),
                len,
                offset: Bytes::ZERO,
                held: len,
                // What the program could do with it stands in another file.
                access: Access { read: true, write: true, execute: false },
            }),
        }
    }
    Ok(Box::new(Space::new(pages, regions, chunk)?))
}

/// Pages of a process by address.
struct Pages {
    /// Sorted, disjoint.
    extents: Vec<Extent>,
}

/// Neighbouring pages in one file.
#[derive(Clone)]
struct Extent {
    start: u64,
    end: u64,
    path: Arc<PathBuf>,
    file: Arc<File>,
    offset: u64,
}

impl Extent {
    fn cut(&self, start: u64, end: u64) -> Extent {
        let offset = self.offset + (start - self.start);
        Extent { start, end, offset, ..self.clone() }
    }
}

impl ByAddress for Pages {
    fn read(&self, address: Va, buffer: &mut [u8]) -> Result<(), ImportError> {
        let (mut at, mut rest) = (address.0, buffer);
        let first = self.extents.partition_point(|extent| extent.end <= at);
        for extent in &self.extents[first..] {
            let now = Bytes((extent.end - at).min(rest.len() as u64)).as_usize();
            let (part, behind) = rest.split_at_mut(now);
            let read = extent.file.read_exact_at(part, extent.offset + (at - extent.start));
            read.map_err(|source| ImportError::Io { file: extent.path.to_path_buf(), source })?;
            (at, rest) = (extent.end, behind);
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// Finds all pages of a process, those of earlier dumps included.
fn load(folder: &Path, pid: u32, parents_left: u32) -> Result<Vec<Extent>, ImportError> {
    let pagemap = folder.join(format!("pagemap-{pid}.img"));
    let (pages_id, entries) = pagemap::read(&pagemap)?;
    let path = folder.join(format!("pages-{pages_id}.img"));
    let io = |source| ImportError::Io { file: path.clone(), source };
    let file = File::open(&path).map_err(io)?;
    let len = file.metadata().map_err(io)?.len();
    let (path, file) = (Arc::new(path), Arc::new(file));
    let mut parent: Option<Vec<Extent>> = None;
    let (mut extents, mut offset) = (Vec::new(), 0u64);
    for Entry { start, end, held } in entries {
        match held {
            Held::Here => {
                let (path, file) = (Arc::clone(&path), Arc::clone(&file));
                extents.push(Extent { start, end, path, file, offset });
                offset += end - start;
            }
            Held::Before => {
                let found = match &mut parent {
                    Some(found) => found,
                    None => parent.insert(load_parent(folder, pid, parents_left)?),
                };
                extents.extend(inherit(found, start, end, &pagemap)?);
            }
        }
    }
    if offset != len {
        let what = format!("{offset} bytes of pages are in {pagemap:?}, but the file has {len}");
        return Err(ImportError::Criu { file: path.to_path_buf(), what });
    }
    Ok(extents)
}

fn load_parent(folder: &Path, pid: u32, left: u32) -> Result<Vec<Extent>, ImportError> {
    let parent = folder.join("parent");
    match left.checked_sub(1) {
        Some(left) => load(&parent, pid, left),
        None => Err(ImportError::Criu { file: parent, what: "too many dumps below".to_owned() }),
    }
}

/// Takes a range out of an earlier dump, which must have all of it.
fn inherit(
    parent: &[Extent],
    start: u64,
    end: u64,
    pagemap: &Path,
) -> Result<Vec<Extent>, ImportError> {
    let first = parent.partition_point(|extent| extent.end <= start);
    let inside = parent[first..].iter().take_while(|extent| extent.start < end);
    let cut = |extent: &Extent| extent.cut(extent.start.max(start), extent.end.min(end));
    let found: Vec<Extent> = inside.map(cut).collect();
    let held: u64 = found.iter().map(|extent| extent.end - extent.start).sum();
    if held != end - start {
        let what = format!("pages from {start:#x} to {end:#x} are not all in the dump below");
        return Err(ImportError::Criu { file: pagemap.to_path_buf(), what });
    }
    Ok(found)
}
