//! One client: its userfaultfd, served by the crew.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use faultless_pages::{RangeSet, VaRange};
use faultless_paging::core::{Background, Ending, Policy, RegionSpec, Tell, Ways};
use faultless_paging::linux::ForeignMemory;
use faultless_paging::page::{PageRun, PageTable, RegionId};
use faultless_paging::port::{Kernel, Observer};
use faultless_paging::prefetch::Recording;
use faultless_paging::shell::{Crew, CrewError, Hear, Pager, Space};
use faultless_uffd::{Features, ForeignUffd, HandshakeError, NotForeign, Pid, UnboundUffd};
use faultless_wire::{Layout, Region};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};

use super::count::{Counters, Counting};
use super::mouth::{Mouth, Told};
use super::rebuild;
use super::source::Pages;
use super::tape::{Recorder, Tape, Touched};
use crate::serve::Memory;
use crate::serve::control::{ClientId, Word};

/// Pages around a fault that are fetched after it: neighbours are wanted soon more often than
/// not, and one request for 16 costs little more than one for a page.
const AROUND: u64 = 16;

/// Why a client cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unservable {
    /// The descriptor is no userfaultfd whose handshake is done.
    #[error("{0}")]
    NotBound(String),
    /// It is not of another process.
    #[error("{0}")]
    NotForeign(NotForeign),
    /// It tells of what cannot be followed.
    #[error("the userfaultfd tells of {0}, which is not followed; open it without")]
    Events(Features),
    /// A descriptor of it cannot be used.
    #[error("a descriptor of the client cannot be used: {0}")]
    Descriptor(#[from] std::io::Error),
    /// The userfaultfd refuses to become non-blocking.
    #[error("the userfaultfd cannot be made non-blocking: {0}")]
    Blocking(Errno),
    /// The threads do not take it on.
    #[error(transparent)]
    Crew(#[from] CrewError),
}

/// What all clients have in common.
pub(super) struct House {
    pub(super) crew: Crew,
    pub(super) memory: Arc<Memory>,
    pub(super) counters: Arc<Counters>,
    pub(super) mouth: Mouth,
    pub(super) tape: Tape,
}

/// A client in service.
pub(super) struct Client {
    id: ClientId,
    pager: Pager,
    process: OwnedFd,
    prefault: bool,
    regions: Vec<(RegionId, Region)>,
    touched: Touched,
}

/// A piece of a client's memory, and what is known of its pages.
type Known = (Region, Arc<PageTable>);

impl Client {
    /// Takes a client on. What is there already is looked up in the page table of `again`.
    pub(super) fn serve(
        house: &House,
        id: ClientId,
        [uffd, process]: [OwnedFd; 2],
        prefault: bool,
        layout: &Layout,
        (removed, again): (&RangeSet, Option<Pid>),
    ) -> Result<Client, Unservable> {
        let memory = ForeignMemory::new(admit(uffd)?);
        let kernel = Arc::new(Told { memory, client: id, mouth: house.mouth.clone() });
        let known = |region: &Region| (*region, rebuild::table(region, removed, again));
        let known = layout.regions().iter().map(known).collect();
        Client::seat(house, id, kernel, process, prefault, known, Touched::default())
    }

    /// Has the crew serve memory of which something is known.
    fn seat(
        house: &House,
        id: ClientId,
        kernel: Arc<dyn Kernel>,
        process: OwnedFd,
        prefault: bool,
        known: Vec<Known>,
        touched: Touched,
    ) -> Result<Client, Unservable> {
        let policy = Policy { background: prefault.then(Background::default), ..Policy::default() };
        let counting = Counting(Arc::clone(&house.counters));
        let first = |(region, _): &Known| region.offset.pages(region.page_size);
        let observer: Box<dyn Observer> = if house.tape.records() {
            let firsts = known.iter().map(first).collect();
            Box::new(Recorder { counting, touched: touched.clone(), firsts })
        } else {
            Box::new(counting)
        };
        // The front has the userfaultfd too, so nobody finds zeros when it is closed here.
        let mut space = Space::new(kernel, policy, observer, Ending::HandOver)
            .with_process(process.as_fd().try_clone_to_owned()?);
        let mut regions = Vec::new();
        for (region, table) in known {
            let source = Arc::new(Pages {
                memory: Arc::clone(&house.memory),
                page_size: region.page_size,
                counters: Arc::clone(&house.counters),
            });
            regions.push((space.add_with(spec(&region, &house.tape), table, source), region));
        }
        let victim = process.as_fd().try_clone_to_owned()?;
        let hear = hear(id, house.mouth.clone(), victim, regions.clone());
        let pager = house.crew.serve(space.heard_by(hear))?;
        Ok(Client { id, pager, process, prefault, regions, touched })
    }

    /// Serves more memory, with what is known of the rest.
    pub(super) fn add(self, house: &House, layout: &Layout) -> Result<Client, Unservable> {
        let mut known: Vec<Known> =
            self.regions.iter().map(|(id, region)| (*region, self.pager.table(*id))).collect();
        let fresh = |region: &Region| (*region, rebuild::table(region, &RangeSet::new(), None));
        known.extend(layout.regions().iter().map(fresh));
        let Client { id, pager, process, prefault, touched, .. } = self;
        let kernel = pager.end(Ending::HandOver);
        Client::seat(house, id, kernel, process, prefault, known, touched)
    }

    /// Has pages fetched that the client is about to touch.
    pub(super) fn prefetch(&self, range: VaRange) {
        for (id, region) in &self.regions {
            let Some(both) = region.memory.intersect(range) else { continue };
            let both = both.widen(region.page_size);
            let first = both.start().since(region.memory.start()).pages(region.page_size);
            self.pager.wish(*id, PageRun::new(first, both.page_count(region.page_size)));
        }
    }

    /// Begins to fill all of its memory, and to let it go.
    pub(super) fn finish(&self) {
        self.pager.begin_end(Ending::Complete);
    }

    /// Lets it go as it is.
    pub(super) fn leave(self) {
        drop(self.pager.end(Ending::HandOver));
    }

    /// Returns what the client has touched, if that is recorded.
    pub(super) fn recording(&self) -> Recording {
        self.touched.recording()
    }

    /// Says whether there is nothing to serve any more.
    pub(super) fn is_over(&self) -> bool {
        self.pager.is_over()
    }
}

/// Takes a userfaultfd on, if it can be served.
fn admit(fd: OwnedFd) -> Result<ForeignUffd, Unservable> {
    let adopted = UnboundUffd::from_fd(fd).adopt();
    let uffd = adopted
        .map_err(|HandshakeError { refusal, .. }| Unservable::NotBound(refusal.to_string()))?;
    let unfollowed = uffd.features() & (Features::EVENT_FORK | Features::EVENT_REMAP);
    if !unfollowed.is_empty() {
        return Err(Unservable::Events(unfollowed));
    }
    uffd.set_nonblocking(true).map_err(Unservable::Blocking)?;
    ForeignUffd::check(uffd).map_err(|(why, _)| Unservable::NotForeign(why))
}

fn spec(region: &Region, tape: &Tape) -> RegionSpec {
    let huge = region.page_size != faultless_uffd::base_page_size();
    let pages = region.memory.page_count(region.page_size);
    RegionSpec {
        page_size: region.page_size,
        source_page: region.offset.pages(region.page_size),
        ways: if huge { Ways::HUGETLB } else { Ways::PLAIN },
        around: if huge || tape.records() { 0 } else { AROUND },
        prefetch: tape.prefetch(region),
        run_max: if huge { 1 } else { 64 },
        ..RegionSpec::new(region.memory.start(), pages)
    }
}

/// Passes on what the engine tells of a client.
fn hear(id: ClientId, mouth: Mouth, process: OwnedFd, regions: Vec<(RegionId, Region)>) -> Hear {
    Arc::new(move |tell: &Tell| match tell {
        Tell::Lost { region, pages, cause } => {
            let (start, len) = place(&regions, *region, *pages);
            mouth.say(&Word::Lost { client: id, start, len, why: cause.clone() });
        }
        Tell::Stuck { region, pages } => {
            // Its threads would wait for ever, or read zeros once the last descriptor is closed:
            // it must not go on.
            let (start, len) = place(&regions, *region, *pages);
            let why = "pages are lost and cannot be made bus errors".to_owned();
            mouth.say(&Word::Lost { client: id, start, len, why });
            // It fails if the process has ended, which is as well.
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
        Tell::Gone | Tell::Ended(Ending::Complete | Ending::Poison) => {
            mouth.say(&Word::Gone { client: id });
        }
        Tell::Ended(Ending::HandOver) | Tell::Stray(_) | Tell::Forked { .. } => {}
    })
}

/// Where pages were when they were handed over.
fn place(regions: &[(RegionId, Region)], id: RegionId, pages: PageRun) -> (u64, u64) {
    let found = regions.iter().find(|(region, _)| *region == id);
    found.map_or((0, 0), |(_, region)| {
        let shift = region.page_size.shift();
        (region.memory.start().0 + (pages.first.0 << shift), pages.count << shift)
    })
}
