//! Several sources of the same.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::port::{FetchError, Fetched, Order, PageSource};

/// What the first of several sources brings that can; they hold the same.
///
/// The one that answered last is asked first, so that a source that is down costs one failure and
/// not one for each page.
#[derive(Debug)]
pub struct Mirror<S> {
    sources: Vec<S>,
    preferred: AtomicUsize,
}

impl<S: PageSource> Mirror<S> {
    /// Asks these, the first as long as it answers.
    #[must_use]
    pub fn new(sources: Vec<S>) -> Mirror<S> {
        Mirror { sources, preferred: AtomicUsize::new(0) }
    }
}

impl<S: PageSource> PageSource for Mirror<S> {
    /// Fails for good only if all of them do: one that lost a page does not speak for the others.
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        let count = self.sources.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut worst = FetchError::Final("there is no source".to_owned());
        for place in (0..count).map(|turn| (first + turn) % count) {
            match self.sources[place].fetch(order, room) {
                Ok(fetched) if fetched.pages() >= order.pages.count => {
                    self.preferred.store(place, Ordering::Relaxed);
                    return Ok(fetched);
                }
                Ok(_) => worst = FetchError::Passing("too few pages came".to_owned()),
                Err(error @ FetchError::Passing(_)) => worst = error,
                Err(error) if matches!(worst, FetchError::Final(_)) => worst = error,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}
