//! Inline memory on the real kernel.

use faultless_pages::PageSize;
use faultless_uffd::{Advice, OpenOptions, Wanted};

use super::*;
use crate::source;

const PAGE: u64 = 4096;

/// A userfaultfd with the SIGBUS feature; says why there is none.
#[expect(clippy::print_stdout, reason = "a skip says why")]
fn uffd() -> Option<Arc<Uffd>> {
    let options = OpenOptions { user_mode_only: true, ..OpenOptions::default() };
    let required = Features::SIGBUS | Features::POISON;
    let open = || -> Result<Uffd, Box<dyn std::error::Error>> {
        Ok(Uffd::open(&options)?.handshake(Wanted { required, ..Wanted::default() })?)
    };
    open().map(Arc::new).map_err(|why| println!("skipped: {why}")).ok()
}

/// Memory of so many pages whose source has so many; each byte is the page's number, plus one.
fn memory(pages: u8, there: u8) -> Option<(Arc<Mapping>, Inline)> {
    let mapping = Mapping::anonymous(Bytes(u64::from(pages) * PAGE)).expect("room");
    let mapping = Arc::new(mapping);
    let bytes: Vec<u8> = (0..there).flat_map(|page| [page + 1; 4096]).collect();
    let source = Arc::new(source::Bytes::new(bytes, PageSize::KIB4));
    let inline = Inline::serve(uffd()?, Arc::clone(&mapping), source, 0).expect("free slots");
    Some((mapping, inline))
}

fn first_byte(mapping: &Mapping, page: u8) -> u8 {
    mapping.load_u8(Bytes(u64::from(page) * PAGE))
}

#[test]
fn threads_bring_the_pages_they_touch_themselves() {
    let Some((mapping, inline)) = memory(200, 200) else { return };
    std::thread::scope(|scope| {
        for first in [0, 50, 100, 150] {
            let mapping = &mapping;
            scope.spawn(move || {
                for turn in 0..200_u16 {
                    let page = u8::try_from((turn + first) % 200).expect("small");
                    assert_eq!(first_byte(mapping, page), page + 1);
                }
            });
        }
    });
    let words = inline.table().whole().pages();
    assert!(words.into_iter().all(|page| inline.table().get(page).state() == State::Present));
}

#[test]
fn a_page_that_was_given_up_is_zeros() {
    let Some((mapping, inline)) = memory(4, 4) else { return };
    mapping.store_u8(Bytes(PAGE), 99);
    let range = mapping.range_of(Bytes(PAGE), Bytes(PAGE));
    mapping.advise(range, Advice::DontNeed).expect("own memory");
    assert_eq!((first_byte(&mapping, 1), first_byte(&mapping, 2)), (0, 3));
    drop(inline);
}

#[test]
fn everything_can_be_brought_before_the_memory_is_let_go() {
    let Some((mapping, inline)) = memory(8, 8) else { return };
    assert!(inline.complete());
    assert!((0..8).all(|page| first_byte(&mapping, page) == page + 1));
}

#[test]
fn a_page_its_source_does_not_have_is_lost_and_not_zeros() {
    let Some((mapping, inline)) = memory(4, 3) else { return };
    assert!(inline.bring(PageRun::new(0, 3)));
    assert!(!inline.bring(PageRun::new(3, 1)));
    assert_eq!(inline.table().get(PageIndex(3)).state(), State::Poisoned);
    assert!(!inline.complete());
    assert_eq!(first_byte(&mapping, 2), 3);
}

#[test]
fn a_userfaultfd_without_the_feature_is_refused() {
    let options = OpenOptions { user_mode_only: true, ..OpenOptions::default() };
    let Ok(unbound) = Uffd::open(&options) else { return };
    let plain = unbound.handshake(Wanted::default()).expect("no feature is asked for");
    let mapping = Arc::new(Mapping::anonymous(Bytes(PAGE)).expect("room"));
    let source = Arc::new(source::Zeros);
    let refused = Inline::serve(Arc::new(plain), mapping, source, 0);
    assert!(matches!(refused, Err(InlineError::NoSigbus)));
}
