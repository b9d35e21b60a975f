//! Pages of the hugetlb pool, and pinned pages, where forks and migration meet them.

#![forbid(unsafe_code)]

use faultless_mm::errno::ENOMEM;
use faultless_mm::{Behind, Choice, Errno, Kernel, MapRequest, Profile, Runner, ThreadId};
use faultless_pages::{Bytes, PageSize, Va};

const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;

struct Town {
    kernel: Kernel,
    runner: Runner,
    who: ThreadId,
}

impl Town {
    fn new(profile: Profile) -> Town {
        let kernel = Kernel::new(profile);
        let runner = Runner::new(kernel.clone(), Choice::Straight);
        let who = kernel.spawn();
        Town { kernel, runner, who }
    }

    fn with_pool(pages: u64) -> Town {
        Town::new(Profile { hugetlb: Some((PageSize::MIB2, pages)), ..Profile::linux_6_18() })
    }

    fn map(&mut self, len: u64, behind: Behind) -> Va {
        let request = MapRequest { behind, ..MapRequest::anonymous(Bytes(len)) };
        self.runner.now(self.who, self.kernel.map(self.who, request)).unwrap().unwrap()
    }

    fn store(&mut self, at: Va, byte: u8) {
        self.runner.now(self.who, self.kernel.store(self.who, at, &[byte])).unwrap().unwrap();
    }

    fn load(&mut self, who: ThreadId, at: Va) -> u8 {
        let mut out = [0];
        self.runner.now(who, self.kernel.load(who, at, &mut out)).unwrap().unwrap();
        out[0]
    }

    fn pin(&mut self, at: Va, len: u64) {
        self.runner.now(self.who, self.kernel.pin(self.who, at, Bytes(len))).unwrap().unwrap();
    }

    fn fork(&mut self) -> Result<ThreadId, Errno> {
        self.runner.now(self.who, self.kernel.fork(self.who)).unwrap()
    }

    fn migrate(&mut self, at: Va) -> Result<(), Errno> {
        self.runner.now(self.who, self.kernel.migrate_page(self.who, at)).unwrap()
    }

    fn exit(&mut self, who: ThreadId) {
        self.runner.now(self.who, self.kernel.exit(self.kernel.process_of(who))).unwrap();
    }
}

#[test]
fn a_pinned_page_of_the_pool_is_copied_whole_for_a_child() {
    let mut town = Town::with_pool(2);
    let at = town.map(HUGE, Behind::Hugetlb);
    let last = at.add(Bytes(HUGE - PAGE));
    town.store(at, 1);
    town.store(last, 2);
    town.pin(at, PAGE);
    let child = town.fork().unwrap();
    town.kernel.audit().unwrap();
    town.store(last, 3);
    assert_eq!((town.load(child, at), town.load(child, last)), (1, 2));
    town.exit(child);
    town.exit(town.who);
    assert_eq!(town.kernel.usage().frames, 0);
}

#[test]
fn a_fork_without_room_for_a_pinned_page_fails_and_leaves_nothing() {
    let mut town = Town::with_pool(1);
    let at = town.map(HUGE, Behind::Hugetlb);
    town.store(at, 1);
    town.pin(at, PAGE);
    let before = town.kernel.usage();
    assert_eq!(town.fork(), Err(ENOMEM));
    town.kernel.audit().unwrap();
    assert_eq!(town.kernel.usage(), before);
    town.store(at, 2);
}

#[test]
fn a_pinned_page_is_not_shared_when_memory_is_full() {
    let mut town = Town::new(Profile { frames: 1, ..Profile::linux_6_18() });
    let at = town.map(PAGE, Behind::Anonymous);
    town.store(at, 1);
    town.pin(at, PAGE);
    assert_eq!(town.fork(), Err(ENOMEM));
    town.kernel.audit().unwrap();
}

#[test]
fn migration_takes_nothing_from_the_pool_for_good() {
    let mut town = Town::with_pool(2);
    let at = town.map(HUGE, Behind::Hugetlb);
    town.store(at.add(Bytes(PAGE)), 7);
    for _ in 0..5 {
        assert_eq!(town.migrate(at), Ok(()));
    }
    assert_eq!(town.load(town.who, at.add(Bytes(PAGE))), 7);
    let other = town.map(HUGE, Behind::Hugetlb);
    town.store(other, 8);
    assert_eq!(town.migrate(at), Err(ENOMEM));
    town.kernel.audit().unwrap();
    town.exit(town.who);
    assert_eq!(town.kernel.usage().frames, 0);
}
