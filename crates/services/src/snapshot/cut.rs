//! The pause: everything that must happen while all threads stand still.
//!
//! Order: read the memory map, register, find what is there, protect it, copy what cannot be
//! protected, read registers.
//!
//! Protecting is the dear part of it: every page table entry is written. Most of it is therefore
//! done beforehand, while the process runs ([`arm`]); what it writes to meanwhile is let go at
//! once (`watch`) and protected again here. Looking for such pages costs a fifth as much.

use std::os::unix::fs::FileExt;
use std::time::Instant;

use faultless_image::core::{Layout, Machine, SegmentSpec, ThreadNotes, WriteError};
use faultless_pages::{Bytes, PageSize, RangeSet, Va, VaRange};
use faultless_uffd::Category;
use faultless_uffd::process::Urgency;

use super::areas::{Area, Keep, Tools, protect, protect_range, scan_failed, survey};
use super::error::SnapshotError;
use super::freeze::Threads;
use super::pages::Run;
use super::report::Pause;
use super::twins::Twins;
use crate::vma::Vma;

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
    /// Protected memory whose protection outlives its content: all that is not the process's own.
    pub(super) clinging: RangeSet,
    /// Shared memory the process has mapped more than once.
    pub(super) twins: Twins,
    /// Memory other processes may have written.
    pub(super) shared: RangeSet,
    /// Pages of it that hold something.
    pub(super) shared_pages: u64,
    pub(super) threads: Vec<ThreadNotes>,
    pub(super) warnings: Vec<String>,
    pub(super) pause: Pause,
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

/// Looks over the memory at most so often before the pause.
const ROUNDS: usize = 3;
/// So little can as well be protected in the pause: some hundred microseconds.
const LITTLE: Bytes = Bytes::mib(1);

/// Protects the private memory of the running process, to shorten the pause.
///
/// While a long walk protects, the process writes to what lies behind it. Protecting that again is
/// a shorter walk, and leaves less behind: rounds follow as long as each leaves half of the last.
/// What else changes while this runs is none of its business: the cut looks again.
///
/// Returns the urgency that lasts until the pause is over; `None` without the right to it.
pub(super) fn arm(tools: &mut Tools<'_>) -> Result<Option<Urgency>, SnapshotError> {
    let areas = survey(tools)?;
    tolerate(protect(tools, &areas, Area::is_private_anonymous))?;
    // A thread that waits for a processor between the last round and the stop undoes them all.
    let urgency = Urgency::begin();
    let mut left = Bytes(u64::MAX);
    for _ in 0..ROUNDS {
        let mut found = Found::default();
        for area in areas.iter().filter(|area| area.keep == Keep::Protect) {
            if area.is_private_anonymous() {
                tolerate(find(tools, area, &mut found))?;
            }
        }
        let exposed = Bytes(found.exposed.iter().map(|range| range.len().0).sum());
        if exposed <= LITTLE || exposed.0 > left.0 / 2 {
            break;
        }
        found.exposed.iter().try_for_each(|&range| tolerate(protect_range(tools, range)))?;
        left = exposed;
    }
    Ok(urgency.ok())
}

/// Lets pass what the running process may cause: the cut meets it again if it lasts.
fn tolerate(result: Result<(), SnapshotError>) -> Result<(), SnapshotError> {
    match result {
        Err(error @ SnapshotError::Ended { .. }) => Err(error),
        _ => Ok(()),
    }
}

impl Cut {
    /// Makes the cut; all threads of the process stand still before and after.
    pub(super) fn make(tools: &mut Tools<'_>, threads: &Threads) -> Result<Cut, SnapshotError> {
        let mut lap = Lap(Instant::now());
        let mut pause = Pause::default();
        let mut warnings = Vec::new();
        let areas = survey(tools)?;
        pause.map = lap.take();
        let mut found = Found::default();
        for area in areas.iter().filter(|area| area.keep == Keep::Protect) {
            find(tools, area, &mut found)?;
        }
        let Found { runs, exposed, mut clean, unseen } = found;
        if unseen {
            warnings.push(
                "shared memory the process itself has not touched is missing: reading it needs \
                 CAP_CHECKPOINT_RESTORE"
                    .into(),
            );
        }
        pause.scan = lap.take();
        // Armed beforehand but for what was written to or came since.
        exposed.iter().try_for_each(|&range| protect_range(tools, range))?;
        // Shared memory can get pages from others at any time, and its holes are armed, too.
        protect(tools, &areas, |area| !area.is_private_anonymous())?;
        pause.protect = lap.take();
        let mut copied = Vec::new();
        let mut unreadable = RangeSet::new();
        for area in &areas {
            copy(tools, area, &mut copied, &mut clean, &mut unreadable)?;
        }
        pause.copy = lap.take();
        let threads = threads.notes()?;
        pause.registers = lap.take();
        let clinging = |area: &Area| area.keep == Keep::Protect && !area.is_private_anonymous();
        let is_shared = |area: &Area| {
            // A private mapping shows what others write until the process has written itself.
            let seen = area.keep == Keep::Protect && !area.vma.is_anonymous();
            area.keep != Keep::Nothing && (area.vma.shared || seen)
        };
        let shared: RangeSet = ranges(&areas, is_shared).collect();
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
            clinging: ranges(&areas, clinging).collect(),
            twins: twins(&areas),
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

/// Returns the protected memory that lies at more than one address.
fn twins(areas: &[Area]) -> Twins {
    let shared = areas.iter().filter(|area| area.keep == Keep::Protect && area.vma.shared);
    Twins::of(shared.map(|Area { vma, .. }| (vma.inode, vma.offset, vma.range)))
}

/// Returns the protected memory of huge page pools.
fn pools(areas: &[Area]) -> Vec<Run> {
    areas
        .iter()
        .filter(|area| area.keep == Keep::Protect)
        .filter_map(|area| Some(Run { range: area.vma.range, grain: area.flags.huge? }))
        .collect()
}

/// What a look at the page tables finds.
#[derive(Default)]
struct Found {
    /// Pages that hold something.
    runs: Vec<Run>,
    /// Private pages that are not protected, with what little lies between them.
    exposed: Vec<VaRange>,
    /// Pages of a privately mapped memory object that the process has not touched.
    clean: Vec<(Vma, VaRange)>,
    /// Whether some shared memory could not be looked at.
    unseen: bool,
}

/// Protecting so much more than needed costs less than a call of its own.
const NEAR: Bytes = Bytes::kib(128);

impl Found {
    /// Adds pages, joined to those just before them.
    fn add(&mut self, area: &Area, range: VaRange, grain: PageSize) {
        let last = self.runs.last_mut().filter(|last| {
            last.grain == grain
                && last.range.end() == range.start()
                && area.vma.range.contains(last.range.start())
        });
        match last {
            Some(last) => last.range = VaRange::new(last.range.start(), range.end()),
            None => self.runs.push(Run { range, grain }),
        }
    }

    /// Adds unprotected pages, joined to those shortly before them in the same mapping.
    fn expose(&mut self, area: &Area, range: VaRange) {
        let last = self.exposed.last_mut().filter(|last| {
            area.vma.range.contains(last.start()) && range.start().since(last.end()) <= NEAR
        });
        match last {
            Some(last) => *last = VaRange::new(last.start(), range.end()),
            None => self.exposed.push(range),
        }
    }
}

/// Finds the pages of an area that hold something.
fn find(tools: &Tools<'_>, area: &Area, found: &mut Found) -> Result<(), SnapshotError> {
    let page = tools.pagemap.page_size();
    let regions = tools.census.present(area.vma.range).map_err(|e| scan_failed(tools.pid, e))?;
    if area.vma.shared && area.flags.huge.is_none() {
        // Shared memory may hold pages that this process has never looked at.
        let mut held: RangeSet = regions.iter().map(|region| region.range).collect();
        found.unseen |= !tools.census.object(tools.pid, &area.vma, &mut held);
        held.iter().for_each(|range| found.add(area, range, page));
        return Ok(());
    }
    if !area.vma.is_anonymous() && area.flags.huge.is_none() {
        let touched: RangeSet = regions.iter().map(|region| region.range).collect();
        let mut object = RangeSet::new();
        found.unseen |= !tools.census.object(tools.pid, &area.vma, &mut object);
        let untouched = object.iter().flat_map(|data| touched.gaps(data));
        found.clean.extend(untouched.map(|range| (area.vma.clone(), range)));
    }
    for region in regions {
        let huge = region.categories.contains(Category::HUGE) && area.vma.is_anonymous();
        let grain = area.flags.huge.unwrap_or(if huge { PageSize::MIB2 } else { page });
        found.add(area, region.range, grain);
        if area.is_private_anonymous() && region.categories.contains(Category::WRITTEN) {
            found.expose(area, region.range);
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

/// Returns the length of what was copied.
pub(super) fn copied_len(copied: &[(Va, Vec<u8>)]) -> Bytes {
    Bytes(copied.iter().map(|(_, data)| data.len() as u64).sum())
}
