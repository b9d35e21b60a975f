//! The pieces between the saver and the disk.
//!
//! A disk takes longer for four writes than for one, and so does waking up after each: pieces that
//! follow each other in the core are handed out together. Where the order is free they are handed
//! out by address, in one sweep after the other, and not before some have come together, so that
//! more of them meet.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use faultless_pages::{Bytes, Va};

use super::buffer::Blocks;

/// So much is handed out together: a disk gains little from longer writes.
const TOGETHER: Bytes = Bytes::mib(4);

/// A piece on its way.
pub(super) struct Job {
    pub(super) at: Va,
    pub(super) data: Data,
    /// It comes before its turn in address order.
    pub(super) ahead: bool,
}

/// What a job carries.
pub(super) enum Data {
    /// Blocks of the pool.
    Pooled(Blocks),
    /// What was copied during the pause.
    Own(Vec<u8>),
}

impl Job {
    fn len(&self) -> Bytes {
        match &self.data {
            Data::Pooled(blocks) => blocks.len(),
            Data::Own(data) => Bytes::from(data.len()),
        }
    }

    /// Returns the memory it takes, which can be more than its length.
    fn takes(&self) -> Bytes {
        match &self.data {
            Data::Pooled(blocks) => blocks.takes(),
            Data::Own(data) => Bytes::from(data.len()),
        }
    }

    /// Returns its content, in order.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (pooled, own) = match &self.data {
            Data::Pooled(blocks) => (Some(blocks.filled()), None),
            Data::Own(data) => (None, Some(data.as_slice())),
        };
        pooled.into_iter().flatten().chain(own)
    }

    fn follows(&self, other: &Job) -> bool {
        self.ahead == other.ahead && self.at == other.at.add(other.len())
    }
}

/// The pieces no thread has taken yet.
pub(super) struct Queue {
    /// Whether pieces may be taken in another order than they came in.
    sorted: bool,
    /// So much memory must have come together before some is handed out.
    enough: Bytes,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// By address, or by number where the order counts.
    jobs: BTreeMap<u64, Job>,
    count: u64,
    /// The memory they take.
    takes: Bytes,
    /// Where the sweep goes on.
    next: u64,
    closed: bool,
}

impl Queue {
    /// Makes an empty queue that keeps the order of coming in.
    pub(super) fn in_order() -> Queue {
        Queue::new(false, Bytes::ZERO)
    }

    /// Makes an empty queue that hands out by address, once pieces that take `enough` memory wait.
    ///
    /// Who puts pieces in must be able to hold that much, or nobody gets any.
    pub(super) fn by_address(enough: Bytes) -> Queue {
        Queue::new(true, enough)
    }

    fn new(sorted: bool, enough: Bytes) -> Queue {
        Queue { sorted, enough, waiting: Mutex::default(), changed: Condvar::new() }
    }

    /// Says whether pieces may be taken in another order than they came in.
    pub(super) fn is_sorted(&self) -> bool {
        self.sorted
    }

    /// Adds a piece; no two may begin at the same address.
    pub(super) fn put(&self, job: Job) {
        let mut waiting = self.waiting();
        waiting.count += 1;
        waiting.takes.0 += job.takes().0;
        let key = if self.sorted { job.at.0 } else { waiting.count };
        waiting.jobs.insert(key, job);
        let is_ready = waiting.is_ready(self.enough);
        drop(waiting);
        if is_ready {
            self.changed.notify_one();
        }
    }

    /// Lets everybody go who waits for more.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_all();
    }

    /// Waits for pieces and takes some that follow each other; none when there will be none.
    pub(super) fn take(&self) -> Vec<Job> {
        let is_idle = |waiting: &mut Waiting| !waiting.is_ready(self.enough) && !waiting.closed;
        let waiting = self.changed.wait_while(self.waiting(), is_idle);
        waiting.unwrap_or_else(PoisonError::into_inner).take()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // It is consistent between any two statements that can panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_ready(&self, enough: Bytes) -> bool {
        !self.jobs.is_empty() && self.takes >= enough
    }

    fn take(&mut self) -> Vec<Job> {
        let mut taken: Vec<Job> = Vec::new();
        let mut len = Bytes::ZERO;
        let ahead = self.jobs.range(self.next..).next();
        let mut next = ahead.or_else(|| self.jobs.first_key_value()).map(|(key, _)| *key);
        while let Some(entry) = next.and_then(|key| self.jobs.remove_entry(&key)) {
            let (key, job) = entry;
            len.0 += job.len().0;
            self.takes.0 -= job.takes().0;
            self.next = key + 1;
            taken.push(job);
            let last = taken.last().expect("one was pushed");
            let following = self.jobs.range(self.next..).next();
            let following = following.filter(|(_, job)| job.follows(last) && len < TOGETHER);
            next = following.map(|(key, _)| *key);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(kib: u64, len_kib: usize) -> Job {
        let data = Data::Own(vec![0; len_kib << 10]);
        Job { at: Va(kib << 10), data, ahead: false }
    }

    fn taken(queue: &Queue) -> Vec<u64> {
        queue.take().iter().map(|job| job.at.0 >> 10).collect()
    }

    #[test]
    fn what_follows_is_taken_together_up_to_a_length() {
        let queue = Queue::by_address(Bytes::ZERO);
        for at in [6, 0, 2, 4, 8] {
            queue.put(job(at << 10, 2048));
        }
        queue.put(job(100 << 10, 64));
        queue.close();
        let taken: Vec<_> = (0..5).map(|_| taken(&queue)).collect();
        assert_eq!(taken, [vec![0, 2048], vec![4096, 6144], vec![8192], vec![102_400], vec![]]);
    }

    #[test]
    fn little_waits_for_more_until_there_will_be_none() {
        let queue = Queue::by_address(Bytes::mib(2));
        let is_ready = || queue.waiting().is_ready(queue.enough);
        queue.put(job(0, 1024));
        assert!(!is_ready());
        queue.put(job(1 << 10, 1024));
        assert!(is_ready());
        assert_eq!(taken(&queue), [0, 1024]);
        queue.put(job(7 << 10, 1024));
        assert!(!is_ready());
        queue.close();
        assert_eq!(taken(&queue), [7 << 10]);
    }

    #[test]
    fn a_sweep_goes_on_before_it_begins_anew() {
        let queue = Queue::by_address(Bytes::ZERO);
        queue.put(job(500, 64));
        assert_eq!(taken(&queue), [500]);
        queue.put(job(100, 64));
        queue.put(job(900, 64));
        assert_eq!(taken(&queue), [900]);
        assert_eq!(taken(&queue), [100]);
    }

    #[test]
    fn where_the_order_counts_it_is_kept() {
        let queue = Queue::in_order();
        for at in [900, 100, 164, 64] {
            queue.put(job(at, 64));
        }
        assert_eq!(taken(&queue), [900]);
        assert_eq!(taken(&queue), [100, 164]);
        assert_eq!(taken(&queue), [64]);
    }
}
