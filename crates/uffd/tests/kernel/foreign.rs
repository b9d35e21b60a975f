//! Operations on the memory of another process.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;

use crate::common::{FORKS, page_of, pages, skipped};
use faultless_pages::{Va, VaRange};
use faultless_uffd::attach::attach;
use faultless_uffd::{
    CopyMode, Errno, Features, ForeignUffd, Ioctls, Modes, NotForeign, Situation, Wanted, WpMode,
    ZeropageMode,
};

/// A process to operate on, ended with the test.
struct Target(Child);

impl Target {
    fn start() -> Target {
        let child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn();
        Target(child.expect("sleep starts"))
    }

    /// Returns its heap, which every program with a C library has.
    fn heap(&self) -> VaRange {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.0.id())).expect("maps");
        let line = maps.lines().find(|line| line.ends_with("[heap]")).expect("a heap");
        let (start, rest) = line.split_once('-').expect("a range");
        let end = rest.split(' ').next().expect("an end");
        let address = |text| Va(u64::from_str_radix(text, 16).expect("an address"));
        VaRange::new(address(start), address(end))
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().expect("our child");
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.end();
    }
}

fn attached(target: &Target, required: Features) -> Option<ForeignUffd> {
    // The program has to be loaded before it has a heap.
    while fs::read_to_string(format!("/proc/{}/wchan", target.0.id()))
        .is_ok_and(|place| !place.contains("nanosleep"))
    {
        std::thread::yield_now();
    }
    // Attaching forks a helper.
    let _alone = FORKS.lock().unwrap_or_else(PoisonError::into_inner);
    let attachment = attach(target.0.id()).map_err(skipped).ok()?;
    attachment.uffd.handshake(Wanted { required, ..Wanted::default() }).map_err(skipped).ok()
}

#[test]
fn the_memory_of_another_process_is_protected_and_filled_from_outside() {
    let target = Target::start();
    let Some(uffd) = attached(&target, Features::PAGEFAULT_FLAG_WP) else { return };
    let heap = target.heap();

    let ioctls = uffd.register_range(heap, Modes::MISSING | Modes::WP).unwrap();

    assert!(ioctls.contains(Ioctls::WRITEPROTECT));
    assert!(uffd.write_protect(heap, WpMode::Protect).is_complete());
    assert!(uffd.write_protect(heap, WpMode::Unprotect { dontwake: false }).is_complete());
    let first = VaRange::of(heap.start(), pages(1));
    let present = uffd.copy(first.start(), &page_of(7), CopyMode::default());
    assert_eq!(present.stopped, Some(Situation::AlreadyPresent));
    let last = VaRange::new(Va(heap.end().0 - pages(1).0), heap.end());
    let missing = uffd.zeropage(last, ZeropageMode::default());
    assert!(missing.is_complete(), "{missing:?}");
    uffd.unregister(heap).unwrap();
}

#[test]
fn the_end_of_the_process_is_a_situation() {
    let mut target = Target::start();
    let Some(uffd) = attached(&target, Features::PAGEFAULT_FLAG_WP) else { return };
    let heap = target.heap();
    uffd.register_range(heap, Modes::MISSING | Modes::WP).unwrap();

    target.end();

    let copied = uffd.copy(heap.start(), &page_of(7), CopyMode::default());
    assert_eq!(copied.stopped, Some(Situation::Gone));
    let protected = uffd.write_protect(heap, WpMode::Protect);
    assert_eq!(protected.stopped, Some(Situation::Gone));
    let error = uffd.register_range(heap, Modes::MISSING).unwrap_err();
    assert_eq!(error.errno, Errno::NOMEM);
    uffd.wake(heap).unwrap();
}

#[test]
fn whose_a_userfaultfd_is_can_be_told() {
    let mut target = Target::start();
    let Some(foreign) = attached(&target, Features::empty()) else { return };
    let checked = ForeignUffd::check(foreign.into_uffd());
    assert!(checked.is_ok(), "{checked:?}");
    target.end();
    let Some(own) = crate::common::uffd(Features::empty()) else { return };
    assert!(matches!(ForeignUffd::check(own), Err((NotForeign::Own, _))));
}
