//! Event numbers of messages, and the flags of a fault.

/// A thread faulted and waits.
pub const PAGEFAULT: u8 = 0x12;
/// The process forked; the message hands over a descriptor for the child.
pub const FORK: u8 = 0x13;
/// A mapping moved.
pub const REMAP: u8 = 0x14;
/// Pages are about to be dropped by madvise.
pub const REMOVE: u8 = 0x15;
/// A range was unmapped.
pub const UNMAP: u8 = 0x16;

/// Flags of a fault. None of WP, MINOR and RWP means that the page is missing.
pub mod fault_flag {
    /// The access was a write. May come with any other flag.
    pub const WRITE: u64 = 1 << 0;
    /// The page is write-protected. Since 5.7.
    pub const WP: u64 = 1 << 1;
    /// The page cache holds the page, the page table does not. Since 5.13.
    pub const MINOR: u64 = 1 << 2;
    /// The page is protected against any access. Since 7.3.
    pub const RWP: u64 = 1 << 3;
}
