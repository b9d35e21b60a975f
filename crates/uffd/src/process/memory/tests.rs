//! Copies from this process itself (which the kernel treats as any other) and to a child.

use faultless_pages::Va;
use rustix::io::Errno;
use rustix::process::getpid;

use super::*;
use crate::Mapping;
use crate::process::RANGES_PER_CALL;
use crate::testing::Victim;

const PAGE: u64 = 4096;

/// Makes `pages` pages, each holding its own number in every eight bytes.
fn numbered(pages: u64) -> Mapping {
    let mapping = Mapping::anonymous(Bytes(pages * PAGE)).unwrap();
    for page in 0..pages {
        mapping.write(Bytes(page * PAGE), &page.to_ne_bytes().repeat(512));
    }
    mapping
}

#[test]
fn more_ranges_than_one_call_takes_arrive_in_order() {
    let pages = RANGES_PER_CALL as u64 * 2 + 5;
    let mapping = numbered(pages);
    // Backwards, so that no two neighbours can be merged.
    let ranges: Vec<_> =
        (0..pages).rev().map(|page| mapping.range_of(Bytes(page * PAGE), Bytes(8))).collect();
    let mut into = vec![0; ranges.len() * 8];

    assert_eq!(read_memory(getpid(), &ranges, &mut into), Ok(into.len()));

    let read: Vec<_> =
        into.chunks_exact(8).map(|eight| u64::from_ne_bytes(eight.try_into().unwrap())).collect();
    assert_eq!(read, (0..pages).rev().collect::<Vec<_>>());
}

#[test]
fn a_hole_cuts_the_count_short_and_is_named_when_asked_for_first() {
    let mapping = numbered(4);
    mapping
        .protect(mapping.range_of(Bytes(2 * PAGE), Bytes(PAGE)), crate::Protection::None)
        .unwrap();
    let mut into = vec![0xee; 4 * 4096];

    assert_eq!(read_memory(getpid(), &[mapping.range()], &mut into), Ok(2 * 4096));
    assert_eq!(into[4096], 1);
    assert_eq!(into[2 * 4096], 0xee, "nothing behind the count is written");

    let rest = mapping.range_of(Bytes(2 * PAGE), Bytes(PAGE));
    let error = read_memory(getpid(), &[rest], &mut into[..4096]).unwrap_err();
    assert_eq!(error.errno, Errno::FAULT);
}

#[test]
fn slices_are_filled_one_after_the_other_up_to_a_hole() {
    let mapping = numbered(4);
    mapping
        .protect(mapping.range_of(Bytes(3 * PAGE), Bytes(PAGE)), crate::Protection::None)
        .unwrap();
    let (mut first, mut second) = (vec![0; 100], vec![0; 4 * 4096 - 100]);
    let mut slices = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];

    let copied = read_memory_scattered(getpid(), mapping.range(), &mut slices);

    assert_eq!(copied, Ok(3 * 4096));
    assert_eq!(first, [0; 100]);
    assert_eq!(second[4096 - 100], 1);
    assert_eq!(second[2 * 4096 - 100], 2);
    assert_eq!(second[3 * 4096 - 100..], [0; 4096]);
}

#[test]
fn a_short_count_in_a_later_batch_is_added_up() {
    let pages = RANGES_PER_CALL as u64 + 2;
    let mapping = numbered(pages);
    let last = mapping.range_of(Bytes((pages - 1) * PAGE), Bytes(PAGE));
    mapping.protect(last, crate::Protection::None).unwrap();
    let ranges: Vec<_> = mapping.range().chunks(Bytes(PAGE)).collect();
    let mut into = vec![0; mapping.len().as_usize()];
    let expected = into.len() - 4096;
    assert_eq!(read_memory(getpid(), &ranges, &mut into), Ok(expected));
}

#[test]
fn empty_lists_and_ranges_are_nothing() {
    let nowhere = VaRange::new(Va(0), Va(0));
    assert_eq!(read_memory(getpid(), &[], &mut []), Ok(0));
    assert_eq!(read_memory(getpid(), &[nowhere], &mut []), Ok(0));
    let mapping = numbered(1);
    let ranges = [nowhere, mapping.range(), nowhere];
    assert_eq!(read_memory(getpid(), &ranges, &mut [0; 4096]), Ok(4096));
}

#[test]
fn what_is_written_to_a_child_is_read_back() {
    let child = Victim::start();
    let stack = child.stack();
    let start = stack.start();
    let ranges = [VaRange::of(start, Bytes(3)), VaRange::of(start.add(Bytes(100)), Bytes(5))];
    assert_eq!(write_memory(child.pid(), &ranges, b"onethree"), Ok(8));
    let mut back = [0; 8];
    assert_eq!(read_memory(child.pid(), &ranges, &mut back), Ok(8));
    assert_eq!(&back, b"onethree");
}

#[test]
fn a_process_that_is_gone_is_no_such_process() {
    let child = Victim::start();
    let range = child.stack();
    let pid = child.pid();
    drop(child);
    let error = read_memory(pid, &[VaRange::of(range.start(), Bytes(1))], &mut [0]).unwrap_err();
    assert_eq!(error.errno, Errno::SRCH);
}

#[test]
#[should_panic(expected = "is this very process")]
fn this_process_is_not_written_to() {
    let mapping = numbered(1);
    let _ = write_memory(getpid(), &[mapping.range()], &[0; 4096]);
}

#[test]
#[should_panic(expected = "is this very process")]
fn nor_is_it_by_the_name_of_a_thread() {
    let _ = write_memory(rustix::thread::gettid(), &[], &[]);
}
