//! The last so many observations, as a trace that Perfetto opens.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::port::{Observation, Observer, What};
use crate::prefetch::Recording;

/// Keeps the newest observations and forgets the oldest. A handle: clones share what they keep.
///
/// Its room is taken when it is made and never grows, so it may run for as long as a service does.
#[derive(Clone, Debug)]
pub struct FlightRecorder(Arc<Mutex<Ring>>);

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Observation>,
    room: usize,
    forgotten: u64,
}

impl FlightRecorder {
    /// Keeps so many observations.
    #[must_use]
    pub fn new(room: usize) -> FlightRecorder {
        let room = room.max(1);
        let ring = Ring { kept: VecDeque::with_capacity(room), room, forgotten: 0 };
        FlightRecorder(Arc::new(Mutex::new(ring)))
    }

    /// What is kept, the oldest first, and how many observations were forgotten.
    #[must_use]
    pub fn kept(&self) -> (Vec<Observation>, u64) {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (ring.kept.iter().copied().collect(), ring.forgotten)
    }

    /// The pages that were waited for, in the order of their first fault: what another policy is
    /// to be tried on, or a [working set](crate::prefetch::WorkingSet) is made of. An epoch is
    /// this many nanoseconds.
    #[must_use]
    pub fn recording(&self, region: crate::page::RegionId, epoch: u64) -> Recording {
        let mut recording = Recording::default();
        for seen in self.kept().0 {
            if seen.what == What::Faulted && seen.region == region {
                for page in seen.pages.pages() {
                    recording.touch(page, seen.at.0 / epoch.max(1));
                }
            }
        }
        recording
    }

    /// A trace in the JSON format that Perfetto and browsers open: an instant for each
    /// observation, a row for each kind.
    #[must_use]
    pub fn to_trace(&self) -> String {
        let mut trace = String::from("{\"traceEvents\":[");
        for (place, seen) in self.kept().0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let (name, row) = row(seen.what);
            let microseconds = (seen.at.0 / 1000, seen.at.0 % 1000);
            // Writing to a string cannot fail.
            let _ = write!(
                trace,
                "{comma}\n{{\"name\":\"{name}\",\"ph\":\"i\",\"s\":\"t\",\"pid\":{},\"tid\":{row},\
                 \"ts\":{}.{:03},\"args\":{{\"first\":{},\"pages\":{}}}}}",
                seen.region.0, microseconds.0, microseconds.1, seen.pages.first.0, seen.pages.count,
            );
        }
        trace.push_str("\n]}\n");
        trace
    }
}

/// What an observation is called in a trace, and in which row it is.
fn row(what: What) -> (&'static str, u32) {
    match what {
        What::Faulted => ("fault", 0),
        What::Asked(_) => ("fetch", 1),
        What::Fetched(_) => ("fetched", 1),
        What::FetchFailed => ("fetch failed", 1),
        What::Installed => ("install", 2),
        What::Found => ("found", 2),
        What::Zeroed => ("zero", 2),
        What::Woken => ("wake", 3),
        What::Parked => ("park", 3),
        What::Written => ("written", 4),
        What::Removed => ("removed", 4),
        What::Evicted => ("evict", 4),
        What::Poisoned => ("poison", 4),
    }
}

impl Observer for FlightRecorder {
    fn observe(&mut self, observation: Observation) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.kept.len() == ring.room {
            ring.kept.pop_front();
            ring.forgotten += 1;
        }
        ring.kept.push_back(observation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{PageRun, RegionId};
    use crate::port::Time;

    fn seen(at: u64, page: u64, what: What) -> Observation {
        Observation { at: Time(at), region: RegionId(1), pages: PageRun::new(page, 1), what }
    }

    #[test]
    fn the_newest_are_kept_and_the_others_counted() {
        let mut recorder = FlightRecorder::new(2);
        for page in 0..5 {
            recorder.observe(seen(page, page, What::Faulted));
        }
        let (kept, forgotten) = recorder.kept();
        assert_eq!(kept.iter().map(|seen| seen.at.0).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(forgotten, 3);
        assert_eq!(recorder.recording(RegionId(1), 1).len(), 2);
        assert!(recorder.recording(RegionId(0), 1).is_empty());
    }

    #[test]
    fn a_trace_has_a_line_for_each() {
        let mut recorder = FlightRecorder::new(8);
        recorder.observe(seen(1_234_567, 9, What::Faulted));
        recorder.observe(seen(2_000_001, 9, What::Installed));
        let trace = recorder.to_trace();
        let expected = "{\"traceEvents\":[\n\
            {\"name\":\"fault\",\"ph\":\"i\",\"s\":\"t\",\"pid\":1,\"tid\":0,\"ts\":1234.567,\
            \"args\":{\"first\":9,\"pages\":1}},\n\
            {\"name\":\"install\",\"ph\":\"i\",\"s\":\"t\",\"pid\":1,\"tid\":2,\"ts\":2000.001,\
            \"args\":{\"first\":9,\"pages\":1}}\n]}\n";
        assert_eq!(trace, expected);
    }
}
