//! The kernel's userfaultfd and `PAGEMAP_SCAN` ABI, exact to the byte.
//!
//! Written by hand from the documented interface, up to Linux 7.3, because system headers lag
//! behind kernels by years. It holds numbers and layouts, no behaviour: crate `uffd` calls the
//! kernel with them, the model of the kernel answers with them, and neither sees the other.
//!
//! | module | holds |
//! |---|---|
//! | [`ioctl`] | request numbers, per architecture, and the kernel each came with |
//! | [`structs`] | argument structs, their sizes and offsets asserted at compile time |
//! | [`message`] | the message read from the descriptor |
//! | [`event`] | event numbers and fault flags |
//! | [`feature`] | feature bits of the handshake and their history |
//! | [`mode`] | mode bits of each request |
//! | [`scan`] | flags and categories of `PAGEMAP_SCAN`, bits of pagemap entries |
//! | [`syscall`] | the system call number, per architecture |
//!
//! Structs and messages are also exported flat.
#![no_std]
#![forbid(unsafe_code)]

pub mod event;
pub mod feature;
pub mod ioctl;
mod layout;
pub mod message;
pub mod mode;
pub mod scan;
pub mod structs;
pub mod syscall;
mod version;

pub use message::{PagefaultArg, RemapArg, RemoveArg, UffdMsg};
pub use structs::{
    PageRegion, PmScanArg, UffdioApi, UffdioContinue, UffdioCopy, UffdioMove, UffdioPoison,
    UffdioRange, UffdioRegister, UffdioRwprotect, UffdioSetMode, UffdioWriteprotect,
    UffdioZeropage,
};
pub use version::KernelVersion;

/// The only version of the API there is; goes into [`UffdioApi::api`].
pub const UFFD_API: u64 = 0xAA;

/// Flag of the system call and of [`ioctl::USERFAULTFD_IOC_NEW`]: handle only faults from user
/// mode. An unprivileged process gets no other kind from the system call. Since 5.11.
pub const UFFD_USER_MODE_ONLY: u32 = 1;
