//! Crews on the real kernel: own memory, touched by threads of the test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faultless_pages::{Bytes as Len, PageSize};
use faultless_uffd::{
    Advice, Features, Mapping, Modes, OpenOptions, Pagemap, Uffd, UnboundUffd, Wanted,
};

use super::*;
use crate::core::{Background, Ending, Policy, RegionSpec, Tell, Ways};
use crate::linux::{MonotonicClock, OwnMemory};
use crate::page::{PageIndex, PageRun, RegionId, State};
use crate::port::{FetchError, Fetched, Order, PageSource, Quiet};
use crate::source::Bytes;

const PAGE: usize = 4096;
const REGION: RegionId = RegionId(0);

/// A child that is forked while descriptors of another test are open keeps them open.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A userfaultfd with these features; says why there is none.
fn uffd(required: Features) -> Option<Uffd> {
    let open = || -> Result<Uffd, Box<dyn std::error::Error>> {
        let unbound: UnboundUffd = Uffd::open(&OpenOptions::default())?;
        Ok(unbound.handshake(Wanted { required, ..Wanted::default() })?)
    };
    open().map_err(|why| println_skip(&*why)).ok()
}

#[expect(clippy::print_stdout, reason = "a skip says why")]
fn println_skip(why: &dyn std::fmt::Display) {
    println!("skipped: {why}");
}

/// Pages that hold their own number, plus one.
fn content(pages: usize) -> Vec<u8> {
    (0..pages).flat_map(|page| [byte(page); PAGE]).collect()
}

/// What each byte of a page holds.
fn byte(page: usize) -> u8 {
    u8::try_from(page % 250 + 1).expect("small")
}

fn crew() -> Crew {
    let options = CrewOptions { resolvers: 2, ..CrewOptions::default() };
    Crew::start(options, Arc::new(MonotonicClock::new())).expect("threads start")
}

/// Memory of this process that is served.
struct Served {
    crew: Crew,
    pager: Option<Pager>,
    memory: Arc<Mapping>,
    lost: Arc<AtomicU64>,
}

const ALL_EVENTS: Features =
    Features::EVENT_REMOVE.union(Features::EVENT_REMAP).union(Features::EVENT_UNMAP);

impl Served {
    fn new(memory: Mapping, policy: Policy, source: Arc<dyn PageSource>) -> Option<Served> {
        Served::with(memory, policy, source, Modes::MISSING, |_| {})
    }

    fn with(
        memory: Mapping,
        policy: Policy,
        source: Arc<dyn PageSource>,
        modes: Modes,
        change: impl FnOnce(&mut RegionSpec),
    ) -> Option<Served> {
        let memory = Arc::new(memory);
        let features = if policy.events { ALL_EVENTS } else { Features::empty() };
        let protects = modes.contains(Modes::WP);
        let features = if protects { features | Features::PAGEFAULT_FLAG_WP } else { features };
        let mut own = OwnMemory::new(uffd(features | Features::POISON)?);
        let minor = modes.contains(Modes::MINOR);
        match minor {
            true => own.register_filled(Arc::clone(&memory), modes).expect("room").expect("shmem"),
            false => own.register(Arc::clone(&memory), modes).expect("plain memory"),
        }
        let lost = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&lost);
        let hear: Hear = Arc::new(move |tell| {
            if let Tell::Lost { pages, .. } = tell {
                count.fetch_add(pages.count, Ordering::Relaxed);
            }
        });
        let mut space =
            Space::new(Arc::new(own), policy, Box::new(Quiet), Ending::Poison).heard_by(hear);
        let range = memory.range();
        let size = memory.page_size();
        let mut spec = RegionSpec {
            page_size: size,
            tracked: protects,
            ..RegionSpec::new(range.start(), range.page_count(size))
        };
        change(&mut spec);
        space.add(spec, source);
        let crew = crew();
        let pager = crew.serve(space).expect("a descriptor that can be waited for");
        Some(Served { crew, pager: Some(pager), memory, lost })
    }

    fn pager(&self) -> &Pager {
        self.pager.as_ref().expect("not ended yet")
    }

    fn end(&mut self, ending: Ending) {
        drop(self.pager.take().expect("ended once").end(ending));
    }

    fn first_byte(&self, page: usize) -> u8 {
        self.memory.load_u8(Len((page * PAGE) as u64))
    }

    fn state(&self, page: u64) -> State {
        self.pager().table(REGION).get(PageIndex(page)).state()
    }
}

/// Which pages are there.
fn present(memory: &Mapping) -> Vec<bool> {
    let pagemap = Pagemap::of_self().expect("our own pagemap");
    let there =
        |page: faultless_pages::VaRange| pagemap.entry(page.start()).expect("mapped").is_present();
    memory.range().chunks(memory.page_size().bytes()).map(there).collect()
}

fn bytes(pages: usize) -> Arc<dyn PageSource> {
    Arc::new(Bytes::new(content(pages), PageSize::KIB4))
}

fn anonymous(pages: usize) -> Mapping {
    Mapping::anonymous(Len((pages * PAGE) as u64)).expect("room")
}

/// A source that has to be waited for.
struct Slow(Arc<dyn PageSource>);

impl PageSource for Slow {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        std::thread::sleep(Duration::from_millis(1));
        self.0.fetch(order, room)
    }
}

#[test]
fn every_page_of_own_memory_is_served_to_many_threads() {
    let _alone = alone();
    let Some(mut served) = Served::new(anonymous(256), Policy::default(), bytes(256)) else {
        return;
    };
    std::thread::scope(|scope| {
        for first in 0..4 {
            let served = &served;
            scope.spawn(move || {
                for page in (0..256).map(|page| (page * 7 + first * 64) % 256) {
                    assert_eq!(served.first_byte(page), byte(page));
                }
            });
        }
    });
    served.end(Ending::Complete);
    assert_eq!(served.crew.served(), 0);
}

/// Says whether all readers are asleep at this moment.
fn readers_are_asleep() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("our own tasks");
    let file = |task: &std::fs::DirEntry, name| {
        // Gone: a thread that has ended looks at nothing.
        std::fs::read_to_string(task.path().join(name)).unwrap_or_default()
    };
    tasks.flatten().filter(|task| file(task, "comm").trim() == "pages-read").all(|task| {
        let stat = file(&task, "stat");
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
    })
}

#[test]
fn readers_sleep_when_nothing_comes() {
    let _alone = alone();
    let Some(mut served) = Served::new(anonymous(256), Policy::default(), bytes(256)) else {
        return;
    };
    for page in 0..256 {
        assert_eq!(served.first_byte(page), byte(page));
    }
    let patience = std::time::Instant::now();
    let mut looks = 0;
    // One that looks again and again may seem asleep once, by chance.
    while looks < 20 {
        assert!(patience.elapsed() < Duration::from_secs(60), "readers never sleep");
        std::thread::sleep(Duration::from_millis(1));
        looks = if readers_are_asleep() { looks + 1 } else { 0 };
    }
    served.end(Ending::Complete);
}

#[test]
fn a_source_that_takes_its_time_is_waited_for_by_resolvers() {
    let _alone = alone();
    let slow = Arc::new(Slow(bytes(32)));
    let Some(mut served) = Served::new(anonymous(32), Policy::default(), slow) else { return };
    for page in 0..16 {
        assert_eq!(served.first_byte(page), byte(page));
    }
    served.end(Ending::Complete);
    // The rest was brought before the memory was let go.
    assert_eq!(served.first_byte(31), 32);
}

#[test]
fn what_is_discarded_reads_as_zeros_and_not_as_its_source() {
    let _alone = alone();
    let Some(mut served) = Served::new(anonymous(8), Policy::default(), bytes(8)) else { return };
    assert_eq!(served.first_byte(3), 4);
    let range = served.memory.range_of(Len(3 * PAGE as u64), Len(2 * PAGE as u64));
    served.memory.advise(range, Advice::DontNeed).expect("own memory");
    assert_eq!((served.first_byte(3), served.first_byte(4), served.first_byte(5)), (0, 0, 6));
    served.end(Ending::Complete);
    assert_eq!((served.first_byte(3), served.first_byte(4), served.first_byte(7)), (0, 0, 8));
}

#[test]
fn what_is_written_is_known_where_it_is_tracked() {
    let _alone = alone();
    let modes = Modes::MISSING | Modes::WP;
    let served = Served::with(anonymous(8), Policy::default(), bytes(8), modes, |_| {});
    let Some(mut served) = served else { return };
    assert_eq!(served.first_byte(1), 2);
    served.memory.store_u8(Len(2 * PAGE as u64), 77);
    let dirty = |page| served.pager().table(REGION).get(PageIndex(page)).is_dirty();
    assert_eq!((dirty(1), dirty(2)), (false, true));
    assert_eq!(served.first_byte(2), 77);
    served.end(Ending::Complete);
}

#[test]
fn pages_that_were_not_written_are_dropped_and_come_again() {
    let _alone = alone();
    let modes = Modes::MISSING | Modes::WP;
    let served = Served::with(anonymous(8), Policy::default(), bytes(8), modes, |_| {});
    let Some(mut served) = served else { return };
    assert_eq!(served.first_byte(1), 2);
    served.memory.store_u8(Len(2 * PAGE as u64), 77);
    served.pager().evict(REGION, PageRun::new(0, 8));
    assert_eq!((served.state(1), served.state(2)), (State::Absent, State::Present));
    assert_eq!((served.first_byte(1), served.first_byte(2)), (2, 77));
    served.end(Ending::Complete);
}

/// A source that has lost everything.
struct Lost;

impl PageSource for Lost {
    fn fetch(&self, _: &Order, _: &mut [u8]) -> Result<Fetched, FetchError> {
        Err(FetchError::Final("lost".to_owned()))
    }
}

#[test]
fn a_lost_page_is_poison_and_its_user_is_told() {
    let _alone = alone();
    let Some(mut served) = Served::new(anonymous(4), Policy::default(), Arc::new(Lost)) else {
        return;
    };
    served.end(Ending::Complete);
    assert_eq!(served.lost.load(Ordering::Relaxed), 4);
    // Nothing is there, not even zeros: an access is a bus error.
    assert_eq!(present(&served.memory), [false; 4]);
}

#[test]
fn shared_memory_is_filled_through_a_second_mapping() {
    let _alone = alone();
    let memory = Mapping::memfd(Len(16 * PAGE as u64)).expect("room");
    let modes = Modes::MISSING | Modes::MINOR;
    let policy = Policy::default();
    let served = Served::with(memory, policy, bytes(16), modes, |spec| spec.ways = Ways::FILLED);
    let Some(mut served) = served else { return };
    assert_eq!((served.first_byte(0), served.first_byte(15)), (1, 16));
    let range = served.memory.range_of(Len(0), Len(PAGE as u64));
    served.memory.advise(range, Advice::Remove).expect("shared memory");
    assert_eq!(served.first_byte(0), 0);
    served.end(Ending::Complete);
    assert_eq!(served.first_byte(7), 8);
}

#[test]
fn the_background_brings_everything_without_anybody_touching_it() {
    let _alone = alone();
    let policy = Policy { background: Some(Background::default()), ..Policy::default() };
    let Some(mut served) = Served::new(anonymous(512), policy, bytes(512)) else { return };
    let patience = std::time::Instant::now();
    while served.state(511) != State::Present {
        assert!(patience.elapsed() < Duration::from_secs(60), "the background stands still");
        std::thread::sleep(Duration::from_millis(1));
    }
    served.end(Ending::Complete);
    assert!((0..512).all(|page| served.first_byte(page) == byte(page)));
}

#[test]
fn a_successor_takes_over_while_threads_wait() {
    let _alone = alone();
    let slow = Arc::new(Slow(bytes(64)));
    let Some(mut served) = Served::new(anonymous(64), Policy::default(), slow) else { return };
    std::thread::scope(|scope| {
        let memory = Arc::clone(&served.memory);
        let reader = scope.spawn(move || {
            (0..64).all(|page| memory.load_u8(Len((page * PAGE) as u64)) == byte(page))
        });
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(5));
            let pager = served.pager.take().expect("in service");
            let table = pager.table(REGION);
            let kernel = pager.end(Ending::HandOver);
            let mut space = Space::new(kernel, Policy::default(), Box::new(Quiet), Ending::Poison);
            let spec = RegionSpec::new(served.memory.range().start(), 64);
            space.add_with(spec, table, Arc::new(Slow(bytes(64))));
            served.pager = Some(served.crew.serve(space).expect("as before"));
        }
        assert!(reader.join().expect("no panic"));
    });
    served.end(Ending::Complete);
}

/// Says whether so many huge pages are free.
fn has_free_huge_pages(count: u64) -> bool {
    let pages = |what| {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{what}_hugepages");
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok())
    };
    // Those that others have reserved are free and not to be had.
    let (Some(free), Some(reserved)) = (pages("free"), pages("resv")) else { return false };
    free.saturating_sub(reserved) >= count
}

#[test]
fn huge_pages_are_served_where_some_are_reserved() {
    let _alone = alone();
    if !has_free_huge_pages(2) {
        println_skip(&"no two huge pages are free; reserve them by vm.nr_hugepages");
        return;
    }
    let memory = Mapping::hugetlb(PageSize::MIB2, Len::mib(4)).expect("two pages are free");
    let mut content = vec![7; 2 << 20];
    content.resize(4 << 20, 9);
    let source = Arc::new(Bytes::new(content, PageSize::MIB2));
    let policy = Policy::default();
    let change = |spec: &mut RegionSpec| spec.ways = Ways::HUGETLB;
    let served = Served::with(memory, policy, source, Modes::MISSING, change);
    let Some(mut served) = served else { return };
    assert_eq!(served.memory.load_u8(Len((4 << 20) - 1)), 9);
    served.end(Ending::Complete);
    assert_eq!(served.memory.load_u8(Len((2 << 20) - 1)), 7);
}

#[test]
fn a_pager_that_is_dropped_does_what_was_chosen_for_it() {
    let _alone = alone();
    let Some(mut served) = Served::new(anonymous(4), Policy::default(), bytes(4)) else { return };
    assert_eq!(served.first_byte(0), 1);
    drop(served.pager.take());
    let Served { crew, memory, .. } = served;
    drop(crew);
    assert_eq!(present(&memory), [true, false, false, false]);
    assert_eq!(memory.load_u8(Len(0)), 1);
}
