//! Changes of the map beside what the kernel does to pages on its own: whatever comes in between,
//! the books agree, nothing is lost, and nothing is left behind.

#![forbid(unsafe_code)]

use std::future::Future;

use faultless_mm::{
    Advice, Choice, Counterexample, Kernel, MapRequest, Profile, Protection, RemapRequest, Runner,
    ThreadId, Trial, explore,
};
use faultless_pages::{Bytes, Va};

const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;
/// Miri takes seconds for one interleaving of a huge page.
const PREEMPTIONS: Option<usize> = Some(if cfg!(miri) { 0 } else { 2 });
/// Where areas are moved to.
const ELSEWHERE: Va = Va(0x7000_0000_0000);

/// A process whose memory is one huge page and a base page behind it, both used.
struct Place {
    kernel: Kernel,
    runner: Runner,
    who: ThreadId,
    at: Va,
}

impl Place {
    fn new() -> Place {
        let kernel = Kernel::new(Profile::linux_6_18());
        let runner = Runner::new(kernel.clone(), Choice::Straight);
        let who = kernel.spawn();
        let at = Va(0x6000_0000_0000);
        let mut place = Place { kernel, runner, who, at };
        let len = Bytes(HUGE + PAGE);
        let request = MapRequest { at, fixed: true, ..MapRequest::anonymous(len) };
        let kernel = place.kernel.clone();
        place.now(kernel.map(who, request)).expect("room");
        place.now(kernel.advise(who, at, len, Advice::Huge(true))).expect("plain memory");
        for offset in [0, 3 * PAGE, HUGE] {
            place.now(kernel.store(who, at.add(Bytes(offset)), &[1])).expect("plain memory");
        }
        place
    }

    fn now<T>(&mut self, operation: impl Future<Output = T>) -> T {
        self.runner.now(self.who, operation).expect("nothing to wait for")
    }

    /// Races two operations, each of a thread of its own.
    fn race<A: Future<Output = ()> + 'static, B: Future<Output = ()> + 'static>(
        &mut self,
        trial: &mut Trial,
        first: impl FnOnce(Kernel, ThreadId) -> A,
        second: impl FnOnce(Kernel, ThreadId) -> B,
    ) -> Result<(), String> {
        let [one, two] = [(); 2].map(|()| self.kernel.spawn_thread(self.who));
        let ends = [
            self.runner.start(one, first(self.kernel.clone(), one)),
            self.runner.start(two, second(self.kernel.clone(), two)),
        ];
        trial.race(&mut self.runner);
        if ends.iter().any(|end| end.take().is_none()) {
            return Err("never ends".into());
        }
        self.kernel.audit()
    }

    fn byte(&mut self, at: Va) -> Option<u8> {
        let (kernel, who) = (self.kernel.clone(), self.who);
        let mut out = [0];
        self.now(kernel.load(who, at, &mut out)).ok().map(|()| out[0])
    }

    /// Ends the process, which must leave nothing behind.
    fn end(mut self) -> Result<(), String> {
        let kernel = self.kernel.clone();
        self.now(kernel.exit(kernel.process_of(self.who)));
        match kernel.usage().frames {
            0 => Ok(()),
            left => Err(format!("{left} frames are left behind")),
        }
    }
}

async fn split(kernel: Kernel, who: ThreadId, at: Va) {
    // EBUSY is an answer too.
    let _ = kernel.split_huge_page(who, at).await;
}

#[track_caller]
fn holds(result: Result<u64, Counterexample>) {
    match result {
        Ok(runs) => assert!(runs > 10 || cfg!(miri), "only {runs} interleavings"),
        Err(counterexample) => panic!("{counterexample}"),
    }
}

#[test]
fn a_huge_page_is_split_beside_its_unmapping() {
    holds(explore(PREEMPTIONS, |trial| {
        let mut place = Place::new();
        let at = place.at;
        place.race(
            trial,
            |kernel, who| async move { kernel.unmap(who, at, Bytes(HUGE)).await.expect("a range") },
            |kernel, who| split(kernel, who, at),
        )?;
        place.end()
    }));
}

#[test]
fn a_huge_page_is_split_beside_its_move() {
    let to = ELSEWHERE;
    holds(explore(PREEMPTIONS, |trial| {
        let mut place = Place::new();
        let at = place.at;
        let len = Bytes(HUGE + PAGE);
        let request = RemapRequest {
            from: at,
            len,
            new_len: len,
            may_move: true,
            to: Some(to),
            dont_unmap: false,
        };
        place.race(
            trial,
            |kernel, who| async move {
                kernel.remap(who, request).await.expect("room");
            },
            |kernel, who| split(kernel, who, at),
        )?;
        for offset in [0, 3 * PAGE, HUGE] {
            if place.byte(to.add(Bytes(offset))) != Some(1) {
                return Err(format!("what was stored at {offset:#x} is lost"));
            }
        }
        place.end()
    }));
}

#[test]
fn a_page_is_migrated_beside_a_change_of_protection() {
    holds(explore(PREEMPTIONS, |trial| {
        let mut place = Place::new();
        let at = place.at;
        place.race(
            trial,
            |kernel, who| async move {
                kernel.protect(who, at, Bytes(HUGE), Protection::READ).await.expect("plain memory");
            },
            |kernel, who| async move {
                let _ = kernel.migrate_page(who, at).await;
            },
        )?;
        let (kernel, who) = (place.kernel.clone(), place.who);
        if place.now(kernel.store(who, at, &[2])).is_ok() {
            return Err("read-only memory was written".into());
        }
        place.end()
    }));
}

/// Two places in two tables are moved one after the other, and a load may come in between.
#[test]
fn a_move_takes_its_tables_one_by_one() {
    let mut met = false;
    let to = ELSEWHERE;
    holds(explore(PREEMPTIONS, |trial| {
        let mut place = Place::new();
        let at = place.at;
        let len = Bytes(HUGE + PAGE);
        let request = RemapRequest {
            from: at,
            len,
            new_len: len,
            may_move: true,
            to: Some(to),
            dont_unmap: false,
        };
        let found = std::rc::Rc::new(std::cell::Cell::new([false; 2]));
        let seen = std::rc::Rc::clone(&found);
        place.race(
            trial,
            |kernel, who| async move {
                kernel.remap(who, request).await.expect("room");
            },
            |kernel, who| async move {
                let there = |at: Va| kernel.pagemap(who, at, 1)[0] >> 63 == 1;
                seen.set([there(to), there(at.add(Bytes(HUGE)))]);
            },
        )?;
        met |= found.get() == [true, true];
        place.end()
    }));
    assert!(met || cfg!(miri), "no interleaving finds one moved and the other not");
}
