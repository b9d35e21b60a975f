//! The pause: everything that must happen while all threads stand still.
//!
//! Order: read the memory map, register, find what is there, protect it, copy what cannot be
//! protected, read registers. Nothing here depends on how much memory there is but the two walks
//! over the page tables, and the copy of private file pages the program has written to.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use faultless_image::core::{Dumped, Layout, Machine, SegmentSpec, ThreadNotes, WriteError};
use faultless_pages::{Bytes, PageSize, RangeSet, Va, VaRange};
use faultless_uffd::{Category, ForeignUffd, Modes, OpError, Pagemap, Situation, WpMode};
use rustix::io::Errno;

use super::census::Census;
use super::error::SnapshotError;
use super::freeze::Threads;
use super::pages::Run;
use super::policy::DumpFilter;
use super::report::Pause;
use super::vma::{FlagTable, Maps, Vma, VmaFlags};

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

/// What the process was at one instant.
pub(super) struct Cut {
    pub(super) layout: Layout,
    pub(super) vmas: Vec<Vma>,
    /// Protected pages that hold something.
    pub(super) runs: Vec<Run>,
    /// Protected memory, page or no page.
    pub(super) protected: Vec<VaRange>,
    /// Protected memory of huge page pools.
    pub(super) pools: Vec<Run>,
    /// Pages copied during the pause.
    pub(super) copied: Vec<(Va, Vec<u8>)>,
    /// Clean pages of private files, to be read after the pause and checked.
    pub(super) clean: Vec<(Vma, VaRange)>,
    /// Memory that could not be protected and may be newer than the cut.
    pub(super) unprotected: Vec<VaRange>,
    /// Memory that could not be read.
    pub(super) unreadable: RangeSet,
    /// Memory other processes may have written.
    pub(super) shared: RangeSet,
    /// Pages of it that hold something.
    pub(super) shared_pages: u64,
    pub(super) threads: Vec<ThreadNotes>,
    pub(super) warnings: Vec<String>,
    pub(super) pause: Pause,
}

/// How the content of a mapping is kept until it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
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
struct Area {
    vma: Vma,
    flags: VmaFlags,
    dumped: Dumped,
    keep: Keep,
}

/// Measures the parts of the pause.
struct Lap(Instant);

impl Lap {
    /// Returns the nanoseconds since the last call.
    fn take(&mut self) -> u64 {
        let now = Instant::now();
        let lap = now.duration_since(self.0);
        self.0 = now;
        u64::try_from(lap.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Cut {
    /// Makes the cut; all threads of the process stand still before and after.
    pub(super) fn make(tools: &mut Tools<'_>, threads: &Threads) -> Result<Cut, SnapshotError> {
        let mut lap = Lap(Instant::now());
        let mut pause = Pause::default();
        let mut warnings = Vec::new();
        let vmas = tools
            .maps
            .read()
            .map_err(|error| SnapshotError::read(tools.pid, "the memory map", error))?;
        let mut areas = areas(tools, vmas)?;
        register(tools, &mut areas)?;
        pause.map = lap.take();
        let mut runs = Vec::new();
        let mut unseen = false;
        for area in areas.iter().filter(|area| area.keep == Keep::Protect) {
            unseen |= !find(tools, area, &mut runs)?;
        }
        if unseen {
            warnings.push(
                "shared memory the process itself has not touched is missing: reading it needs \
                 CAP_CHECKPOINT_RESTORE"
                    .into(),
            );
        }
        pause.scan = lap.take();
        protect(tools, &areas)?;
        pause.protect = lap.take();
        let mut copied = Vec::new();
        let mut clean = Vec::new();
        let mut unreadable = RangeSet::new();
        for area in &areas {
            copy(tools, area, &mut copied, &mut clean, &mut unreadable)?;
        }
        pause.copy = lap.take();
        let threads = threads.notes()?;
        pause.registers = lap.take();
        let shared: RangeSet =
            ranges(&areas, |area| area.vma.shared && area.keep != Keep::Nothing).collect();
        let page = tools.pagemap.page_size();
        let held = runs.iter().filter(|run| shared.contains(run.range.start()));
        Ok(Cut {
            shared_pages: held.map(|run| run.range.page_count(page)).sum(),
            layout: layout(tools.pagemap.page_size(), &areas)?,
            runs,
            protected: ranges(&areas, |area| area.keep == Keep::Protect).collect(),
            pools: pools(&areas),
            copied,
            clean,
            unprotected: ranges(&areas, |area| area.keep == Keep::AsItIs).collect(),
            unreadable,
            shared,
            vmas: areas.into_iter().map(|area| area.vma).collect(),
            threads,
            warnings,
            pause,
        })
    }
}

/// Returns the addresses of the areas that match.
fn ranges(areas: &[Area], matches: impl Fn(&Area) -> bool) -> impl Iterator<Item = VaRange> {
    areas.iter().filter(move |area| matches(area)).map(|area| area.vma.range)
}

/// Returns the protected memory of huge page pools.
fn pools(areas: &[Area]) -> Vec<Run> {
    areas
        .iter()
        .filter(|area| area.keep == Keep::Protect)
        .filter_map(|area| Some(Run { range: area.vma.range, grain: area.flags.huge? }))
        .collect()
}

/// Decides about every mapping.
fn areas(tools: &Tools<'_>, vmas: Vec<Vma>) -> Result<Vec<Area>, SnapshotError> {
    let mut areas = Vec::with_capacity(vmas.len());
    // The vsyscall page lies outside of any address space.
    for vma in vmas.into_iter().filter(|vma| vma.name.as_os_str() != "[vsyscall]") {
        // A mapping made since the flags were read is an ordinary one, or it would be missed.
        let ordinary = VmaFlags { dont_dump: false, io: false, huge: None };
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
        let members = &mut areas[first..first + span];
        if let Err(error) = register_span(tools, members) {
            if error.errno != Errno::INVAL {
                return Err(refused(tools.pid, error));
            }
            for area in members {
                register_alone(tools, area)?;
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

/// Registers neighbours in one call.
fn register_span(tools: &Tools<'_>, members: &[Area]) -> Result<(), OpError> {
    let last = members.last().expect("a span is not empty");
    let whole = VaRange::new(members[0].vma.range.start(), last.vma.range.end());
    tools.uffd.register_range(whole, Modes::WP).map(drop)
}

/// Registers one mapping, or finds that it cannot be.
fn register_alone(tools: &Tools<'_>, area: &mut Area) -> Result<(), SnapshotError> {
    match tools.uffd.register_range(area.vma.range, Modes::WP) {
        Ok(_) => Ok(()),
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

/// Finds the pages of an area that hold something; `false` if some may be out of sight.
fn find(tools: &Tools<'_>, area: &Area, runs: &mut Vec<Run>) -> Result<bool, SnapshotError> {
    let page = tools.pagemap.page_size();
    let regions = tools.census.present(area.vma.range).map_err(|e| scan_failed(tools.pid, e))?;
    let huge = |categories: Category| {
        categories.contains(Category::HUGE) && area.vma.is_anonymous() && !area.vma.shared
    };
    if let Some(grain) = area.flags.huge {
        runs.extend(regions.iter().map(|region| Run { range: region.range, grain }));
        return Ok(true);
    }
    if !area.vma.shared {
        runs.extend(regions.iter().map(|region| Run {
            range: region.range,
            grain: if huge(region.categories) { PageSize::MIB2 } else { page },
        }));
        return Ok(true);
    }
    // Shared memory may hold pages that this process has never looked at.
    let mut held: RangeSet = regions.iter().map(|region| region.range).collect();
    let seen = tools.census.object(tools.pid, &area.vma, &mut held);
    runs.extend(held.iter().map(|range| Run { range, grain: page }));
    Ok(seen)
}

/// Write-protects everything registered, neighbours in one call.
fn protect(tools: &Tools<'_>, areas: &[Area]) -> Result<(), SnapshotError> {
    let mut first = 0;
    while first < areas.len() {
        let span = span_at(areas, first).max(1);
        let members = &areas[first..first + span];
        first += span;
        if members[0].keep != Keep::Protect {
            continue;
        }
        let range = VaRange::new(members[0].vma.range.start(), members[span - 1].vma.range.end());
        match tools.uffd.write_protect(range, WpMode::Protect).stopped {
            None => {}
            Some(Situation::Gone) => return Err(SnapshotError::Ended { saved: None }),
            Some(situation) => {
                return Err(SnapshotError::Protect { range, why: situation.to_string() });
            }
        }
    }
    Ok(())
}

/// Copies what cannot be protected.
fn copy(
    tools: &Tools<'_>,
    area: &Area,
    copied: &mut Vec<(Va, Vec<u8>)>,
    clean: &mut Vec<(Vma, VaRange)>,
    unreadable: &mut RangeSet,
) -> Result<(), SnapshotError> {
    let range = SegmentSpec { range: area.vma.range, access: area.vma.access, dumped: area.dumped }
        .dumped_range(tools.pagemap.page_size());
    let found = match area.keep {
        Keep::CopyAll => vec![range],
        Keep::CopyDirty => {
            let found = tools.census.written(range).map_err(|e| scan_failed(tools.pid, e))?;
            let dirty: RangeSet = found.iter().copied().collect();
            clean.extend(dirty.gaps(range).map(|gap| (area.vma.clone(), gap)));
            found
        }
        Keep::Nothing | Keep::Protect | Keep::AsItIs => return Ok(()),
    };
    for range in found {
        let mut data = vec![0; range.len().as_usize()];
        let read = tools.memory.read_at(&mut data, range.start().0).unwrap_or(0);
        data.truncate(read & !(tools.pagemap.page_size().bytes().as_usize() - 1));
        let whole = range.start().add(Bytes::from(data.len()));
        unreadable.insert(VaRange::new(whole, range.end()));
        if !data.is_empty() {
            copied.push((range.start(), data));
        }
    }
    Ok(())
}

/// Lays the core out.
fn layout(page: PageSize, areas: &[Area]) -> Result<Layout, SnapshotError> {
    let machine = Machine::host().ok_or(SnapshotError::Architecture)?;
    let segments = areas.iter().map(|area| SegmentSpec {
        range: area.vma.range,
        access: area.vma.access,
        dumped: area.dumped,
    });
    let layout = Layout::new(machine, page, segments.collect()).map_err(WriteError::from)?;
    Ok(layout)
}

/// Explains a failed walk over the page tables.
fn scan_failed(pid: u32, error: std::io::Error) -> SnapshotError {
    SnapshotError::read(pid, "the page tables", error)
}

/// Returns the length of what was copied.
pub(super) fn copied_len(copied: &[(Va, Vec<u8>)]) -> Bytes {
    Bytes(copied.iter().map(|(_, data)| data.len() as u64).sum())
}
