//! The thread whose missing time is the pause.
//!
//! [`Ticker`] reads the clock without end and remembers the longest time between two readings. It
//! sets no timer and waits for nothing, so only two things keep it from its next reading: being
//! stopped, and not being given a processor. The kernel counts the latter for every thread
//! (`schedstat`), which tells the two apart: on a busy host the scheduler alone makes gaps as long
//! as a short pause.
//!
//! It stands last in the queue. Spinning costs a processor, and only the tool that lets the process
//! run would have to do without it; what the ticker waits for its turn is not counted anyway.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;

/// Gaps shorter than this are an interrupt; longer ones may be a switch to another thread, and then
/// the kernel's count must be read, lest it be taken for that of a later gap.
const SWITCH_NS: u64 = 5_000;

/// Counts of the ticking thread, read by the answering one.
#[derive(Default)]
pub(super) struct Ticker {
    longest_gap_ns: AtomicU64,
    longest_stop_ns: AtomicU64,
    ticks: AtomicU64,
}

/// The longest times in which the ticker did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Longest {
    /// For whatever reason.
    pub(super) gap_ns: u64,
    /// Less the time it could have run but had no processor.
    pub(super) stop_ns: u64,
}

impl Ticker {
    /// Ticks until told to stop.
    pub(super) fn run(&self, running: &AtomicBool) {
        // Anybody may step back; where it is refused all the same, the tools are a little slower.
        let _ = setpriority_process(None, 19);
        let schedstat = Schedstat::of_this_thread();
        let mut waited = schedstat.waited_ns();
        let mut last = Instant::now();
        while running.load(Ordering::Relaxed) {
            let now = Instant::now();
            let gap = u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX);
            last = now;
            let mut stop = gap;
            if gap >= SWITCH_NS {
                let waited_before = std::mem::replace(&mut waited, schedstat.waited_ns());
                stop = gap.saturating_sub(waited - waited_before);
            }
            self.longest_gap_ns.fetch_max(gap, Ordering::Relaxed);
            self.longest_stop_ns.fetch_max(stop, Ordering::Relaxed);
            // Release: who sees the tick sees its gap.
            self.ticks.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns the longest times since the last call and starts over.
    ///
    /// Waits for two ticks first: after a pause the asking thread may be the first to run, and the
    /// gap is known only at the tick that ends it.
    pub(super) fn take_longest(&self) -> Longest {
        let seen = self.ticks.load(Ordering::Acquire);
        while self.ticks.load(Ordering::Acquire).wrapping_sub(seen) < 2 {
            thread::sleep(Duration::from_micros(100));
        }
        Longest {
            gap_ns: self.longest_gap_ns.swap(0, Ordering::Relaxed),
            stop_ns: self.longest_stop_ns.swap(0, Ordering::Relaxed),
        }
    }
}

/// The kernel's count of the time a thread was ready to run and did not.
struct Schedstat(Option<File>);

impl Schedstat {
    fn of_this_thread() -> Schedstat {
        Schedstat(File::open("/proc/thread-self/schedstat").ok())
    }

    /// Returns the count; zero for ever on kernels built without it, where every gap then counts
    /// as a stop.
    fn waited_ns(&self) -> u64 {
        let mut text = [0; 96];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        read.and_then(|length| second_number(&text[..length])).unwrap_or(0)
    }
}

/// Reads the second of the numbers of a `schedstat`: on a processor, waiting for one, turns.
fn second_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_taken_once() {
        let (ticker, running) = (Ticker::default(), AtomicBool::new(true));
        ticker.longest_gap_ns.store(u64::MAX, Ordering::Relaxed);
        thread::scope(|scope| {
            scope.spawn(|| ticker.run(&running));
            assert_eq!(ticker.take_longest().gap_ns, u64::MAX);
            assert_ne!(ticker.take_longest().gap_ns, u64::MAX);
            running.store(false, Ordering::Relaxed);
        });
    }

    #[test]
    fn waiting_is_the_second_number_of_schedstat() {
        assert_eq!(second_number(b"7 1955776 1\n"), Some(1_955_776));
        assert_eq!(second_number(b""), None);
    }

    #[test]
    fn a_kernel_without_schedstat_counts_no_waiting() {
        assert_eq!(Schedstat(None).waited_ns(), 0);
    }
}
