//! What is done about each mapping of a process, and registering and protecting them.

use std::fs::File;
use std::ops::Range;

use faultless_image::core::Dumped;
use faultless_pages::{RangeSet, VaRange};
use faultless_uffd::{ForeignUffd, Modes, OpError, Pagemap, Situation, WpMode};
use rustix::io::Errno;

use super::census::Census;
use super::error::SnapshotError;
use super::policy::DumpFilter;
use crate::vma::{FlagTable, Maps, Vma, VmaFlags};

/// What is needed for a cut, opened beforehand.
pub(super) struct Tools<'a> {
    pub(super) pid: u32,
    pub(super) uffd: &'a ForeignUffd,
    pub(super) memory: &'a File,
    pub(super) pagemap: &'a Pagemap,
    pub(super) census: Census<'a>,
    pub(super) maps: Maps,
    pub(super) flags: FlagTable,
    pub(super) filter: DumpFilter,
    /// Whether shared and hugetlb memory can be protected (Linux 5.19).
    pub(super) shared_protectable: bool,
}

/// How the content of a mapping is kept until it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It does not go into the core.
    Nothing,
    /// Its pages are write-protected.
    Protect,
    /// It cannot be protected: what the program wrote is copied at once, the rest is the file's.
    CopyDirty,
    /// It cannot be protected and has no file to fall back on: all of it is copied at once.
    CopyAll,
    /// It is a file's memory that everybody may write: it is read as it is.
    AsItIs,
}

/// A mapping and what is done about it.
pub(super) struct Area {
    pub(super) vma: Vma,
    pub(super) flags: VmaFlags,
    pub(super) dumped: Dumped,
    pub(super) keep: Keep,
}

impl Area {
    /// Says whether only the process itself can put pages here, each through a fault of its own.
    pub(super) fn is_private_anonymous(&self) -> bool {
        self.vma.is_anonymous() && !self.vma.shared && self.flags.huge.is_none()
    }
}

/// Reads the memory map and decides about every mapping.
pub(super) fn survey(tools: &mut Tools<'_>) -> Result<Vec<Area>, SnapshotError> {
    let vmas = tools
        .maps
        .read()
        .map_err(|error| SnapshotError::read(tools.pid, "the memory map", error))?;
    let mut areas = decide(tools, vmas)?;
    register(tools, &mut areas)?;
    Ok(areas)
}

/// Decides about every mapping.
fn decide(tools: &Tools<'_>, vmas: Vec<Vma>) -> Result<Vec<Area>, SnapshotError> {
    let mut areas = Vec::with_capacity(vmas.len());
    // The vsyscall page lies outside of any address space.
    for vma in vmas.into_iter().filter(|vma| vma.name.as_os_str() != "[vsyscall]") {
        // A mapping made since the flags were read is an ordinary one, or it would be missed.
        let ordinary = VmaFlags { dont_dump: false, io: false, huge: None, paged: false };
        let flags = tools.flags.of(vma.range).unwrap_or(ordinary);
        let private_file = !vma.shared && !vma.is_anonymous() && !vma.is_kernel_made();
        let dirty = private_file
            && !flags.io
            && !tools.census.written(vma.range).map_err(|e| scan_failed(tools.pid, e))?.is_empty();
        let mut dumped = tools.filter.decide(&vma, flags, dirty);
        let reserved = !vma.access.read && !vma.access.write && !vma.access.execute;
        if dumped == Dumped::All && vma.is_anonymous() && reserved {
            let found = tools.census.present(vma.range).map_err(|e| scan_failed(tools.pid, e))?;
            // Address space that was only reserved: a core full of its zeros helps nobody.
            if found.is_empty() {
                dumped = Dumped::None;
            }
        }
        let keep = keep(&vma, flags, dumped);
        areas.push(Area { vma, flags, dumped, keep });
    }
    Ok(areas)
}

/// Decides how the content of a mapping is kept; registering may show that it cannot be protected.
fn keep(vma: &Vma, flags: VmaFlags, dumped: Dumped) -> Keep {
    let regular_file = !vma.is_anonymous() && !vma.is_unlinked() && flags.huge.is_none();
    match dumped {
        Dumped::None => Keep::Nothing,
        _ if vma.is_kernel_made() => Keep::CopyAll,
        // Files that still have a name are hardly ever shared memory; trying each library would
        // cost more than it gives.
        _ if regular_file && !vma.shared => Keep::CopyDirty,
        _ => Keep::Protect,
    }
}

/// Says what is done about a mapping that turned out not to be protectable.
fn fallback(area: &Area) -> Keep {
    match (area.vma.shared, area.vma.is_anonymous()) {
        (true, _) => Keep::AsItIs,
        (false, true) => Keep::CopyAll,
        (false, false) => Keep::CopyDirty,
    }
}

/// Registers everything that is to be protected, neighbours in one call.
fn register(tools: &Tools<'_>, areas: &mut [Area]) -> Result<(), SnapshotError> {
    for area in areas.iter_mut() {
        let needs_more = area.vma.shared || !area.vma.is_anonymous();
        if area.keep == Keep::Protect && needs_more && !tools.shared_protectable {
            area.keep = fallback(area);
        }
    }
    let mut first = 0;
    while first < areas.len() {
        let span = span_at(areas, first);
        if span == 0 {
            first += 1;
            continue;
        }
        if let Err(error) = register_range(tools, room(areas, first..first + span)) {
            if error.errno != Errno::INVAL {
                return Err(refused(tools.pid, error));
            }
            for member in first..first + span {
                register_alone(tools, areas, member)?;
            }
        }
        first += span;
    }
    Ok(())
}

/// Counts the areas from `first` on that touch each other and are all to be protected.
fn span_at(areas: &[Area], first: usize) -> usize {
    let mut end = None;
    areas[first..]
        .iter()
        .take_while(|area| {
            let touches = end.is_none_or(|end| end == area.vma.range.start());
            end = Some(area.vma.range.end());
            touches && area.keep == Keep::Protect
        })
        .count()
}

/// Returns the addresses of touching areas with the free ones around them, up to the next mapping.
///
/// A process that runs may grow a mapping into free addresses after its memory map was read.
/// Registering just what was read would then split the mapping, and an `mremap` of the whole of it
/// fails across the split.
fn room(areas: &[Area], members: Range<usize>) -> VaRange {
    let (first, last) = (members.start, members.end - 1);
    let before = first.checked_sub(1).and_then(|before| areas.get(before));
    let start = before.map_or(areas[first].vma.range.start(), |area| area.vma.range.end());
    let after = areas.get(last + 1);
    let end = after.map_or(areas[last].vma.range.end(), |area| area.vma.range.start());
    VaRange::new(start, end)
}

fn register_range(tools: &Tools<'_>, range: VaRange) -> Result<(), OpError> {
    tools.uffd.register_range(range, Modes::WP).map(drop)
}

/// Registers one mapping, or finds that it cannot be.
fn register_alone(
    tools: &Tools<'_>,
    areas: &mut [Area],
    member: usize,
) -> Result<(), SnapshotError> {
    let with_room = register_range(tools, room(areas, member..member + 1));
    let area = &mut areas[member];
    // Room that is not aligned to the pages of a pool is EINVAL as well.
    match with_room.or_else(|_| register_range(tools, area.vma.range)) {
        Ok(()) => Ok(()),
        // EPERM: a shared mapping of a file this process may only read; nobody writes through it.
        Err(error) if matches!(error.errno, Errno::INVAL | Errno::PERM) => {
            area.keep = fallback(area);
            Ok(())
        }
        Err(error) => Err(refused(tools.pid, error)),
    }
}

/// Explains a refused registration or protection.
fn refused(pid: u32, error: OpError) -> SnapshotError {
    match error.errno {
        Errno::BUSY => SnapshotError::Owned { pid, range: error.range },
        Errno::SRCH => SnapshotError::Ended { saved: None },
        _ => SnapshotError::Operation(error),
    }
}

/// Write-protects the areas that match, neighbours in one call.
pub(super) fn protect(
    tools: &Tools<'_>,
    areas: &[Area],
    matches: impl Fn(&Area) -> bool,
) -> Result<(), SnapshotError> {
    let wanted = areas.iter().filter(|area| area.keep == Keep::Protect && matches(area));
    // Touching areas become one range.
    let ranges: RangeSet = wanted.map(|area| area.vma.range).collect();
    ranges.iter().try_for_each(|range| protect_range(tools, range))
}

/// Write-protects registered memory.
pub(super) fn protect_range(tools: &Tools<'_>, range: VaRange) -> Result<(), SnapshotError> {
    match tools.uffd.write_protect(range, WpMode::Protect).stopped {
        None => Ok(()),
        Some(Situation::Gone) => Err(SnapshotError::Ended { saved: None }),
        Some(situation) => Err(SnapshotError::Protect { range, why: situation.to_string() }),
    }
}

/// Explains a failed walk over the page tables.
pub(super) fn scan_failed(pid: u32, error: std::io::Error) -> SnapshotError {
    SnapshotError::read(pid, "the page tables", error)
}
