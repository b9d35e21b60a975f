//! The thread whose operations are slowed down while its memory is copied.
//!
//! [`Writer`] does what a store in memory does for a client: pick a record, read it, change it.
//! Nine operations in ten go to a tenth of the memory, as the popular records of a real store do;
//! the rest go anywhere. Between them it computes for a while, as a store does to read
//! and answer a request: without that, a single thread would touch every page within a second, as
//! no real load does.
//!
//! An operation is timed from the moment it is due, not from the moment it starts: one that is held
//! up while the process is stopped was asked for all the same.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::bench::snapshot::random::Xorshift;

use super::Interval;
use super::histogram::Histogram;
use super::memory::Memory;

/// One operation in this many leaves the hot part of the memory.
const COLD_EVERY: u64 = 10;
/// The hot part is one page in this many, spread evenly.
const HOT_SHARE: u64 = 10;
/// Words read before the write: a record of 512 bytes.
const RECORD_WORDS: u64 = 64;
/// Time between operations: some two hundred thousand requests a second, a busy thread of a fast
/// store.
const THINKING: Duration = Duration::from_micros(4);

/// The latencies of the writing thread, read by the answering one.
pub(super) struct Writer {
    latencies: Mutex<Histogram>,
}

impl Writer {
    /// Makes a writer that has done nothing yet.
    pub(super) fn new() -> Writer {
        Writer { latencies: Mutex::new(Histogram::new()) }
    }

    /// Works until told to stop.
    pub(super) fn run(&self, memory: &Memory, running: &AtomicBool) {
        let mut random = Xorshift::new(2);
        let mut due = Instant::now();
        while running.load(Ordering::Relaxed) {
            update_record(memory, pick(memory.pages(), &mut random));
            let ns = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
            // Locked after the operation: a write that waits must not make the answer wait.
            self.locked(|latencies| latencies.record(ns));
            due = Instant::now() + THINKING;
            while Instant::now() < due {
                spin_loop();
            }
        }
    }

    /// Returns the writer's part of the interval since the last call and starts over.
    pub(super) fn take(&self) -> Interval {
        let taken = self.locked(|latencies| std::mem::replace(latencies, Histogram::new()));
        Interval {
            writes: taken.count(),
            write_p50_ns: taken.quantile(500),
            write_p99_ns: taken.quantile(990),
            write_max_ns: taken.max(),
            ..Interval::default()
        }
    }

    fn locked<T>(&self, body: impl FnOnce(&mut Histogram) -> T) -> T {
        // A histogram is whole after every call, whoever panicked.
        body(&mut self.latencies.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads a record at the start of `page` and counts the visit in its first word.
fn update_record(memory: &Memory, page: u64) {
    let sum = (0..RECORD_WORDS).fold(0, |sum: u64, word| sum ^ memory.load(page, word));
    black_box(sum);
    memory.store(page, 0, memory.load(page, 0).wrapping_add(1));
}

fn pick(pages: u64, random: &mut Xorshift) -> u64 {
    let page = random.below(pages);
    if random.below(COLD_EVERY) == 0 { page } else { page - page % HOT_SHARE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_writes_go_to_a_tenth_of_the_pages() {
        let mut random = Xorshift::new(1);
        let picked: Vec<u64> = (0..10_000).map(|_| pick(1000, &mut random)).collect();
        let hot = picked.iter().filter(|page| *page % HOT_SHARE == 0).count();
        assert!((8_500..9_500).contains(&hot), "{hot}");
        assert!(picked.iter().all(|page| *page < 1000));
        assert!(picked.iter().any(|page| page % HOT_SHARE != 0));
    }
}
