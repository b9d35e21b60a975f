//! Numbers of Linux that bodies need beside the userfaultfd ABI, in the widths calls take.
//!
//! The values are those of the generic ABI, which x86-64, aarch64 and riscv64 share.

/// `mmap` protection.
pub mod prot {
    /// No access.
    pub const NONE: u32 = 0;
    /// Reads.
    pub const READ: u32 = 1;
    /// Reads and writes.
    pub const READ_WRITE: u32 = 3;
    /// Reads, writes and execution.
    pub const ALL: u32 = 7;
}

/// `mmap` flags.
pub mod map {
    /// Writes are seen by every mapping of the object.
    pub const SHARED: u32 = 0x1;
    /// Writes stay in this mapping.
    pub const PRIVATE: u32 = 0x2;
    /// The kernel may drop pages at any time (6.11); a type of its own, like SHARED.
    pub const DROPPABLE: u32 = 0x8;
    /// At exactly this address, over what is there.
    pub const FIXED: u32 = 0x10;
    /// No file behind it.
    pub const ANONYMOUS: u32 = 0x20;
    /// A stack, which grows down on faults below it.
    pub const GROWSDOWN: u32 = 0x100;
    /// No swap reserved.
    pub const NORESERVE: u32 = 0x4000;
    /// Huge pages of the default size.
    pub const HUGETLB: u32 = 0x4_0000;
}

/// `mremap` flags.
pub mod remap {
    /// May go elsewhere.
    pub const MAYMOVE: u32 = 1;
    /// To the given address, over what is there.
    pub const FIXED: u32 = 2;
    /// Leave the old mapping, empty.
    pub const DONTUNMAP: u32 = 4;
}

/// `madvise` advice.
pub mod advice {
    /// Drops pages.
    pub const DONTNEED: u32 = 4;
    /// Lets the kernel drop pages under pressure.
    pub const FREE: u32 = 8;
    /// Drops pages of the object behind the mapping.
    pub const REMOVE: u32 = 9;
    /// Leaves the range out of children.
    pub const DONTFORK: u32 = 10;
    /// Lets identical pages be merged.
    pub const MERGEABLE: u32 = 12;
    /// Wants huge pages.
    pub const HUGEPAGE: u32 = 14;
    /// Wants no huge pages.
    pub const NOHUGEPAGE: u32 = 15;
    /// Reclaims first.
    pub const COLD: u32 = 20;
    /// Reclaims now.
    pub const PAGEOUT: u32 = 21;
    /// Faults pages in for reading.
    pub const POPULATE_READ: u32 = 22;
    /// Faults pages in for writing.
    pub const POPULATE_WRITE: u32 = 23;
    /// As DONTNEED, locked pages too.
    pub const DONTNEED_LOCKED: u32 = 24;
    /// Makes a huge page now.
    pub const COLLAPSE: u32 = 25;
    /// Makes accesses fatal (6.13).
    pub const GUARD_INSTALL: u32 = 102;
    /// Takes guards away.
    pub const GUARD_REMOVE: u32 = 103;
}

/// `poll` events.
pub mod poll {
    /// Something to read.
    pub const IN: u64 = 0x1;
    /// An error, or a descriptor that cannot be waited for.
    pub const ERR: u64 = 0x8;
}

/// `open` flags.
pub mod open {
    /// Returns instead of blocking.
    pub const NONBLOCK: u32 = 0o4000;
    /// Closed by exec.
    pub const CLOEXEC: u32 = 0o2_000_000;
}

/// `si_code` of SIGBUS and SIGSEGV.
pub mod code {
    /// SIGBUS: no such physical address.
    pub const BUS_ADRERR: u64 = 2;
    /// SIGBUS: the access met a hardware memory error.
    pub const BUS_MCEERR_AR: u64 = 4;
    /// SIGSEGV: nothing is mapped.
    pub const SEGV_MAPERR: u64 = 1;
    /// SIGSEGV: the mapping forbids it.
    pub const SEGV_ACCERR: u64 = 2;
}
