//! From fault to page: how long, by what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Histogram;
use crate::page::{PageIndex, PageRun, RegionId};
use crate::port::{Observation, Observer, Time, What};

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// Content was put there.
    Content,
    /// Zeros were put there.
    Zeros,
    /// Somebody else had put something there.
    Found,
    /// Leave to write was given.
    Write,
    /// The page was given up meanwhile.
    Removed,
    /// The page is lost.
    Lost,
}

/// Faults that wait, and how long others did. A handle: clones share what they count.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    waiting: BTreeMap<(RegionId, PageIndex), Time>,
    histograms: BTreeMap<Answer, Histogram>,
}

impl Latencies {
    /// How long faults took so far, by what came of them. Counted from when a fault was read to
    /// when its page was there.
    #[must_use]
    pub fn histograms(&self) -> BTreeMap<Answer, Histogram> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).histograms.clone()
    }

    /// How many pages are waited for.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).waiting.len()
    }
}

impl Counts {
    fn answered(&mut self, region: RegionId, pages: PageRun, at: Time, answer: Answer) {
        let range = (region, pages.first)..(region, pages.end());
        let answered: Vec<_> =
            self.waiting.range(range).map(|(key, since)| (*key, *since)).collect();
        for (key, since) in answered {
            self.waiting.remove(&key);
            self.histograms.entry(answer).or_default().add(at.since(since));
        }
    }
}

impl Observer for Latencies {
    fn observe(&mut self, observation: Observation) {
        let Observation { at, region, pages, what } = observation;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match what {
            What::Faulted => {
                for page in pages.pages() {
                    counts.waiting.entry((region, page)).or_insert(at);
                }
                return;
            }
            What::Installed => Answer::Content,
            What::Zeroed => Answer::Zeros,
            What::Found => Answer::Found,
            What::Written => Answer::Write,
            What::Removed => Answer::Removed,
            What::Poisoned => Answer::Lost,
            _ => return,
        };
        counts.answered(region, pages, at, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observation(at: u64, first: u64, count: u64, what: What) -> Observation {
        Observation { at: Time(at), region: RegionId(0), pages: PageRun::new(first, count), what }
    }

    #[test]
    fn a_fault_lasts_until_its_page_is_there() {
        let mut latencies = Latencies::default();
        let watch = latencies.clone();
        latencies.observe(observation(100, 3, 1, What::Faulted));
        latencies.observe(observation(150, 3, 1, What::Faulted));
        latencies.observe(observation(160, 9, 1, What::Faulted));
        latencies.observe(observation(1100, 2, 4, What::Installed));
        assert_eq!(watch.waiting(), 1);
        let histograms = watch.histograms();
        assert_eq!(histograms[&Answer::Content].count(), 1);
        assert_eq!(histograms[&Answer::Content].permille(1000).map(|span| span.0), Some(1023));
        latencies.observe(observation(1200, 9, 1, What::Poisoned));
        assert_eq!(watch.histograms()[&Answer::Lost].count(), 1);
        assert_eq!(watch.waiting(), 0);
    }
}
