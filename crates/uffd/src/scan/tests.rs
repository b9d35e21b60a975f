//! Scans of this process on the running kernel, held against its pagemap entries.

use faultless_pages::{Bytes, PageSize};

use super::*;
use crate::testing::{BEYOND_USER, Victim, skip};
use crate::{
    Advice, Features, Mapping, Modes, OpenOptions, PagemapEntry, Protection, Uffd, Wanted,
};

const PAGE: Bytes = Bytes::kib(4);

/// Returns the open page table, or `None`, having said so, if the kernel does not scan.
fn scannable() -> Option<Pagemap> {
    let pagemap = Pagemap::of_self().unwrap();
    match PagemapScan::known_categories(&pagemap) {
        Ok(_) => Some(pagemap),
        Err(error) => {
            skip(error);
            None
        }
    }
}

fn page(mapping: &Mapping, index: u64) -> VaRange {
    mapping.range_of(Bytes(index * PAGE.0), PAGE)
}

/// Makes 64 pages: every fourth untouched, read, written, dropped again.
fn mixed() -> Mapping {
    let mapping = Mapping::builder(Bytes(64 * PAGE.0)).huge_pages(false).anonymous().unwrap();
    for index in 0..64 {
        let offset = Bytes(index * PAGE.0);
        match index % 4 {
            0 => {}
            1 => assert_eq!(mapping.load_u8(offset), 0),
            2 => mapping.store_u8(offset, 1),
            _ => {
                mapping.store_u8(offset, 1);
                mapping.advise(page(&mapping, index), Advice::DontNeed).unwrap();
            }
        }
    }
    mapping
}

#[test]
fn present_pages_are_those_the_entries_call_present() {
    let Some(pagemap) = scannable() else {
        return;
    };
    for mapping in [mixed(), Mapping::memfd(Bytes(64 * PAGE.0)).unwrap()] {
        if mapping.is_shared() {
            mapping.store_u8(Bytes(5 * PAGE.0), 1);
        }
        let mut found = Vec::new();
        PagemapScan::new()
            .anyof(Category::PRESENT | Category::SWAPPED)
            .return_mask(Category::PRESENT | Category::SWAPPED | Category::FILE)
            .scan_all(&pagemap, mapping.range(), &mut found)
            .unwrap();
        let mut entries = [PagemapEntry::default(); 64];
        assert_eq!(pagemap.entries(mapping.range(), &mut entries), Ok(64));
        for (index, entry) in (0..).zip(entries) {
            let address = page(&mapping, index).start();
            let region = found.iter().find(|region| region.range.contains(address));
            let categories = region.map_or(Category::empty(), |region| region.categories);
            let has = |category| categories.contains(category);
            assert_eq!(has(Category::PRESENT), entry.is_present(), "page {index}: {entry:?}");
            assert_eq!(has(Category::SWAPPED), entry.is_swapped(), "page {index}: {entry:?}");
            assert_eq!(has(Category::FILE), entry.is_file_or_shared(), "page {index}: {entry:?}");
        }
    }
}

#[test]
fn the_page_of_zeros_can_be_left_out() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let mapping = mixed();
    let mut found = Vec::new();
    PagemapScan::new()
        .required(Category::PRESENT | Category::PFNZERO)
        .inverted(Category::PFNZERO)
        .scan_all(&pagemap, mapping.range(), &mut found)
        .unwrap();
    let written: Vec<_> = (0..64).filter(|i| i % 4 == 2).map(|i| page(&mapping, i)).collect();
    assert_eq!(found.iter().map(|region| region.range).collect::<Vec<_>>(), written);
    assert!(found.iter().all(|region| region.categories == Category::PRESENT));
}

#[test]
fn a_page_limit_ends_the_walk_where_it_was_reached() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let mapping =
        Mapping::builder(Bytes(16 * PAGE.0)).huge_pages(false).populate().anonymous().unwrap();
    let scan = PagemapScan::new().required(Category::PRESENT).max_pages(5);
    let mut found = Vec::new();
    let walk_end = scan.scan(&pagemap, mapping.range(), &mut found).unwrap();
    assert_eq!(walk_end, page(&mapping, 5).start());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].range, mapping.range_of(Bytes(0), Bytes(5 * PAGE.0)));

    found.clear();
    scan.scan_all(&pagemap, mapping.range(), &mut found).unwrap();
    let whole = ScanRegion { range: mapping.range(), categories: Category::PRESENT };
    assert_eq!(found, [whole], "pieces of one region come back as one");
}

#[test]
fn more_regions_than_one_call_returns_are_all_found() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let count = 3 * REGIONS_PER_CALL as u64 + 7;
    let mapping =
        Mapping::builder(Bytes(2 * count * PAGE.0)).huge_pages(false).anonymous().unwrap();
    for index in 0..count {
        mapping.store_u8(Bytes(2 * index * PAGE.0), 1);
    }
    let scan = PagemapScan::new().required(Category::PRESENT);
    let mut found = Vec::new();
    let walk_end = scan.scan(&pagemap, mapping.range(), &mut found).unwrap();
    assert!(walk_end < mapping.range().end());
    assert_eq!(found.len(), REGIONS_PER_CALL);

    found.clear();
    scan.scan_all(&pagemap, mapping.range(), &mut found).unwrap();
    let expected: Vec<_> = (0..count).map(|index| page(&mapping, 2 * index)).collect();
    assert_eq!(found.iter().map(|region| region.range).collect::<Vec<_>>(), expected);
}

#[test]
fn a_range_is_widened_to_whole_pages() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let mapping = mixed();
    let mut found = Vec::new();
    let within = mapping.range_of(Bytes(2 * PAGE.0 + 100), Bytes(1));
    let walk_end = PagemapScan::new().scan(&pagemap, within, &mut found).unwrap();
    assert_eq!(found[0].range, page(&mapping, 2));
    assert_eq!(walk_end, page(&mapping, 3).start());
    found.clear();
    let empty = VaRange::new(within.start(), within.start());
    PagemapScan::new().scan_all(&pagemap, empty, &mut found).unwrap();
    PagemapScan::new().scan(&pagemap, empty, &mut found).unwrap();
    assert_eq!(found, [], "no page");
}

#[test]
fn guard_regions_are_found_where_the_kernel_knows_them() {
    let Some(pagemap) = scannable() else {
        return;
    };
    if !PagemapScan::known_categories(&pagemap).unwrap().contains(Category::GUARD) {
        return skip("the kernel does not know the category GUARD");
    }
    let mapping = mixed();
    mapping.advise(page(&mapping, 9), Advice::GuardInstall).unwrap();
    let mut found = Vec::new();
    let scan = PagemapScan::new().required(Category::GUARD);
    scan.scan_all(&pagemap, mapping.range(), &mut found).unwrap();
    assert_eq!(found, [ScanRegion { range: page(&mapping, 9), categories: Category::GUARD }]);
}

#[test]
fn a_category_too_new_is_named_in_the_error() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let unknown = Category::from_bits_retain(1 << 63);
    let error = PagemapScan::new()
        .required(unknown)
        .scan(&pagemap, Mapping::anonymous(PAGE).unwrap().range(), &mut Vec::new())
        .unwrap_err();
    assert!(
        matches!(error, ScanError::UnknownCategory { categories, .. } if categories == unknown)
    );
}

#[test]
fn memory_that_is_not_tracked_is_refused_if_asked_to_and_else_skipped() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let mapping = mixed();
    let range = mapping.range();
    let checked = PagemapScan::new().check_wpasync();
    assert_eq!(
        checked.scan(&pagemap, range, &mut Vec::new()),
        Err(ScanError::NotTracked { range })
    );
    PagemapScan::new().protect_all(&pagemap, range).unwrap();
    let entry = pagemap.entry(page(&mapping, 2).start()).unwrap();
    assert!(!entry.is_uffd_wp(), "{entry:?}");
}

#[test]
fn addresses_of_the_kernel_are_no_range() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let range = VaRange::of(BEYOND_USER, PAGE);
    assert_eq!(
        PagemapScan::new().scan(&pagemap, range, &mut Vec::new()),
        Err(ScanError::OutOfAddressSpace { range })
    );
}

#[test]
fn a_process_that_has_ended_is_gone() {
    if scannable().is_none() {
        return;
    }
    let mut victim = Victim::start();
    let pagemap = Pagemap::open(victim.pid()).unwrap();
    let stack = victim.stack();
    let scan = PagemapScan::new().required(Category::PRESENT);
    let mut found = Vec::new();
    scan.scan_all(&pagemap, stack, &mut found).unwrap();
    assert!(!found.is_empty());

    victim.kill();
    let error = scan.scan_all(&pagemap, stack, &mut found).unwrap_err();
    assert_eq!(error, ScanError::Gone { range: stack });
    let first = VaRange::of(found[0].range.start(), PAGE);
    assert_eq!(pagemap.entries(first, &mut [PagemapEntry::default()]), Ok(0));
}

#[test]
fn forbidden_memory_is_scanned_all_the_same() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let mapping = mixed();
    mapping.protect(mapping.range(), Protection::None).unwrap();
    let mut found = Vec::new();
    let scan = PagemapScan::new().required(Category::PRESENT);
    scan.scan_all(&pagemap, mapping.range(), &mut found).unwrap();
    // Read and written pages are neighbours: 1 and 2, 5 and 6, …
    assert_eq!(found.len(), 16);
}

/// Registers a mapping for write protection that the kernel resolves by itself; says why not.
fn track(mapping: &Mapping) -> Result<Uffd, String> {
    let required = Features::WP_ASYNC | Features::PAGEFAULT_FLAG_WP;
    let wanted = Wanted { required, optional: Features::WP_HUGETLBFS_SHMEM };
    let open = Uffd::open(&OpenOptions::default()).map_err(|error| error.to_string())?;
    let uffd = open.handshake(wanted).map_err(|error| error.to_string())?;
    // SAFETY: memory of a mapping, of which nobody holds a reference.
    unsafe { uffd.register_range(mapping.range(), Modes::WP) }.map_err(|e| e.to_string())?;
    Ok(uffd)
}

#[test]
fn written_pages_are_found_once_and_protected_again_in_the_same_pass() {
    let Some(pagemap) = scannable() else {
        return;
    };
    let private = Mapping::builder(Bytes(64 * PAGE.0)).huge_pages(false).anonymous().unwrap();
    let thp = Mapping::builder(PageSize::MIB2.bytes())
        .aligned(PageSize::MIB2)
        .huge_pages(true)
        .populate()
        .anonymous()
        .unwrap();
    for mapping in [private, thp, Mapping::memfd(Bytes(64 * PAGE.0)).unwrap()] {
        let _uffd = match track(&mapping) {
            Ok(uffd) => uffd,
            Err(why) => return skip(why),
        };
        let range = mapping.range();
        let dirty = PagemapScan::new().required(Category::WRITTEN).wp_matching().check_wpasync();
        dirty.protect_all(&pagemap, range).unwrap();
        let mut found = Vec::new();
        dirty.scan_all(&pagemap, range, &mut found).unwrap();
        assert_eq!(found, [], "all is protected: {mapping:?}");

        mapping.store_u8(Bytes(3 * PAGE.0), 1);
        mapping.store_u8(Bytes(4 * PAGE.0 + 9), 1);
        mapping.store_u8(Bytes(40 * PAGE.0), 1);
        assert_eq!(mapping.load_u8(Bytes(50 * PAGE.0)), 0);
        dirty.scan_all(&pagemap, range, &mut found).unwrap();
        let written: Vec<_> = found.iter().map(|region| region.range).collect();
        if thp_is_whole(&pagemap, &mapping) {
            // A write to a huge page lifts the protection of all of it.
            assert_eq!(written, [range]);
        } else {
            let first = mapping.range_of(Bytes(3 * PAGE.0), Bytes(2 * PAGE.0));
            assert_eq!(written, [first, page(&mapping, 40)]);
        }

        found.clear();
        dirty.scan_all(&pagemap, range, &mut found).unwrap();
        assert_eq!(found, [], "found once: {mapping:?}");
        assert!(pagemap.entry(page(&mapping, 3).start()).unwrap().is_uffd_wp());
    }
}

/// Says whether the mapping is one transparent huge page.
fn thp_is_whole(pagemap: &Pagemap, mapping: &Mapping) -> bool {
    let mut found = Vec::new();
    let huge = PagemapScan::new().required(Category::HUGE);
    huge.scan_all(pagemap, mapping.range(), &mut found).unwrap();
    found.first().is_some_and(|region| region.range == mapping.range())
}

#[test]
fn an_address_the_kernel_takes_for_another_is_no_range() {
    let Some(pagemap) = scannable() else {
        return;
    };
    // With a tag in the top byte. Where tags are looked past, the walk ends at the address
    // without it: short of the range, and for ever so.
    let mapping = mixed();
    let tagged = VaRange::of(Va(mapping.range().start().0 | 1 << 60), PAGE);
    let mut found = Vec::new();
    let error = PagemapScan::new().scan_all(&pagemap, tagged, &mut found).unwrap_err();
    assert_eq!(error, ScanError::OutOfAddressSpace { range: tagged });
    assert_eq!(found, []);
}

#[test]
fn no_page_is_found_twice_however_many_regions_there_are() {
    let Some(pagemap) = scannable() else { return };
    // The kernel gathers 512 regions at a time: 700 and 1700 end within the second half of a call.
    for regions in [511, 512, 513, 700, 1024, 1025, 1700] {
        let len = Bytes(2 * regions * PAGE.0);
        let memory = Mapping::builder(len).huge_pages(false).anonymous().unwrap();
        let touched: Vec<VaRange> = (0..regions).map(|index| page(&memory, 2 * index)).collect();
        for index in 0..regions {
            memory.store_u64(Bytes(2 * index * PAGE.0), 1);
        }
        let mut found = Vec::new();
        let scan = PagemapScan::new().anyof(Category::PRESENT);
        scan.scan_all(&pagemap, memory.range(), &mut found).unwrap();
        let found: Vec<VaRange> = found.iter().map(|region| region.range).collect();
        assert!(found == touched, "{regions} regions: found {}", found.len());
    }
}
