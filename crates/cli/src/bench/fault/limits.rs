//! The parts that an answer from another thread is made of, each by itself.
//!
//! A fault that another thread answers costs at least one wake-up there, one back, and the COPY. An
//! answer may be faster than two wake-ups only by not letting anybody fall asleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use faultless_pages::{Bytes, PageSize};
use faultless_uffd::{CopyMode, Features, Modes, OwnedRegistration};

use crate::exit::{Exit, Failure};

use super::crowd::{Expected, Touches, check, run};
use super::scene::{PAGE, Scene, host, uffd};
use super::{Contender, Made, Task};

struct WakeUps;

/// Makes two wake-ups: there and back between two threads, by futex.
pub(super) fn wake_ups<'a>() -> Made<'a> {
    Ok(Ok(Box::new(WakeUps)))
}

impl Contender for WakeUps {
    fn touch(&mut self, task: Task) -> Result<Touches, Failure> {
        let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let over = Arc::new(AtomicBool::new(false));
        let (his_asked, his_over) = (Arc::clone(&asked), Arc::clone(&over));
        let his_answered = Arc::clone(&answered);
        let me = thread::current();
        let other = thread::spawn(move || {
            let mut seen = 0;
            while !his_over.load(Ordering::Acquire) {
                match his_asked.load(Ordering::Acquire) {
                    now if now == seen => thread::park(),
                    now => {
                        seen = now;
                        his_answered.store(now, Ordering::Release);
                        me.unpark();
                    }
                }
            }
        });
        let touches = measure(task, |turn| {
            asked.store(turn + 1, Ordering::Release);
            other.thread().unpark();
            while answered.load(Ordering::Acquire) != turn + 1 {
                thread::park();
            }
        });
        over.store(true, Ordering::Release);
        other.thread().unpark();
        other.join().map_err(|_| Failure::new(Exit::Bug, "the woken thread panicked"))?;
        Ok(touches)
    }

    fn takes_crowds(&self) -> bool {
        false
    }
}

/// Times one call a page on this thread: it is this one that is woken.
fn measure(task: Task, mut one: impl FnMut(u64)) -> Touches {
    let begin = std::time::Instant::now();
    let since = |at: std::time::Instant| u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let turn = |turn| {
        let before = std::time::Instant::now();
        one(turn);
        since(before)
    };
    let each_ns = (0..task.pages).map(turn).collect();
    Touches { each_ns, elapsed_ns: since(begin) }
}

struct Copy<'a>(&'a Scene);

/// Makes the COPY of one page where nobody waits.
pub(super) fn copy(scene: &Scene) -> Made<'_> {
    Ok(Ok(Box::new(Copy(scene))))
}

impl Contender for Copy<'_> {
    fn touch(&mut self, task: Task) -> Result<Touches, Failure> {
        let memory = self.0.memory()?;
        let uffd = Arc::new(uffd(Features::empty())?);
        let registered = OwnedRegistration::new(uffd, Arc::clone(&memory), Modes::MISSING);
        let registered = registered.map_err(|error| host(&error))?;
        let size = PageSize::KIB4.bytes().as_usize();
        let copies = run(task, |page| {
            let at = Bytes(page * PAGE);
            let source = &self.0.content()[at.as_usize()..][..size];
            // Whether it was done shows in what the page holds.
            let _ = registered.copy(memory.range().start().add(at), source, CopyMode::default());
        })?;
        check(&memory, task, Expected::Content)?;
        Ok(copies)
    }

    fn takes_crowds(&self) -> bool {
        false
    }
}
