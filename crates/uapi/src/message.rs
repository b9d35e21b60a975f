//! The message a userfaultfd delivers, and its payload by event.
//!
//! In C the payload is a union. Here it is three words with one accessor per event, so that
//! reading it needs no unsafe code. The kernel clears the whole message before it fills it:
//! bytes an event does not use are zero.

use crate::event;
use crate::layout::{Field, abi_struct};

abi_struct! {
    /// One message, 32 bytes. The kernel's struct is packed, which changes no offset.
    UffdMsg: 32 {
        /// [`crate::event`] number.
        event @ 0: u8,
        /// Zero.
        reserved1 @ 1: u8,
        /// Zero.
        reserved2 @ 2: u16,
        /// Zero.
        reserved3 @ 4: u32,
        /// First word of the payload.
        arg0 @ 8: u64,
        /// Second word of the payload.
        arg1 @ 16: u64,
        /// Third word of the payload.
        arg2 @ 24: u64,
    }
}

/// The payload of [`event::PAGEFAULT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagefaultArg {
    /// [`event::fault_flag`] bits.
    pub flags: u64,
    /// The faulting address, rounded down to the page unless `EXACT_ADDRESS` is on.
    pub address: u64,
    /// The faulting thread in its own pid namespace, if `THREAD_ID` is on, else zero.
    pub ptid: u32,
}

/// The payload of [`event::REMAP`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemapArg {
    /// Old address.
    pub from: u64,
    /// New address.
    pub to: u64,
    /// Old length in bytes.
    pub len: u64,
}

/// The payload of [`event::REMOVE`] and [`event::UNMAP`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveArg {
    /// First address.
    pub start: u64,
    /// First address after the range.
    pub end: u64,
}

impl UffdMsg {
    /// Makes a fault message.
    #[must_use]
    pub fn from_pagefault(arg: PagefaultArg) -> UffdMsg {
        UffdMsg {
            event: event::PAGEFAULT,
            arg0: arg.flags,
            arg1: arg.address,
            arg2: whole_word(arg.ptid),
            ..UffdMsg::default()
        }
    }

    /// Makes a fork message that hands over descriptor `ufd`.
    #[must_use]
    pub fn from_fork(ufd: u32) -> UffdMsg {
        UffdMsg { event: event::FORK, arg0: whole_word(ufd), ..UffdMsg::default() }
    }

    /// Makes a remap message.
    #[must_use]
    pub fn from_remap(arg: RemapArg) -> UffdMsg {
        UffdMsg {
            event: event::REMAP,
            arg0: arg.from,
            arg1: arg.to,
            arg2: arg.len,
            ..UffdMsg::default()
        }
    }

    /// Makes a remove or unmap message; `event` says which.
    #[must_use]
    pub fn from_remove(event: u8, arg: RemoveArg) -> UffdMsg {
        UffdMsg { event, arg0: arg.start, arg1: arg.end, ..UffdMsg::default() }
    }

    /// Reads the payload of a fault.
    #[must_use]
    pub fn pagefault(&self) -> PagefaultArg {
        PagefaultArg { flags: self.arg0, address: self.arg1, ptid: leading_half(self.arg2) }
    }

    /// Reads the descriptor a fork hands over. It is open in the process that read the message.
    #[must_use]
    pub fn fork_ufd(&self) -> u32 {
        leading_half(self.arg0)
    }

    /// Reads the payload of a remap.
    #[must_use]
    pub fn remap(&self) -> RemapArg {
        RemapArg { from: self.arg0, to: self.arg1, len: self.arg2 }
    }

    /// Reads the payload of a remove or unmap.
    #[must_use]
    pub fn remove(&self) -> RemoveArg {
        RemoveArg { start: self.arg0, end: self.arg1 }
    }
}

/// Puts a 32-bit field at the lower address of a word, whatever the byte order.
fn whole_word(value: u32) -> u64 {
    let mut bytes = [0; 8];
    value.put(&mut bytes[..4]);
    u64::from_ne_bytes(bytes)
}

/// Takes the 32-bit field at the lower address of a word, whatever the byte order.
fn leading_half(word: u64) -> u32 {
    u32::get(&word.to_ne_bytes()[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_lie_where_the_kernel_puts_them() {
        let fault = PagefaultArg { flags: 3, address: 0x7000, ptid: 42 };
        let bytes = UffdMsg::from_pagefault(fault).to_bytes();
        assert_eq!(bytes[0], event::PAGEFAULT);
        assert_eq!(bytes[8..16], 3u64.to_ne_bytes());
        assert_eq!(bytes[16..24], 0x7000u64.to_ne_bytes());
        assert_eq!(bytes[24..28], 42u32.to_ne_bytes());
        assert_eq!(UffdMsg::from_bytes(bytes).pagefault(), fault);

        let bytes = UffdMsg::from_fork(9).to_bytes();
        assert_eq!(bytes[8..12], 9u32.to_ne_bytes());
        assert_eq!(UffdMsg::from_bytes(bytes).fork_ufd(), 9);

        let moved = RemapArg { from: 1, to: 2, len: 3 };
        assert_eq!(UffdMsg::from_remap(moved).remap(), moved);
        let gone = RemoveArg { start: 1, end: 2 };
        assert_eq!(UffdMsg::from_remove(event::UNMAP, gone).remove(), gone);
    }
}
