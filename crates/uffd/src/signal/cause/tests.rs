//! Faults in SIGBUS mode, resolved by the handler. A process has one action a signal, so every
//! test is a process of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use faultless_pages::{Bytes, PageSize, VaRange};

use super::*;
use crate::signal::{AlternateStack, FaultSignal, Handled, install};
use crate::testing::{HugePages, in_child, skip, this_test};
use crate::{CopyMode, Features, Mapping, Modes, OpenOptions, PoisonMode, Uffd, Wanted, WpMode};

const PAGE: Bytes = Bytes::kib(4);

/// Memory whose faults the handler below resolves by itself.
struct Inline {
    uffd: Uffd,
    mapping: Mapping,
    pagemap: Pagemap,
}

static INLINE: OnceLock<Inline> = OnceLock::new();
static UNRESOLVED: AtomicUsize = AtomicUsize::new(0);
static POISONED: AtomicUsize = AtomicUsize::new(0);
static PROTECTED: AtomicUsize = AtomicUsize::new(0);
/// What the handler fills pages with.
static FILLING: [u8; 2 << 20] = [0x5a; 2 << 20];

/// Drops a poisoned page, lifts a protection, fills a missing page.
fn resolve(fault: &FaultInfo) -> Handled {
    let Some(Inline { uffd, mapping, pagemap }) = INLINE.get() else {
        return Handled::No;
    };
    let size = mapping.page_size();
    let page = VaRange::of(fault.address.align_down(size), size.bytes());
    match bus_cause(pagemap, fault) {
        Ok(BusCause::Poison) => {
            POISONED.fetch_add(1, Ordering::Relaxed);
            mapping.advise(page, crate::Advice::DontNeed).unwrap();
        }
        Ok(BusCause::Unresolved) => {
            let protected = pagemap.entry(fault.address).unwrap().is_uffd_wp();
            let outcome = if protected {
                PROTECTED.fetch_add(1, Ordering::Relaxed);
                let mode = WpMode::Unprotect { dontwake: true };
                // SAFETY: memory of a mapping, of which nobody holds a reference.
                unsafe { uffd.write_protect(page, mode) }
            } else {
                UNRESOLVED.fetch_add(1, Ordering::Relaxed);
                let mode = CopyMode { dontwake: true, ..CopyMode::default() };
                // SAFETY: as above; the source is as long as the largest page here.
                unsafe { uffd.copy(page, FILLING.as_ptr(), mode) }
            };
            assert!(outcome.is_complete(), "{outcome:?}");
        }
        Err(error) => panic!("{error}"),
    }
    Handled::Yes
}

/// Registers `mapping` in SIGBUS mode and lets [`resolve`] handle its faults; says why not.
fn inline(mapping: Mapping) -> Result<&'static Inline, String> {
    let required = Features::SIGBUS
        | Features::POISON
        | Features::PAGEFAULT_FLAG_WP
        | Features::WP_HUGETLBFS_SHMEM;
    let wanted = Wanted { required, optional: Features::empty() };
    let open = Uffd::open(&OpenOptions::default()).map_err(|error| error.to_string())?;
    let uffd = open.handshake(wanted).map_err(|error| error.to_string())?;
    // SAFETY: memory of a mapping, of which nobody holds a reference.
    let registered = unsafe { uffd.register_range(mapping.range(), Modes::MISSING | Modes::WP) };
    registered.map_err(|error| error.to_string())?;
    let pagemap = Pagemap::of_self().unwrap();
    Ok(INLINE.get_or_init(|| Inline { uffd, mapping, pagemap }))
}

/// Faults on four pages in SIGBUS mode: missing, read and written, poisoned, protected.
fn exercise(mapping: Mapping) {
    let inline = match inline(mapping) {
        Ok(inline) => inline,
        Err(why) => return skip(why),
    };
    let Inline { uffd, mapping, .. } = inline;
    let size = mapping.page_size().bytes();
    // SAFETY: `resolve` makes no allocation, but to panic when the test has failed anyway.
    let _handler = unsafe { install(FaultSignal::Bus, resolve) }.unwrap();
    let _stack = AlternateStack::new().unwrap();

    assert_eq!(mapping.load_u8(Bytes(3)), 0x5a);
    mapping.store_u8(size, 1);
    assert_eq!(mapping.load_u8(Bytes(size.0 + 1)), 0x5a);
    assert_eq!(UNRESOLVED.load(Ordering::Relaxed), 2);
    assert_eq!(POISONED.load(Ordering::Relaxed), 0);

    let third = mapping.range_of(Bytes(2 * size.0), size);
    // SAFETY: memory of a mapping, of which nobody holds a reference.
    let outcome = unsafe { uffd.poison(third, PoisonMode::default()) };
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(mapping.load_u8(Bytes(2 * size.0 + 5)), 0x5a);
    assert_eq!(POISONED.load(Ordering::Relaxed), 1);
    assert_eq!(UNRESOLVED.load(Ordering::Relaxed), 3, "missing after the poison is gone");

    let second = mapping.range_of(size, size);
    // SAFETY: as above.
    let outcome = unsafe { uffd.write_protect(second, WpMode::Protect) };
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(mapping.load_u8(size), 1, "reading goes on");
    mapping.store_u8(size, 2);
    assert_eq!(PROTECTED.load(Ordering::Relaxed), 1);
    assert_eq!(mapping.load_u8(size), 2);
    assert_eq!(POISONED.load(Ordering::Relaxed), 1);
}

#[test]
fn poison_is_told_from_a_fault_to_resolve_in_anonymous_memory() {
    let status =
        in_child(this_test!(poison_is_told_from_a_fault_to_resolve_in_anonymous_memory), || {
            exercise(Mapping::anonymous(Bytes(4 * PAGE.0)).unwrap());
        });
    assert!(status.success(), "{status}");
}

#[test]
fn poison_is_told_from_a_fault_to_resolve_in_shared_memory() {
    let status =
        in_child(this_test!(poison_is_told_from_a_fault_to_resolve_in_shared_memory), || {
            exercise(Mapping::memfd(Bytes(4 * PAGE.0)).unwrap());
        });
    assert!(status.success(), "{status}");
}

#[test]
fn poison_is_told_from_a_fault_to_resolve_in_huge_pages() {
    let huge = PageSize::MIB2;
    let Some(_pool) = HugePages::reserve(huge, 4) else {
        return skip("no huge pages to be had");
    };
    let status = in_child(this_test!(poison_is_told_from_a_fault_to_resolve_in_huge_pages), || {
        let huge = PageSize::MIB2;
        exercise(Mapping::hugetlb(huge, Bytes(3 * huge.bytes().0)).unwrap());
    });
    assert!(status.success(), "{status}");
}
