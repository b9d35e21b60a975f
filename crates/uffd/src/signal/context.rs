//! What the kernel says about a fault, per architecture.

use faultless_pages::Va;

use super::{FaultInfo, FaultSignal};

/// Reads the fault out of what the kernel passed; `None` if no access raised the signal or its
/// address is not known.
///
/// # Safety
/// The pointers are those the kernel passed to a handler with `SA_SIGINFO` that still runs.
pub(super) unsafe fn fault(
    signal: FaultSignal,
    info: *const libc::siginfo_t,
    context: *const libc::c_void,
) -> Option<FaultInfo> {
    // SAFETY: says the caller.
    let info = unsafe { &*info };
    let code = info.si_code;
    // SI_KERNEL: an access without an address, such as a non-canonical one.
    if !is_raised_by_access(signal, code) || code == SI_KERNEL {
        return None;
    }
    // SAFETY: a fault signal with a positive code carries an address.
    let address = unsafe { info.si_addr() };
    // SAFETY: says the caller.
    let write = unsafe { was_write(context.cast()) };
    Some(FaultInfo { signal, address: Va(address.addr() as u64), code, write })
}

const SI_KERNEL: i32 = 0x80;
/// A failed memory tag check, reported some time after the access.
const SEGV_MTEAERR: i32 = 8;

/// Says whether making the interrupted access again would raise the signal again, by its code.
///
/// Codes of 0 and below are those of signals sent by processes. Two others are news of something
/// that happened elsewhere or before: failed memory not yet accessed, and late tag checks.
pub(super) fn is_raised_by_access(signal: FaultSignal, code: i32) -> bool {
    let news = match signal {
        FaultSignal::Bus => libc::BUS_MCEERR_AO,
        FaultSignal::Segv => SEGV_MTEAERR,
    };
    code > 0 && code != news
}

/// Tells whether the access was a write from the error code of the page fault.
///
/// # Safety
/// `context` points to the context of a signal.
#[cfg(target_arch = "x86_64")]
unsafe fn was_write(context: *const libc::ucontext_t) -> Option<bool> {
    const PAGE_FAULT: i64 = 14;
    const WRITE: i64 = 1 << 1;
    // SAFETY: says the caller.
    let registers = unsafe { &(*context).uc_mcontext.gregs };
    let trap = registers[libc::REG_TRAPNO.cast_unsigned() as usize];
    let error = registers[libc::REG_ERR.cast_unsigned() as usize];
    // Other traps leave other error codes, or an old one.
    (trap == PAGE_FAULT).then_some(error & WRITE != 0)
}

/// Tells whether the access was a write from the syndrome record behind the registers.
///
/// # Safety
/// `context` points to the context of a signal.
#[cfg(target_arch = "aarch64")]
unsafe fn was_write(context: *const libc::ucontext_t) -> Option<bool> {
    // The records begin behind the registers, at a multiple of 16: an area the C library's
    // struct declares but does not show.
    const RECORDS: usize = {
        let registers = std::mem::offset_of!(libc::mcontext_t, pstate) + 8;
        std::mem::offset_of!(libc::ucontext_t, uc_mcontext) + registers.next_multiple_of(16)
    };
    const RECORDS_BYTES: usize = 4096;
    const _: () = assert!(RECORDS + RECORDS_BYTES == size_of::<libc::ucontext_t>());
    let records = context.cast::<[u32; RECORDS_BYTES / 4]>().wrapping_byte_add(RECORDS);
    // SAFETY: the area is inside the context, as asserted.
    let records = unsafe { &*records };
    was_write_by_syndrome(syndrome(records)?)
}

/// Nothing in the context tells.
///
/// # Safety
/// None: nothing is read.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn was_write(_context: *const libc::ucontext_t) -> Option<bool> {
    None
}

/// Finds the syndrome among the records of an aarch64 signal context: each begins with a magic
/// number and its size in bytes, an empty one is the last.
#[cfg(any(target_arch = "aarch64", test))]
fn syndrome(records: &[u32]) -> Option<u64> {
    const ESR_MAGIC: u32 = 0x4553_5201;
    let mut rest = records;
    loop {
        let &[magic, size, low, high, ..] = rest else {
            return None;
        };
        if magic == ESR_MAGIC {
            // The low word comes first: user space is little-endian on every target we build.
            return Some(u64::from(high) << 32 | u64::from(low));
        }
        let words = usize::try_from(size / 4).ok()?;
        if magic == 0 || words == 0 {
            return None;
        }
        rest = rest.get(words..)?;
    }
}

/// Reads an aarch64 exception syndrome; `None` if it is not that of a memory access.
#[cfg(any(target_arch = "aarch64", test))]
fn was_write_by_syndrome(syndrome: u64) -> Option<bool> {
    const INSTRUCTION_ABORT: u64 = 0x20;
    const DATA_ABORT: u64 = 0x24;
    const WRITE: u64 = 1 << 6;
    /// Cache maintenance sets the write bit although it needs no write permission.
    const CACHE_MAINTENANCE: u64 = 1 << 8;
    match syndrome >> 26 & 0x3f {
        INSTRUCTION_ABORT => Some(false),
        DATA_ABORT => Some(syndrome & WRITE != 0 && syndrome & CACHE_MAINTENANCE == 0),
        _ => None,
    }
}

/// Puts `errno` back when a handler is done: the code interrupted may be about to read it.
pub(super) struct KeepErrno(libc::c_int);

impl KeepErrno {
    pub(super) fn new() -> KeepErrno {
        // SAFETY: only asks for the address of a variable of this thread.
        let location = unsafe { libc::__errno_location() };
        // SAFETY: valid for as long as the thread lives.
        KeepErrno(unsafe { *location })
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        // SAFETY: only asks for the address of a variable of this thread.
        let location = unsafe { libc::__errno_location() };
        // SAFETY: valid for as long as the thread lives.
        unsafe { *location = self.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_failed_memory_is_no_access() {
        assert!(is_raised_by_access(FaultSignal::Bus, libc::BUS_ADRERR));
        assert!(is_raised_by_access(FaultSignal::Bus, libc::BUS_MCEERR_AR));
        assert!(!is_raised_by_access(FaultSignal::Bus, libc::BUS_MCEERR_AO));
        assert!(is_raised_by_access(FaultSignal::Segv, SI_KERNEL));
        assert!(!is_raised_by_access(FaultSignal::Segv, libc::SI_TKILL));
    }

    #[test]
    fn an_aarch64_syndrome_is_found_behind_other_records() {
        let mut records = vec![0x4650_8001, 16, 1, 2];
        records.extend([0x4553_5201, 16, 0x9200_0047, 5, 0, 0, 0, 0]);
        assert_eq!(syndrome(&records), Some(0x5_9200_0047));
        assert_eq!(syndrome(&records[..4]), None);
        assert_eq!(syndrome(&[0; 8]), None);
        assert_eq!(syndrome(&[1, 0xffff_fff0, 0, 0, 0]), None, "a size behind the end");
        assert_eq!(syndrome(&[1, 0, 0, 0, 0]), None, "a size that leads nowhere");
    }

    #[test]
    fn an_aarch64_syndrome_tells_writes_from_reads() {
        assert_eq!(was_write_by_syndrome(0x9200_0047), Some(true));
        assert_eq!(was_write_by_syndrome(0x9200_0007), Some(false));
        assert_eq!(was_write_by_syndrome(0x9200_0147), Some(false), "cache maintenance");
        assert_eq!(was_write_by_syndrome(0x8200_0007), Some(false), "an instruction");
        assert_eq!(was_write_by_syndrome(0x5600_0000), None, "a system call");
    }
}
