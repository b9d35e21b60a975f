//! Threads that touch memory and time each touch.
//!
//! Each thread has a part of the pages to itself and walks through it once. A touch is a write, so
//! that everybody has to give the page, not merely show it.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use faultless_pages::Bytes;
use faultless_uffd::Mapping;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

use super::Task;
use super::scene::{PAGE, host, word_at};

/// What the touches took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Touches {
    /// Each touch.
    pub(super) each_ns: Vec<u64>,
    /// From the first to the last.
    pub(super) elapsed_ns: u64,
}

/// What memory shall hold once it was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The content.
    Content,
    /// Zeros.
    Zeros,
}

/// Has threads touch the pages of a memory, and checks what they found.
///
/// # Errors
/// [`Exit::Host`] if there are no threads to be had, [`Exit::Bug`] if a page does not hold what it
/// shall.
pub(super) fn touch(memory: &Mapping, task: Task, expected: Expected) -> Result<Touches, Failure> {
    let touches = run(task, |page| memory.store_u64(Bytes(page * PAGE), page))?;
    check(memory, task, expected)?;
    Ok(touches)
}

/// Checks what memory holds behind the first word of each page.
pub(super) fn check(memory: &Mapping, task: Task, expected: Expected) -> Result<(), Failure> {
    for page in 0..task.pages {
        let at = Bytes(page * PAGE + 8);
        let shall = if expected == Expected::Content { word_at(at) } else { 0 };
        if memory.load_u64(at) != shall {
            return Err(Failure::new(Exit::Bug, format_args!("page {page} holds something else")));
        }
    }
    Ok(())
}

/// Has threads do something for each of their pages, all beginning at once.
pub(super) fn run(task: Task, one: impl Fn(u64) + Sync) -> Result<Touches, Failure> {
    let count = usize::try_from(task.threads).map_err(|error| host(&error))?;
    let (line, share) = (Barrier::new(count), task.pages / task.threads);
    let (line, one) = (&line, &one);
    let walk = move |first: u64| {
        let mut each = Vec::with_capacity(usize::try_from(share).unwrap_or(0));
        line.wait();
        let begin = Instant::now();
        for page in first..first + share {
            let before = Instant::now();
            one(page);
            each.push(nanoseconds(before.elapsed()));
        }
        (begin, Instant::now(), each)
    };
    let walks = thread::scope(|scope| {
        let started: Vec<_> =
            (0..task.threads).map(|number| scope.spawn(move || walk(number * share))).collect();
        started.into_iter().map(|walk| walk.join().ok()).collect::<Option<Vec<_>>>()
    });
    let walks = walks.ok_or_else(|| Failure::new(Exit::Bug, "a thread that touches panicked"))?;
    let begin = walks.iter().map(|(begin, _, _)| *begin).min();
    let end = walks.iter().map(|(_, end, _)| *end).max();
    let elapsed = begin.zip(end).map_or(Duration::ZERO, |(begin, end)| end - begin);
    let each_ns = walks.into_iter().flat_map(|(_, _, each)| each).collect();
    Ok(Touches { each_ns, elapsed_ns: nanoseconds(elapsed) })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn threads_share_the_pages_and_time_each() {
        let sum = AtomicU64::new(0);
        let task = Task { threads: 4, pages: 16, around: 0 };
        let touches = run(task, |page| {
            sum.fetch_add(page, Ordering::Relaxed);
        });
        let touches = touches.expect("threads");
        assert_eq!((touches.each_ns.len(), sum.into_inner()), (16, 120));
    }

    #[test]
    fn a_page_that_holds_something_else_is_noticed() {
        let memory = super::super::scene::fresh(Bytes(PAGE)).expect("room");
        let task = Task { threads: 1, pages: 1, around: 0 };
        assert!(touch(&memory, task, Expected::Zeros).is_ok());
        assert!(touch(&memory, task, Expected::Content).is_err());
    }
}
