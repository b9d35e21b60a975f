//! Events: fork, remap, remove, unmap, and operations held back while one is unread.

use std::sync::{Arc, PoisonError};

use crate::common::{Child, FORKS, PATIENCE, Worker, anonymous, next_event, page_of, pages, uffd};
use faultless_pages::Bytes;
use faultless_uffd::{
    Advice, CopyMode, Event, Features, Missing, Modes, RetryReason, Route, Situation, UnboundUffd,
};

const ZERO: Bytes = Bytes::ZERO;

#[test]
fn fork_hands_over_an_owned_descriptor_with_the_handshake_done() {
    let Some(uffd) = uffd(Features::EVENT_FORK | Features::THREAD_ID) else { return };
    let _alone = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    let mapping = anonymous(1);
    let _registered = uffd.register(&mapping, Missing).unwrap();

    let forker = Worker::start(Child::fork);
    let Event::Fork { uffd: child } = next_event(&uffd) else { panic!("a fork event") };
    let child = UnboundUffd::from_fd(child.into_fd()).adopt().unwrap();
    drop(forker.finish());

    assert_eq!(child.features(), uffd.features());
    assert_eq!(child.route(), Route::Received);
}

#[test]
fn operations_wait_for_an_unread_removal_and_go_on_after_it() {
    let Some(uffd) = uffd(Features::EVENT_REMOVE) else { return };
    let mapping = Arc::new(anonymous(2));
    mapping.store_u8(ZERO, 1);
    let registered = uffd.register(&mapping, Missing).unwrap();
    let remover = {
        let mapping = Arc::clone(&mapping);
        Worker::start(move || mapping.advise(mapping.range_of(ZERO, pages(1)), Advice::DontNeed))
    };
    assert!(uffd.wait(Some(PATIENCE)).unwrap());

    let held = registered.copy(pages(1), &page_of(7), CopyMode::default());

    let pending = Situation::Retry(RetryReason::EventPending);
    assert_eq!((held.done, held.stopped), (ZERO, Some(pending)));
    let Event::Remove(range) = next_event(&uffd) else { panic!("a remove event") };
    assert_eq!(range, mapping.range_of(ZERO, pages(1)));
    remover.finish().unwrap();
    assert!(registered.copy(pages(1), &page_of(7), CopyMode::default()).is_complete());
}

#[test]
fn a_moved_mapping_is_followed() {
    let Some(uffd) = uffd(Features::EVENT_REMAP) else { return };
    let mut mapping = anonymous(2);
    let before = mapping.range();
    // SAFETY: the range belongs to a mapping of this test.
    unsafe { uffd.register_range(before, Modes::MISSING) }.unwrap();

    let mover = Worker::start(move || mapping.relocate().map(|()| mapping));

    let Event::Remap { from, to, len } = next_event(&uffd) else { panic!("a remap event") };
    assert_eq!((from, len), (before.start(), before.len()));
    let moved = mover.finish().unwrap();
    assert_eq!(moved.range().start(), to);
    // SAFETY: the range belongs to a mapping of this test, the source to a vector.
    let copied = unsafe {
        let source = page_of(7);
        uffd.copy(moved.range_of(ZERO, pages(1)), source.as_ptr(), CopyMode::default())
    };
    assert!(copied.is_complete(), "the registration moved along: {copied:?}");
}

#[test]
fn an_unmapped_range_is_reported() {
    let Some(uffd) = uffd(Features::EVENT_UNMAP) else { return };
    let mapping = anonymous(2);
    let range = mapping.range();
    // SAFETY: the range belongs to a mapping of this test.
    unsafe { uffd.register_range(range, Modes::MISSING) }.unwrap();
    let unmapper = Worker::start(move || drop(mapping));
    let Event::Unmap(unmapped) = next_event(&uffd) else { panic!("an unmap event") };
    assert_eq!(unmapped, range);
    unmapper.finish();
}
