//! Mode bits of each request.

/// Bits of REGISTER: which faults to report.
pub mod register {
    /// Faults on pages that do not exist yet. Since 4.3.
    pub const MISSING: u64 = 1 << 0;
    /// Writes to write-protected pages. Since 5.7.
    pub const WP: u64 = 1 << 1;
    /// Faults on pages that the page cache holds. Since 5.13.
    pub const MINOR: u64 = 1 << 2;
    /// Any access to read-write-protected pages; excludes [`WP`]. Since 7.3.
    pub const RWP: u64 = 1 << 3;
}

/// Bits of COPY.
pub mod copy {
    /// Leave the waiting threads asleep.
    pub const DONTWAKE: u64 = 1 << 0;
    /// Install the page write-protected. Since 5.7.
    pub const WP: u64 = 1 << 1;
}

/// Bits of ZEROPAGE.
pub mod zeropage {
    /// Leave the waiting threads asleep.
    pub const DONTWAKE: u64 = 1 << 0;
}

/// Bits of MOVE.
pub mod move_ {
    /// Leave the waiting threads asleep.
    pub const DONTWAKE: u64 = 1 << 0;
    /// Count holes of the source as moved instead of stopping at them.
    pub const ALLOW_SRC_HOLES: u64 = 1 << 1;
}

/// Bits of WRITEPROTECT. The two exclude each other: protecting never wakes.
pub mod writeprotect {
    /// Protect; without it, unprotect.
    pub const WP: u64 = 1 << 0;
    /// Leave the waiting threads asleep after unprotecting.
    pub const DONTWAKE: u64 = 1 << 1;
}

/// Bits of CONTINUE.
pub mod continue_ {
    /// Leave the waiting threads asleep.
    pub const DONTWAKE: u64 = 1 << 0;
    /// Map the page write-protected. Since 6.4.
    pub const WP: u64 = 1 << 1;
}

/// Bits of POISON.
pub mod poison {
    /// Leave the waiting threads asleep.
    pub const DONTWAKE: u64 = 1 << 0;
}

/// Bits of RWPROTECT. The two exclude each other: protecting never wakes.
pub mod rwprotect {
    /// Protect; without it, unprotect.
    pub const RWP: u64 = 1 << 0;
    /// Leave the waiting threads asleep after unprotecting.
    pub const DONTWAKE: u64 = 1 << 1;
}
