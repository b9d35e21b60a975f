//! The engine on memory of this process: inline, and by threads.

use std::sync::Arc;

use faultless_pages::PageSize;
use faultless_pages::VaRange;
use faultless_paging::core::{Ending, Policy, RegionSpec};
use faultless_paging::inline::Inline;
use faultless_paging::linux::{MonotonicClock, OwnMemory};
use faultless_paging::port::{Kernel, PageSource, Quiet};
use faultless_paging::shell::{Crew, CrewOptions, Pager, Space};
use faultless_paging::source;
use faultless_uffd::{Features, Modes};

use crate::exit::Failure;

use super::crowd::{Expected, Touches, touch};
use super::scene::{Scene, host, uffd};
use super::{Contender, Made, Task};

/// The events that a pager follows whose program goes on with its life.
pub(super) const EVENTS: Features =
    Features::EVENT_REMOVE.union(Features::EVENT_REMAP).union(Features::EVENT_UNMAP);

struct OnTheSpot<'a>(&'a Scene);

/// Makes the engine inline: threads resolve their faults themselves.
pub(super) fn inline(scene: &Scene) -> Made<'_> {
    Ok(Ok(Box::new(OnTheSpot(scene))))
}

impl Contender for OnTheSpot<'_> {
    fn touch(&mut self, task: Task) -> Result<Touches, Failure> {
        let memory = self.0.memory()?;
        let uffd = Arc::new(uffd(Features::SIGBUS | Features::POISON)?);
        let inline = Inline::serve(uffd, Arc::clone(&memory), source_of(self.0), 0);
        let inline = inline.map_err(|error| host(&error))?;
        let touches = touch(&memory, task, Expected::Content);
        inline.complete();
        touches
    }
}

struct ByThreads<'a> {
    scene: &'a Scene,
    crew: Crew,
}

/// Makes the engine by threads, as it is by default.
pub(super) fn threads(scene: &Scene) -> Made<'_> {
    Ok(Ok(Box::new(ByThreads { scene, crew: crew()? })))
}

impl Contender for ByThreads<'_> {
    fn touch(&mut self, task: Task) -> Result<Touches, Failure> {
        let memory = self.scene.memory()?;
        let mut own = OwnMemory::new(uffd(EVENTS | Features::POISON)?);
        own.register(Arc::clone(&memory), Modes::MISSING).map_err(|error| host(&error))?;
        let pager = serve(&self.crew, Arc::new(own), memory.range(), self.scene, task)?;
        let touches = touch(&memory, task, Expected::Content);
        drop(pager.end(Ending::Complete));
        touches
    }

    fn looks_around(&self) -> bool {
        true
    }
}

/// Starts the threads.
pub(super) fn crew() -> Result<Crew, Failure> {
    let clock = Arc::new(MonotonicClock::new());
    Crew::start(CrewOptions::default(), clock).map_err(|error| host(&error))
}

/// Has the engine serve memory from the content.
pub(super) fn serve(
    crew: &Crew,
    kernel: Arc<dyn Kernel>,
    range: VaRange,
    scene: &Scene,
    task: Task,
) -> Result<Pager, Failure> {
    let mut space = Space::new(kernel, Policy::default(), Box::new(Quiet), Ending::Poison);
    let pages = range.page_count(PageSize::KIB4);
    let spec = RegionSpec { around: task.around, ..RegionSpec::new(range.start(), pages) };
    space.add(spec, source_of(scene));
    crew.serve(space).map_err(|error| host(&error))
}

fn source_of(scene: &Scene) -> Arc<dyn PageSource> {
    Arc::new(source::Bytes::new(Content(Arc::clone(scene.content())), PageSize::KIB4))
}

/// The content as a source of the engine has it.
struct Content(Arc<Vec<u8>>);

impl AsRef<[u8]> for Content {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
