//! The argument structs of the requests, field by field as the kernel lays them out.
//!
//! All are made of 64-bit words, so 32-bit callers of a 64-bit kernel share the layout. Fields
//! marked *out* are written by the kernel. Some failures leave them untouched: set them to zero
//! before the call, or a stale value reads as progress.

use crate::layout::abi_struct;

abi_struct! {
    /// A range of addresses, both page aligned, the length above zero. The whole argument of
    /// UNREGISTER and WAKE.
    UffdioRange: 16 {
        /// First address.
        start @ 0: u64,
        /// Length in bytes.
        len @ 8: u64,
    }
}

abi_struct! {
    /// The argument of the handshake.
    UffdioApi: 24 {
        /// In: [`crate::UFFD_API`].
        api @ 0: u64,
        /// In: the features wanted. Out: the features the kernel supports, enabled or not.
        features @ 8: u64,
        /// Out: bitmap of the requests the descriptor takes, by sequence number.
        ioctls @ 16: u64,
    }
}

abi_struct! {
    /// The argument of REGISTER.
    UffdioRegister: 32 {
        /// The range to register. It may hold holes.
        range @ 0: UffdioRange,
        /// [`crate::mode::register`] bits.
        mode @ 16: u64,
        /// Out: bitmap of the requests that make sense on the range. Advisory.
        ioctls @ 24: u64,
    }
}

abi_struct! {
    /// The argument of COPY.
    UffdioCopy: 40 {
        /// Destination, in the address space of the userfaultfd.
        dst @ 0: u64,
        /// Source, in the address space of the caller; need not be aligned.
        src @ 8: u64,
        /// Length in bytes.
        len @ 16: u64,
        /// [`crate::mode::copy`] bits.
        mode @ 24: u64,
        /// Out: bytes copied, or a negated errno.
        copy @ 32: i64,
    }
}

abi_struct! {
    /// The argument of ZEROPAGE.
    UffdioZeropage: 32 {
        /// The range to fill.
        range @ 0: UffdioRange,
        /// [`crate::mode::zeropage`] bits.
        mode @ 16: u64,
        /// Out: bytes filled, or a negated errno.
        zeropage @ 24: i64,
    }
}

abi_struct! {
    /// The argument of MOVE.
    UffdioMove: 40 {
        /// Destination.
        dst @ 0: u64,
        /// Source, in the same address space, page aligned.
        src @ 8: u64,
        /// Length in bytes.
        len @ 16: u64,
        /// [`crate::mode::move_`] bits.
        mode @ 24: u64,
        /// Out: bytes moved, or a negated errno. The kernel's field is called `move`.
        move_ @ 32: i64,
    }
}

abi_struct! {
    /// The argument of WRITEPROTECT. It has no out field: partial progress is not reported.
    UffdioWriteprotect: 24 {
        /// The range to protect or unprotect.
        range @ 0: UffdioRange,
        /// [`crate::mode::writeprotect`] bits; none of them means unprotect and wake.
        mode @ 16: u64,
    }
}

abi_struct! {
    /// The argument of CONTINUE.
    UffdioContinue: 32 {
        /// The range to map.
        range @ 0: UffdioRange,
        /// [`crate::mode::continue_`] bits.
        mode @ 16: u64,
        /// Out: bytes mapped, or a negated errno.
        mapped @ 24: i64,
    }
}

abi_struct! {
    /// The argument of POISON.
    UffdioPoison: 32 {
        /// The range to poison.
        range @ 0: UffdioRange,
        /// [`crate::mode::poison`] bits.
        mode @ 16: u64,
        /// Out: bytes poisoned, or a negated errno.
        updated @ 24: i64,
    }
}

abi_struct! {
    /// The argument of RWPROTECT.
    UffdioRwprotect: 24 {
        /// The range to protect or unprotect.
        range @ 0: UffdioRange,
        /// [`crate::mode::rwprotect`] bits; none of them means unprotect and wake.
        mode @ 16: u64,
    }
}

abi_struct! {
    /// The argument of `SET_MODE`.
    UffdioSetMode: 16 {
        /// Features to switch on.
        enable @ 0: u64,
        /// Features to switch off. No bit may be in both.
        disable @ 8: u64,
    }
}

abi_struct! {
    /// The argument of `PAGEMAP_SCAN`.
    PmScanArg: 96 {
        /// In: the size of this struct, 96.
        size @ 0: u64,
        /// [`crate::scan::flag`] bits.
        flags @ 8: u64,
        /// First address, page aligned.
        start @ 16: u64,
        /// First address after the range; rounded up to a page.
        end @ 24: u64,
        /// Out: where the walk stopped.
        walk_end @ 32: u64,
        /// Address of an array of [`PageRegion`], or 0.
        vec @ 40: u64,
        /// Elements of that array.
        vec_len @ 48: u64,
        /// Pages to report at most; 0 is no limit.
        max_pages @ 56: u64,
        /// Categories to invert before matching.
        category_inverted @ 64: u64,
        /// Categories a page must have, all of them.
        category_mask @ 72: u64,
        /// Categories of which a page must have one; 0 is no condition.
        category_anyof_mask @ 80: u64,
        /// Categories to report.
        return_mask @ 88: u64,
    }
}

abi_struct! {
    /// A run of pages of equal categories, as `PAGEMAP_SCAN` reports them.
    PageRegion: 24 {
        /// First address.
        start @ 0: u64,
        /// First address after the run.
        end @ 8: u64,
        /// [`crate::scan::category`] bits.
        categories @ 16: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_hold_the_fields_in_order_and_come_back_equal() {
        let copy = UffdioCopy { dst: 1, src: 2, len: 3, mode: 4, copy: -5 };
        let bytes = copy.to_bytes();
        assert_eq!(bytes[..8], 1u64.to_ne_bytes());
        assert_eq!(bytes[32..], (-5i64).to_ne_bytes());
        assert_eq!(UffdioCopy::from_bytes(bytes), copy);
    }

    #[test]
    fn nested_ranges_come_first() {
        let register =
            UffdioRegister { range: UffdioRange { start: 7, len: 8 }, mode: 9, ioctls: 10 };
        let bytes = register.to_bytes();
        assert_eq!(bytes[..16], UffdioRange { start: 7, len: 8 }.to_bytes());
        assert_eq!(UffdioRegister::from_bytes(bytes), register);
    }
}
