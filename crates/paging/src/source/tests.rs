//! Sources, each alone and put together.

use super::*;
use crate::core::FetchId;
use crate::page::PageIndex;
use crate::port::{FetchError, Order, PageSource, Urgency};

const SIZE: PageSize = PageSize::KIB4;
const PAGE: usize = 4096;

fn order(first: u64, count: u64) -> Order {
    let pages = PageRun::new(first, count);
    Order { fetch: FetchId(0), pages, urgency: Urgency::Demand, attempt: 0 }
}

fn room(pages: usize) -> Vec<u8> {
    vec![0xee; pages * PAGE]
}

/// Pages that hold these bytes throughout.
fn pages(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| [*byte; PAGE]).collect()
}

#[test]
fn memory_ends_in_zeros_and_zero_pages_are_told() {
    let mut bytes = pages(&[1, 0]);
    bytes.extend([7; 10]);
    let source = Bytes::new(bytes, SIZE);
    let mut room = room(4);
    let fetched = source.fetch(&order(0, 4), &mut room).expect("memory does not fail");
    let runs = [Content::Bytes, Content::Zeros, Content::Bytes, Content::Zeros].map(|c| (1, c));
    assert_eq!(fetched.runs, runs);
    assert_eq!(room[2 * PAGE..2 * PAGE + 11], [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
    let beyond = source.fetch(&order(u64::MAX, 1), &mut room[..PAGE]);
    assert_eq!(beyond, Ok(Fetched::zeros(1)));
}

#[test]
fn a_file_is_read_at_its_pages_and_ends_in_zeros() {
    let file = tempfile::tempfile().expect("a scratch file");
    std::os::unix::fs::FileExt::write_all_at(&file, &pages(&[1, 2]), 0).expect("room on disk");
    let source = FileSource::new(file, SIZE);
    let mut room = room(2);
    let fetched = source.fetch(&order(1, 2), &mut room).expect("a plain file");
    assert_eq!(fetched.runs, [(1, Content::Bytes), (1, Content::Zeros)]);
    assert_eq!(room, pages(&[2, 0]));
    assert!(matches!(source.fetch(&order(u64::MAX, 1), &mut room), Err(FetchError::Final(_))));
}

/// A layer that has only page 1.
struct OnlyPage1(Bytes<Vec<u8>>);

impl PageSource for OnlyPage1 {
    fn fetch(&self, order: &Order, room: &mut [u8]) -> Result<Fetched, FetchError> {
        assert_eq!(order.pages, PageRun::new(1, 1), "asked only for what it has");
        self.0.fetch(order, room)
    }
}

impl Upper for OnlyPage1 {
    fn has(&self, page: PageIndex) -> bool {
        page == PageIndex(1)
    }
}

#[test]
fn an_overlay_takes_each_page_from_the_layer_that_has_it() {
    let upper = OnlyPage1(Bytes::new(pages(&[9, 9]), SIZE));
    let overlay = Overlay::new(upper, Bytes::new(pages(&[1, 1, 0]), SIZE), SIZE);
    let mut room = room(3);
    let fetched = overlay.fetch(&order(0, 3), &mut room).expect("memory does not fail");
    assert_eq!(fetched.runs, [(2, Content::Bytes), (1, Content::Zeros)]);
    assert_eq!(room, pages(&[1, 9, 0]));
}

/// A source that fails.
struct Failing(FetchError);

impl PageSource for Failing {
    fn fetch(&self, _: &Order, _: &mut [u8]) -> Result<Fetched, FetchError> {
        Err(self.0.clone())
    }
}

fn passing() -> Box<dyn PageSource> {
    Box::new(Failing(FetchError::Passing("down".to_owned())))
}

fn gone() -> Box<dyn PageSource> {
    Box::new(Failing(FetchError::Final("lost".to_owned())))
}

#[test]
fn a_mirror_falls_back_and_a_page_is_lost_only_if_all_lost_it() {
    let whole: Box<dyn PageSource> = Box::new(Bytes::new(pages(&[5]), SIZE));
    let mut room = room(1);
    let mirror = Mirror::new(vec![gone(), passing(), whole]);
    assert_eq!(mirror.fetch(&order(0, 1), &mut room), Ok(Fetched::bytes(1)));
    let failed = |sources| Mirror::new(sources).fetch(&order(0, 1), &mut [0; PAGE]);
    assert!(matches!(failed(vec![gone(), passing()]), Err(FetchError::Passing(_))));
    assert!(matches!(failed(vec![passing(), gone()]), Err(FetchError::Passing(_))));
    assert!(matches!(failed(vec![gone(), gone()]), Err(FetchError::Final(_))));
    assert!(matches!(failed(vec![]), Err(FetchError::Final(_))));
}

/// Knows that every page is full of its own number.
struct Numbers;

impl Verify for Numbers {
    fn is_right(&self, page: PageIndex, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| u64::from(*byte) == page.0)
    }

    fn is_zeros(&self, page: PageIndex) -> bool {
        page.0 == 0
    }
}

#[test]
fn a_lying_source_is_a_failing_source() {
    let fetch = |bytes: &[u8], first| {
        let source = Verified::new(Bytes::new(pages(bytes), SIZE), Numbers, SIZE);
        source.fetch(&order(first, 2), &mut room(2))
    };
    assert!(fetch(&[0, 1, 2], 0).is_ok());
    assert!(fetch(&[0, 1, 2], 1).is_ok());
    assert!(matches!(fetch(&[0, 1, 3], 1), Err(FetchError::Passing(_))));
    assert!(fetch(&[0, 0, 2], 0).is_err(), "zeros can be a lie too");
}
