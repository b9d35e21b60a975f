//! Where the content of pages comes from.

use crate::core::FetchId;
use crate::page::PageRun;

/// A wish for pages of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What the answer is to be named.
    pub fetch: FetchId,
    /// Which pages, as the source counts them.
    pub pages: PageRun,
    /// How pressing it is.
    pub urgency: Urgency,
    /// How often it failed before.
    pub attempt: u32,
}

/// How pressing a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// A thread waits.
    Demand,
    /// A thread is expected to want it soon.
    Prefetch,
    /// It will be wanted some day.
    Background,
}

/// What a run of pages holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The bytes that the fetch brought.
    Bytes,
    /// Zeros, of which no bytes were brought.
    Zeros,
    /// What the page cache behind the memory holds already.
    Cached,
}

/// What a fetch brought: its pages in order, cut into runs that hold the same kind of content.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Fetched {
    /// How many pages of what, one after the other.
    pub runs: Vec<(u64, Content)>,
}

impl Fetched {
    /// All of it is bytes.
    #[must_use]
    pub fn bytes(pages: u64) -> Fetched {
        Fetched { runs: vec![(pages, Content::Bytes)] }
    }

    /// All of it is zeros.
    #[must_use]
    pub fn zeros(pages: u64) -> Fetched {
        Fetched { runs: vec![(pages, Content::Zeros)] }
    }

    /// Puts more pages behind, joined to what is there where it is alike.
    pub fn push(&mut self, pages: u64, content: Content) {
        match self.runs.last_mut() {
            Some((count, last)) if *last == content => *count += pages,
            _ => self.runs.push((pages, content)),
        }
    }

    /// How many pages there are.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.runs.iter().map(|(count, _)| count).sum()
    }
}

/// Why a fetch brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It may work another time: a connection broke, an answer did not come, what came was not
    /// what it should be.
    #[error("{0}")]
    Passing(String),
    /// It will never work: the source does not have it any more.
    #[error("{0}")]
    Final(String),
}

/// Brings the content of pages.
///
/// Blocking: a shell calls it where it may take its time, in as many threads as it wants orders
/// under way. A source that works in the background is asked by its own shell.
pub trait PageSource: Send + Sync {
    /// Puts the content of pages into `room`, which is as long as they are and may hold anything.
    /// Rooms of pages whose content is not [`Content::Bytes`] may be left as they are.
    ///
    /// # Errors
    /// See [`FetchError`]. Nothing of `room` is looked at then.
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError>;

    /// Says whether it never waits, so that whoever reads messages may ask it on the way.
    fn is_quick(&self) -> bool {
        false
    }

    /// Lends the content of pages that is in memory anyway, instead of copying it. The same pages
    /// are lent as often as they are asked for. A signal handler may ask: it allocates nothing and
    /// takes no lock.
    fn lend(&self, _: PageRun) -> Option<&[u8]> {
        None
    }
}

impl<S: PageSource + ?Sized> PageSource for std::sync::Arc<S> {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        (**self).fetch(order, room)
    }

    fn is_quick(&self) -> bool {
        (**self).is_quick()
    }

    fn lend(&self, pages: PageRun) -> Option<&[u8]> {
        (**self).lend(pages)
    }
}

impl<S: PageSource + ?Sized> PageSource for Box<S> {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        (**self).fetch(order, room)
    }

    fn is_quick(&self) -> bool {
        (**self).is_quick()
    }

    fn lend(&self, pages: PageRun) -> Option<&[u8]> {
        (**self).lend(pages)
    }
}
