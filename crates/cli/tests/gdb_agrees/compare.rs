//! Compares the memory of two cores byte by byte.

use std::path::Path;

use faultless_image::core::{CoreFile, Residence};
use faultless_pages::Va;

const PAGE: u64 = 4096;

/// Asserts that all memory both cores hold is the same, and that neither lacks memory the other
/// shows the program could write to.
pub(crate) fn assert_same_memory(gcore: &Path, ours: &Path) {
    let gcore = CoreFile::open(gcore).expect("gcore's core is readable");
    let ours = CoreFile::open(ours).expect("our core is readable");
    let both = compare(&gcore, &ours);
    let lacking = writable_pages_missing(&gcore, &ours);
    assert!(lacking.is_empty(), "gcore has these writable pages and we do not: {lacking:x?}");
    let lacking = writable_pages_missing(&ours, &gcore);
    assert!(lacking.is_empty(), "we have these writable pages and gcore does not: {lacking:x?}");
    println!("{} KiB of memory are the same in both", both * PAGE / 1024);
    assert!(both > 100, "only {both} pages are in both cores");
}

/// Compares every page that both hold; returns how many that are.
fn compare(gcore: &CoreFile, ours: &CoreFile) -> u64 {
    let (mut expected, mut found) = (vec![0; 4096], vec![0; 4096]);
    let mut both = 0;
    for address in pages(gcore).filter(|&at| holds(ours, at)) {
        gcore.read_memory(address, &mut expected).expect("gcore's core is readable");
        ours.read_memory(address, &mut found).expect("our core is readable");
        let differs = expected.iter().zip(&found).position(|(a, b)| a != b);
        if let Some(at) = differs {
            panic!(
                "{:#x} is {:#x} in gcore's core, {:#x} in ours",
                address.0 + at as u64,
                expected[at],
                found[at]
            );
        }
        both += 1;
    }
    both
}

/// Lists pages of writable segments that `core` holds and `other` does not.
fn writable_pages_missing(core: &CoreFile, other: &CoreFile) -> Vec<u64> {
    let writable =
        |at: &Va| core.segments().iter().any(|s| s.access.write && s.range.contains(*at));
    pages(core).filter(|&at| !holds(other, at)).filter(writable).map(|at| at.0).collect()
}

fn holds(core: &CoreFile, address: Va) -> bool {
    core.residence(address) == Residence::InFile
}

/// All pages whose content the core holds.
fn pages(core: &CoreFile) -> impl Iterator<Item = Va> {
    core.segments().iter().flat_map(|segment| {
        let start = segment.range.start().0;
        (start..start + segment.in_file.0).step_by(4096).map(Va)
    })
}
