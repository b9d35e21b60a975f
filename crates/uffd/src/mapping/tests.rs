//! Every kind of mapping on the running kernel.

use std::fs::File;
use std::io::{Read, Write};

use super::*;
use crate::testing::{HugePages, skip};
use crate::{Pagemap, PagemapEntry};

const PAGE: Bytes = Bytes::kib(4);

fn entry(mapping: &Mapping, offset: Bytes) -> PagemapEntry {
    let address = mapping.range().start().add(offset);
    Pagemap::of_self().unwrap().entry(address).unwrap()
}

fn assert_holds(mapping: &Mapping, offset: Bytes, expected: &[u8]) {
    let mut found = vec![0; expected.len()];
    mapping.read(offset, &mut found);
    assert_eq!(found, expected);
}

#[test]
fn lengths_are_rounded_up_to_pages() {
    let mapping = Mapping::anonymous(Bytes(1)).unwrap();
    assert_eq!(mapping.len(), base_page());
    assert!(!mapping.is_empty());
    let error = Mapping::anonymous(Bytes::ZERO).unwrap_err();
    assert_eq!(error.errno, rustix::io::Errno::INVAL);
}

fn base_page() -> Bytes {
    crate::base_page_size().bytes()
}

#[test]
fn copies_of_any_length_and_alignment_arrive_whole() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    let bytes: Vec<u8> = (1..=64).collect();
    for offset in 0..17 {
        for len in 0..40 {
            mapping.write(Bytes(0), &[0xff; 128]);
            mapping.write(Bytes(offset), &bytes[..len]);
            assert_holds(&mapping, Bytes(offset), &bytes[..len]);
            let end = Bytes(offset + len as u64);
            assert_eq!(mapping.load_u8(end), 0xff, "{len} bytes at {offset}");
            if offset > 0 {
                assert_eq!(mapping.load_u8(Bytes(offset - 1)), 0xff);
            }
        }
    }
}

#[test]
fn words_are_atomic() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let mapping = &mapping;
            scope.spawn(move || {
                for bit in 0..8 {
                    mapping.fetch_or(Bytes(8), 1 << (thread * 8 + bit));
                }
            });
        }
    });
    assert_eq!(mapping.load_u64(Bytes(8)), u64::MAX);
    mapping.store_u64(Bytes(8), 5);
    assert_eq!(mapping.fetch_or(Bytes(8), 2), 5);
    assert_eq!(mapping.load_u64(Bytes(8)), 7);
}

#[test]
#[should_panic(expected = "8 B at 4089 B of a mapping of 4096 B")]
fn no_access_leaves_the_mapping() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    mapping.write(Bytes(4089), &[0; 8]);
}

#[test]
#[should_panic(expected = "is not at a word")]
fn words_are_aligned() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    let _ = mapping.load_u64(Bytes(4));
}

#[test]
fn an_alias_shows_the_same_memory_at_another_address() {
    let mapping = Mapping::memfd(Bytes::kib(16)).unwrap();
    assert!(mapping.is_shared());
    let alias = mapping.alias().unwrap();
    assert_ne!(mapping.range(), alias.range());
    mapping.write(Bytes(5000), b"seen");
    assert_holds(&alias, Bytes(5000), b"seen");
    alias.store_u64(Bytes(0), 9);
    drop(mapping);
    assert_eq!(alias.load_u64(Bytes(0)), 9);
    assert_eq!(alias.alias().unwrap().load_u64(Bytes(0)), 9);
}

#[test]
fn anonymous_memory_has_no_object() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    assert!(mapping.object().is_none());
    assert!(!mapping.is_shared());
    let error = mapping.alias().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot map a second time 4 KiB of memory: it is anonymous: there is no object behind it"
    );
}

#[test]
fn a_sealed_memfd_keeps_its_size_but_takes_writes() {
    let mapping = Mapping::memfd(PAGE).unwrap();
    mapping.seal(Seals::SHRINK | Seals::GROW).unwrap();
    let object = mapping.object().unwrap();
    assert_eq!(rustix::fs::ftruncate(object, 0), Err(rustix::io::Errno::PERM));
    mapping.store_u64(Bytes(0), 1);
    let error = mapping.seal(Seals::WRITE).unwrap_err();
    assert_eq!(error.errno, rustix::io::Errno::BUSY);
    mapping.seal(Seals::SEAL).unwrap();
    let error = mapping.seal(Seals::SHRINK).unwrap_err();
    assert_eq!(error.errno, rustix::io::Errno::PERM);
}

#[test]
fn a_hole_reads_as_zeros_in_every_mapping() {
    let mapping = Mapping::memfd(Bytes::kib(12)).unwrap();
    let alias = mapping.alias().unwrap();
    mapping.write(Bytes(0), &[7; 12288]);
    mapping.punch_hole(mapping.range_of(PAGE, PAGE)).unwrap();
    assert_holds(&alias, PAGE, &[0; 4096]);
    assert_holds(&alias, Bytes(4088), &[7, 7, 7, 7, 7, 7, 7, 7, 0]);
    assert_eq!(alias.load_u8(Bytes::kib(8)), 7);
}

#[test]
fn a_private_file_mapping_keeps_writes_to_itself() {
    let file = memory_file(&[3; 12288]);
    let fd = file.try_clone().unwrap().into();
    let mapping = Mapping::file(fd, 4096, Bytes::kib(8)).unwrap();
    assert_eq!(mapping.load_u8(Bytes(0)), 3);
    mapping.store_u64(Bytes(0), 0);
    assert_eq!(contents(&file)[4096], 3);
    assert!(mapping.object().is_some());
}

#[test]
fn a_shared_file_mapping_writes_to_the_file_at_its_offset() {
    let file = memory_file(&[3; 12288]);
    let fd = file.try_clone().unwrap().into();
    let mapping = Mapping::builder(Bytes::kib(8)).shared().file(fd, 4096).unwrap();
    mapping.write(Bytes(1), b"there");
    assert_eq!(&contents(&file)[4096..4102], b"\x03there");
    mapping.punch_hole(mapping.range_of(Bytes(0), PAGE)).unwrap();
    assert_eq!(contents(&file)[4095..4097], [3, 0]);
}

fn memory_file(bytes: &[u8]) -> File {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::memfd_create("mapping-test", flags).unwrap());
    file.write_all(bytes).unwrap();
    file
}

fn contents(file: &File) -> Vec<u8> {
    use std::io::Seek;
    let mut file = file;
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_read_only_descriptor_is_not_mapped_for_shared_writing() {
    let fd = File::open("/proc/self/exe").unwrap();
    let builder = Mapping::builder(PAGE).shared();
    let error = builder.file(fd.try_clone().unwrap().into(), 0).unwrap_err();
    assert_eq!(error.errno, rustix::io::Errno::ACCESS);
    let mapping = builder.protection(Protection::Read).file(fd.into(), 0).unwrap();
    assert_holds(&mapping, Bytes(0), b"\x7fELF");
}

#[test]
fn populated_memory_is_present_at_once() {
    for huge in [None, Some(false)] {
        let mut builder = Mapping::builder(Bytes::kib(64)).populate();
        if let Some(wanted) = huge {
            builder = builder.huge_pages(wanted);
        }
        let mapping = builder.anonymous().unwrap();
        assert!(entry(&mapping, Bytes::kib(60)).is_present(), "{huge:?}");
    }
}

#[test]
fn dropped_pages_read_as_zeros() {
    let mapping = Mapping::builder(Bytes::kib(64)).huge_pages(false).anonymous().unwrap();
    mapping.advise(mapping.range(), Advice::PopulateWrite).unwrap();
    mapping.write(PAGE, &[1; 4096]);
    assert!(entry(&mapping, PAGE).is_present());
    mapping.advise(mapping.range_of(PAGE, PAGE), Advice::DontNeed).unwrap();
    assert!(!entry(&mapping, PAGE).is_present());
    assert!(entry(&mapping, Bytes::ZERO).is_present());
    assert_eq!(mapping.load_u8(PAGE), 0);
}

#[test]
fn advice_beside_a_page_is_refused_with_its_name() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    let error = mapping.advise(mapping.range_of(Bytes(1), Bytes(1)), Advice::Cold);
    assert_eq!(
        error.unwrap_err().to_string(),
        "cannot give the advice Cold for 1 B of memory: not at a page, or this kernel or this \
         kind of memory does not take it"
    );
}

#[test]
#[should_panic(expected = "is not inside the mapping")]
fn advice_does_not_leave_the_mapping() {
    let mapping = Mapping::anonymous(PAGE).unwrap();
    let beyond = VaRange::of(mapping.range().end(), PAGE);
    let _ = mapping.advise(beyond, Advice::DontNeed);
}

#[test]
fn aligned_memory_can_become_one_huge_page() {
    let huge = PageSize::MIB2;
    let mapping =
        Mapping::builder(huge.bytes()).aligned(huge).huge_pages(true).anonymous().unwrap();
    assert!(mapping.range().is_aligned(huge));
    mapping.store_u64(Bytes(0), 1);
    if let Err(error) = mapping.advise(mapping.range(), Advice::Collapse) {
        skip(error);
        return;
    }
    assert!(entry(&mapping, Bytes::mib(1)).is_present());
    assert_eq!(mapping.load_u64(Bytes(0)), 1);
}

#[test]
fn memory_not_for_children_is_marked_so() {
    let mapping = Mapping::builder(PAGE).dont_fork().anonymous().unwrap();
    assert!(vm_flags(&mapping).contains("dc"), "{}", vm_flags(&mapping));
    mapping.advise(mapping.range(), Advice::DoFork).unwrap();
    assert!(!vm_flags(&mapping).contains("dc"), "{}", vm_flags(&mapping));
}

/// Returns the kernel's two-letter flags of the mapping, which it may have merged with a neighbour.
fn vm_flags(mapping: &Mapping) -> String {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let at = mapping.range().start().0;
    let holds_it = |line: &&str| {
        let ends = line.split(' ').next().and_then(|range| range.split_once('-'));
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let range = ends.and_then(|(start, end)| Some(hex(start)?..hex(end)?));
        range.is_some_and(|range| range.contains(&at))
    };
    let own = smaps.lines().skip_while(|line| !holds_it(line));
    let flags = own.filter_map(|line| line.strip_prefix("VmFlags:")).next();
    flags.expect("the mapping is listed").to_owned()
}

#[test]
fn a_mapping_grows_shrinks_and_moves_with_what_it_holds() {
    let mut mapping = Mapping::anonymous(Bytes::kib(8)).unwrap();
    mapping.write(PAGE, b"kept");
    mapping.resize(Bytes::mib(1)).unwrap();
    assert_eq!(mapping.len(), Bytes::mib(1));
    mapping.store_u64(Bytes(Bytes::mib(1).0 - 8), 1);
    assert_holds(&mapping, PAGE, b"kept\0");

    let before = mapping.range();
    mapping.relocate().unwrap();
    assert_eq!(mapping.range().intersect(before), None);
    assert_eq!(mapping.load_u64(Bytes(Bytes::mib(1).0 - 8)), 1);

    mapping.resize(PAGE).unwrap();
    assert_eq!(mapping.len(), PAGE);
    assert_eq!(mapping.resize(Bytes::ZERO).unwrap_err().errno, rustix::io::Errno::INVAL);
    assert_eq!(mapping.load_u64(Bytes(0)), 0);
}

#[test]
fn hugetlb_memory_private_and_shared() {
    let Some(pool) = HugePages::reserve(PageSize::MIB2, 2) else {
        skip("no huge pages to be had");
        return;
    };
    let size = PageSize::MIB2;
    let private = Mapping::hugetlb(size, Bytes(1)).unwrap();
    assert_eq!(private.len(), size.bytes());
    assert_eq!(private.page_size(), size);
    private.write(Bytes::mib(1), b"huge");
    assert!(entry(&private, Bytes::ZERO).is_present());

    let shared = Mapping::builder(size.bytes()).shared().hugetlb(size).unwrap();
    let alias = shared.alias().unwrap();
    shared.store_u64(Bytes(8), 3);
    assert_eq!(alias.load_u64(Bytes(8)), 3);

    let error = Mapping::hugetlb(size, Bytes::gib(64)).unwrap_err();
    assert_eq!(error.errno, rustix::io::Errno::NOMEM);
    assert!(error.to_string().contains("nr_hugepages"), "{error}");
    drop(pool);
}

#[test]
fn huge_pages_are_asked_for_under_any_memory_and_change_no_byte() {
    let mut memory: Vec<u8> = (0..5 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
    let before = memory.clone();
    match prefer_huge_pages(&mut memory[1..]) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.errno, rustix::io::Errno::INVAL, "{error}"),
    }
    assert!(memory == before);
    let _ = prefer_huge_pages(&mut memory[..5]);
}
