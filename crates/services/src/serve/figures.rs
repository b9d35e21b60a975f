//! What was done, in numbers.

use serde::{Deserialize, Serialize};

/// What a worker did since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Faults that were read.
    pub faults: u64,
    /// Pages that were put there from the image, those that are zeros there included.
    pub installed: u64,
    /// Pages that were put there again as zeros, after clients had discarded them.
    pub zeroed: u64,
    /// Pages that clients discarded.
    pub removed: u64,
    /// Pages that were lost.
    pub poisoned: u64,
    /// Requests that had to wait for an event.
    pub parked: u64,
    /// Fetches that failed.
    pub failed: u64,
    /// Bytes read of the image.
    pub fetched_bytes: u64,
    /// Bytes of the image kept decompressed.
    pub cached_bytes: u64,
}

impl Figures {
    /// Adds what another worker did; what is kept is the newest's alone.
    pub fn add(&mut self, other: &Figures) {
        self.faults += other.faults;
        self.installed += other.installed;
        self.zeroed += other.zeroed;
        self.removed += other.removed;
        self.poisoned += other.poisoned;
        self.parked += other.parked;
        self.failed += other.failed;
        self.fetched_bytes += other.fetched_bytes;
        self.cached_bytes = other.cached_bytes;
    }

    /// Returns each number with its name and what it counts, as metrics are named.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &'static str, u64); 9] {
        [
            ("faults_total", "faults read", self.faults),
            ("pages_installed_total", "pages put there from the image", self.installed),
            ("pages_zeroed_total", "discarded pages put there again as zeros", self.zeroed),
            ("pages_removed_total", "pages discarded by clients", self.removed),
            ("pages_poisoned_total", "pages lost", self.poisoned),
            ("requests_parked_total", "requests that waited for an event", self.parked),
            ("fetches_failed_total", "fetches that failed", self.failed),
            ("fetched_bytes_total", "bytes read of the image", self.fetched_bytes),
            ("cached_bytes", "bytes of the image kept decompressed", self.cached_bytes),
        ]
    }
}
