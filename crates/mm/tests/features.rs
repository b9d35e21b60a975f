//! Every feature can be taken out of a profile: it is not offered, cannot be asked for, and what it
//! gives is refused.

#![forbid(unsafe_code)]

use faultless_mm::errno::EINVAL;
use faultless_mm::{
    Argument, Behind, Choice, Errno, Kernel, MapRequest, OpenFlags, Profile, Runner, ThreadId,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::feature::*;
use faultless_uapi::ioctl::{UFFDIO_API, UFFDIO_POISON, UFFDIO_REGISTER, UFFDIO_RWPROTECT};
use faultless_uapi::mode::register;
use faultless_uapi::{
    UFFD_API, UffdioApi, UffdioPoison, UffdioRange, UffdioRegister, UffdioRwprotect,
};

const LEN: u64 = 2 << 20;

/// A process of a kernel that lacks these features, with a userfaultfd.
struct Lacking {
    kernel: Kernel,
    runner: Runner,
    who: ThreadId,
    fd: u32,
}

impl Lacking {
    fn new(features: u64) -> Lacking {
        let whole = Profile::linux_7_3();
        let kernel = Kernel::new(Profile { features: whole.features & !features, ..whole });
        let runner = Runner::new(kernel.clone(), Choice::Straight);
        let who = kernel.spawn();
        let fd = kernel.userfaultfd(who, OpenFlags::NONBLOCK).expect("a descriptor");
        Lacking { kernel, runner, who, fd }
    }

    fn request(&mut self, request: u32, argument: &mut [u8]) -> Result<u64, Errno> {
        let asked = self.kernel.ioctl(self.who, self.fd, request, Argument::Bytes(argument));
        self.runner.now(self.who, asked).expect("no request waits")
    }

    /// The handshake; returns the features offered.
    fn shake(&mut self, features: u64) -> Result<u64, Errno> {
        let mut bytes = UffdioApi { api: UFFD_API, features, ioctls: 0 }.to_bytes();
        self.request(UFFDIO_API, &mut bytes)?;
        Ok(UffdioApi::from_bytes(bytes).features)
    }

    fn map(&mut self, shared: bool, behind: Behind) -> UffdioRange {
        let request = MapRequest { shared, behind, ..MapRequest::anonymous(Bytes(LEN)) };
        let Va(start) =
            self.runner.now(self.who, self.kernel.map(self.who, request)).unwrap().unwrap();
        UffdioRange { start, len: LEN }
    }

    fn register(&mut self, range: UffdioRange, mode: u64) -> Result<u64, Errno> {
        let mut bytes = UffdioRegister { range, mode, ioctls: 0 }.to_bytes();
        self.request(UFFDIO_REGISTER, &mut bytes)
    }
}

#[test]
fn what_is_taken_out_is_not_offered_and_cannot_be_asked_for() {
    for feature in HISTORY {
        let mut lacking = Lacking::new(feature.mask());
        assert_eq!(lacking.shake(feature.mask()), Err(EINVAL), "{}", feature.name);
        assert_eq!(lacking.shake(0), Ok(KNOWN & !feature.mask()), "{}", feature.name);
    }
}

/// Registers memory of a kind for a mode, with and without a feature.
#[track_caller]
fn registration_needs(feature: u64, shared: bool, behind: Behind, mode: u64) {
    for (lacks, expected) in [(0, Ok(0)), (feature, Err(EINVAL))] {
        let mut lacking = Lacking::new(lacks);
        let asks = if mode == register::RWP && lacks == 0 { FEATURE_RWP } else { 0 };
        lacking.shake(asks).expect("a handshake");
        let range = lacking.map(shared, behind);
        assert_eq!(lacking.register(range, mode), expected, "lacking {lacks:#x}");
    }
}

#[test]
fn registrations_need_their_features() {
    let anonymous = Behind::Anonymous;
    let hugetlb = Behind::Hugetlb;
    registration_needs(FEATURE_PAGEFAULT_FLAG_WP, false, anonymous, register::WP);
    registration_needs(FEATURE_RWP, false, anonymous, register::RWP);
    registration_needs(FEATURE_MISSING_SHMEM, true, anonymous, register::MISSING);
    registration_needs(FEATURE_MINOR_SHMEM, true, anonymous, register::MINOR);
    registration_needs(FEATURE_WP_HUGETLBFS_SHMEM, true, anonymous, register::WP);
    registration_needs(FEATURE_MISSING_HUGETLBFS, true, hugetlb, register::MISSING);
    registration_needs(FEATURE_MINOR_HUGETLBFS, true, hugetlb, register::MINOR);
    registration_needs(FEATURE_WP_HUGETLBFS_SHMEM, false, hugetlb, register::WP);
}

#[test]
fn requests_need_their_features() {
    let mut lacking = Lacking::new(FEATURE_POISON | FEATURE_RWP | FEATURE_RWP_ASYNC);
    lacking.shake(0).expect("a handshake");
    let range = lacking.map(false, Behind::Anonymous);
    lacking.register(range, register::MISSING).expect("plain memory");
    let poison = UffdioPoison { range, mode: 0, updated: 0 };
    assert_eq!(lacking.request(UFFDIO_POISON, &mut poison.to_bytes()), Err(EINVAL));
    let rwprotect = UffdioRwprotect { range, mode: 0 };
    assert_eq!(lacking.request(UFFDIO_RWPROTECT, &mut rwprotect.to_bytes()), Err(EINVAL));
}
