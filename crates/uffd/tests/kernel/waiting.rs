//! Threads that wait for a page, and everything that lets them go on.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{PATIENCE, Worker, anonymous, next_fault, page_of, pages, uffd};
use faultless_pages::Bytes;
use faultless_uffd::{
    ContinueMode, CopyMode, Errno, Event, FaultKind, Features, Mapping, MessageBatch, Minor,
    Missing, Queue, Uffd, WpMode, WriteProtect, ZeropageMode,
};

const ZERO: Bytes = Bytes::ZERO;

/// Starts a thread that writes a word at `offset` and returns its thread id.
fn writer(mapping: &Arc<Mapping>, offset: Bytes) -> Worker<u32> {
    let mapping = Arc::clone(mapping);
    Worker::start(move || {
        mapping.store_u64(offset, 1);
        rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
    })
}

/// Waits until a thread waits, without reading its message.
fn until_waiting(uffd: &Uffd) {
    while uffd.queue().expect("the queue of our own descriptor").total == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_missing_page_is_reported_with_its_thread_and_copied() {
    let Some(uffd) = uffd(Features::THREAD_ID) else { return };
    let mapping = Arc::new(anonymous(2));
    let registered = uffd.register(&mapping, Missing).unwrap();
    let thread = writer(&mapping, pages(1));

    let fault = next_fault(&uffd);

    assert_eq!((fault.kind, fault.write), (FaultKind::Missing, true));
    let offset = registered.offset_of(fault.address).expect("inside");
    assert_eq!(offset, pages(1));
    assert!(thread.is_busy());
    assert!(registered.copy(offset, &page_of(7), CopyMode::default()).is_complete());
    assert_eq!(Some(thread.finish()), fault.thread);
    assert_eq!(mapping.load_u64(pages(1)), 1);
    assert_eq!(mapping.load_u8(Bytes(pages(1).0 + 8)), 7);
}

#[test]
fn every_waiting_thread_sends_a_message_and_one_answer_serves_all() {
    let Some(uffd) = uffd(Features::THREAD_ID) else { return };
    let mapping = Arc::new(anonymous(1));
    let registered = uffd.register(&mapping, Missing).unwrap();
    let threads: Vec<_> = (0..3).map(|index| writer(&mapping, Bytes(index * 8))).collect();
    let mut reported = faulting_threads(&uffd, 3);
    assert_eq!(uffd.queue().unwrap(), Queue { unread: 0, total: 3 });
    assert!(registered.zeropage(ZERO, pages(1), ZeropageMode::default()).is_complete());
    let mut finished: Vec<_> = threads.into_iter().map(Worker::finish).collect();
    finished.sort_unstable();
    reported.sort_unstable();
    assert_eq!(reported, finished);
}

/// Reads until `count` faults came and returns their threads.
fn faulting_threads(uffd: &Uffd, count: usize) -> Vec<u32> {
    let mut batch = MessageBatch::new();
    while batch.len() < count {
        assert!(uffd.wait(Some(PATIENCE)).unwrap());
        uffd.read_events(&mut batch).unwrap();
    }
    let thread = |event| match event {
        Event::Fault(fault) => fault.thread.expect("THREAD_ID is on"),
        other => panic!("a fault, not {other:?}"),
    };
    batch.drain().map(thread).collect()
}

#[test]
fn dontwake_leaves_the_thread_asleep_until_wake() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    let mapping = Arc::new(anonymous(1));
    let registered = uffd.register(&mapping, Missing).unwrap();
    let thread = writer(&mapping, ZERO);
    next_fault(&uffd);
    let asleep = CopyMode { wp: false, dontwake: true };
    assert!(registered.copy(ZERO, &page_of(7), asleep).is_complete());
    assert_eq!(uffd.queue().unwrap().total, 1);
    assert!(thread.is_busy());
    registered.wake(ZERO, pages(1)).unwrap();
    thread.finish();
}

#[test]
fn a_write_to_a_protected_page_is_reported_and_passes_after_unprotecting() {
    let Some(uffd) = uffd(Features::PAGEFAULT_FLAG_WP) else { return };
    let mapping = Arc::new(anonymous(1));
    mapping.store_u64(ZERO, 9);
    let registered = uffd.register(&mapping, WriteProtect).unwrap();
    assert!(registered.write_protect(ZERO, pages(1), WpMode::Protect).is_complete());
    let thread = writer(&mapping, ZERO);
    let fault = next_fault(&uffd);
    assert_eq!((fault.kind, fault.write), (FaultKind::WriteProtect, true));
    assert_eq!(mapping.load_u64(ZERO), 9);
    let unprotect = WpMode::Unprotect { dontwake: false };
    assert!(registered.write_protect(ZERO, pages(1), unprotect).is_complete());
    thread.finish();
    assert_eq!(mapping.load_u64(ZERO), 1);
}

#[test]
fn a_minor_fault_is_reported_and_continued() {
    let Some(uffd) = uffd(Features::MINOR_SHMEM) else { return };
    let mapping = Arc::new(Mapping::memfd(pages(1)).unwrap());
    let alias = mapping.alias().unwrap();
    alias.store_u64(ZERO, 9);
    let registered = uffd.register(&mapping, Minor).unwrap();
    let thread = writer(&mapping, ZERO);
    assert_eq!(next_fault(&uffd).kind, FaultKind::Minor);
    assert!(registered.continue_(ZERO, pages(1), ContinueMode::default()).is_complete());
    thread.finish();
    assert_eq!(alias.load_u64(ZERO), 1);
}

#[test]
fn dropping_the_guard_wakes_a_writer_of_a_protected_page() {
    let Some(uffd) = uffd(Features::PAGEFAULT_FLAG_WP) else { return };
    let mapping = Arc::new(anonymous(1));
    mapping.store_u64(ZERO, 9);
    let registered = uffd.register(&mapping, WriteProtect).unwrap();
    assert!(registered.write_protect(ZERO, pages(1), WpMode::Protect).is_complete());
    let thread = writer(&mapping, ZERO);
    until_waiting(&uffd);
    drop(registered);
    thread.finish();
    assert_eq!(uffd.queue().unwrap().total, 0);
}

#[test]
fn unregistering_wakes_a_thread_that_waits_for_a_minor_page() {
    let Some(uffd) = uffd(Features::MINOR_SHMEM) else { return };
    let mapping = Arc::new(Mapping::memfd(pages(1)).unwrap());
    mapping.alias().unwrap().store_u64(ZERO, 9);
    let registered = uffd.register(&mapping, Minor).unwrap();
    let thread = writer(&mapping, ZERO);
    next_fault(&uffd);
    registered.unregister().unwrap();
    thread.finish();
}

#[test]
fn dropping_the_guard_unregisters() {
    let Some(first) = uffd(Features::empty()) else { return };
    let Some(second) = uffd(Features::empty()) else { return };
    let mapping = anonymous(1);
    let registered = first.register(&mapping, Missing).unwrap();
    let error = second.register(&mapping, Missing).unwrap_err();
    assert_eq!(error.errno, Errno::BUSY);
    assert!(error.to_string().contains("another userfaultfd owns part of it"), "{error}");
    drop(registered);
    drop(second.register(&mapping, Missing).unwrap());
    assert_eq!(mapping.load_u64(ZERO), 0);
}

#[test]
fn an_empty_queue_reads_as_nothing_and_a_blocking_descriptor_cannot_be_polled() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    assert_eq!(uffd.read_events(&mut MessageBatch::new()), Ok(0));
    assert_eq!(uffd.wait(Some(Duration::ZERO)), Ok(false));
    uffd.set_nonblocking(false).unwrap();
    assert_eq!(uffd.wait(Some(Duration::ZERO)), Err(Errno::INVAL));
    uffd.set_nonblocking(true).unwrap();
    assert_eq!(uffd.wait(Some(Duration::ZERO)), Ok(false));
}

#[test]
fn a_blocking_descriptor_waits_for_a_message() {
    let Some(uffd) = uffd(Features::empty()) else { return };
    uffd.set_nonblocking(false).unwrap();
    let uffd = Arc::new(uffd);
    let mapping = Arc::new(anonymous(1));
    let registered = uffd.register(&mapping, Missing).unwrap();
    let reader = {
        let uffd = Arc::clone(&uffd);
        Worker::start(move || uffd.read_events(&mut MessageBatch::new()))
    };
    let thread = writer(&mapping, ZERO);
    assert_eq!(reader.finish(), Ok(1));
    assert!(registered.zeropage(ZERO, pages(1), ZeropageMode::default()).is_complete());
    thread.finish();
}
