//! The kernel's numbers and structs under the names that the crate `userfaultfd` 0.9 expects.
//!
//! The crate of this name on crates.io makes them with bindgen, which needs libclang on every
//! machine that builds it. All of it is known already: this is [`faultless_uapi`] renamed. So the
//! peer that `faultless bench fault` compares with is built as published, and costs nobody a
//! compiler. Used by `userfaultfd` alone.
#![no_std]
#![forbid(unsafe_code)]

use faultless_uapi as uapi;
use faultless_uapi::{event, feature, ioctl, mode};

pub use uapi::UFFD_API;

macro_rules! numbers {
    ($($name:ident: $type:ty = $value:expr;)*) => {$(
        #[doc = concat!("`", stringify!($name), "` of `linux/userfaultfd.h`.")]
        pub const $name: $type = $value;
    )*};
}

numbers! {
    UFFDIO: u8 = ioctl::USERFAULTFD_IOC;
    USERFAULTFD_IOC: u8 = ioctl::USERFAULTFD_IOC;
    UFFD_USER_MODE_ONLY: u32 = uapi::UFFD_USER_MODE_ONLY;
    _UFFDIO_REGISTER: u64 = ioctl::nr::REGISTER as u64;
    _UFFDIO_UNREGISTER: u64 = ioctl::nr::UNREGISTER as u64;
    _UFFDIO_WAKE: u64 = ioctl::nr::WAKE as u64;
    _UFFDIO_COPY: u64 = ioctl::nr::COPY as u64;
    _UFFDIO_ZEROPAGE: u64 = ioctl::nr::ZEROPAGE as u64;
    _UFFDIO_WRITEPROTECT: u64 = ioctl::nr::WRITEPROTECT as u64;
    _UFFDIO_CONTINUE: u64 = ioctl::nr::CONTINUE as u64;
    _UFFDIO_API: u64 = ioctl::nr::API as u64;
    UFFDIO_REGISTER_MODE_MISSING: u64 = mode::register::MISSING;
    UFFDIO_REGISTER_MODE_WP: u64 = mode::register::WP;
    UFFDIO_REGISTER_MODE_MINOR: u64 = mode::register::MINOR;
    UFFDIO_COPY_MODE_DONTWAKE: u64 = mode::copy::DONTWAKE;
    UFFDIO_COPY_MODE_WP: u64 = mode::copy::WP;
    UFFDIO_ZEROPAGE_MODE_DONTWAKE: u64 = mode::zeropage::DONTWAKE;
    UFFDIO_WRITEPROTECT_MODE_WP: u64 = mode::writeprotect::WP;
    UFFDIO_WRITEPROTECT_MODE_DONTWAKE: u64 = mode::writeprotect::DONTWAKE;
    UFFDIO_CONTINUE_MODE_DONTWAKE: u64 = mode::continue_::DONTWAKE;
    UFFD_EVENT_PAGEFAULT: u8 = event::PAGEFAULT;
    UFFD_EVENT_FORK: u8 = event::FORK;
    UFFD_EVENT_REMAP: u8 = event::REMAP;
    UFFD_EVENT_REMOVE: u8 = event::REMOVE;
    UFFD_EVENT_UNMAP: u8 = event::UNMAP;
    UFFD_PAGEFAULT_FLAG_WRITE: u64 = event::fault_flag::WRITE;
    UFFD_PAGEFAULT_FLAG_WP: u64 = event::fault_flag::WP;
    UFFD_PAGEFAULT_FLAG_MINOR: u64 = event::fault_flag::MINOR;
    UFFD_FEATURE_PAGEFAULT_FLAG_WP: u64 = feature::FEATURE_PAGEFAULT_FLAG_WP;
    UFFD_FEATURE_EVENT_FORK: u64 = feature::FEATURE_EVENT_FORK;
    UFFD_FEATURE_EVENT_REMAP: u64 = feature::FEATURE_EVENT_REMAP;
    UFFD_FEATURE_EVENT_REMOVE: u64 = feature::FEATURE_EVENT_REMOVE;
    UFFD_FEATURE_MISSING_HUGETLBFS: u64 = feature::FEATURE_MISSING_HUGETLBFS;
    UFFD_FEATURE_MISSING_SHMEM: u64 = feature::FEATURE_MISSING_SHMEM;
    UFFD_FEATURE_EVENT_UNMAP: u64 = feature::FEATURE_EVENT_UNMAP;
    UFFD_FEATURE_SIGBUS: u64 = feature::FEATURE_SIGBUS;
    UFFD_FEATURE_THREAD_ID: u64 = feature::FEATURE_THREAD_ID;
}

macro_rules! structs {
    ($($kind:ident $name:ident: $size:literal { $($field:ident: $type:ty,)* })*) => {$(
        #[doc = concat!("`", stringify!($name), "` of `linux/userfaultfd.h`.")]
        #[repr(C)]
        #[derive(Clone, Copy)]
        #[expect(missing_docs, reason = "the header says what they are")]
        pub $kind $name { $(pub $field: $type,)* }

        const _: () = assert!(size_of::<$name>() == $size, "the size the kernel has");
    )*};
}

structs! {
    struct uffdio_range: 16 { start: u64, len: u64, }
    struct uffdio_api: 24 { api: u64, features: u64, ioctls: u64, }
    struct uffdio_register: 32 { range: uffdio_range, mode: u64, ioctls: u64, }
    struct uffdio_copy: 40 { dst: u64, src: u64, len: u64, mode: u64, copy: i64, }
    struct uffdio_zeropage: 32 { range: uffdio_range, mode: u64, zeropage: i64, }
    struct uffdio_writeprotect: 24 { range: uffdio_range, mode: u64, }
    struct uffdio_continue: 32 { range: uffdio_range, mode: u64, mapped: i64, }
    struct uffd_msg: 32 { event: u8, reserved1: u8, reserved2: u16, reserved3: u32, arg: uffd_arg, }
    union uffd_arg: 24 {
        pagefault: uffd_fault,
        fork: uffd_fork,
        remap: uffd_remap,
        remove: uffd_remove,
    }
    struct uffd_fault: 24 { flags: u64, address: u64, feat: uffd_thread, }
    union uffd_thread: 4 { ptid: u32, }
    struct uffd_fork: 4 { ufd: u32, }
    struct uffd_remap: 24 { from: u64, to: u64, len: u64, }
    struct uffd_remove: 16 { start: u64, end: u64, }
}
