//! The ptrace requests the crate uses, one safe function each, without allocation.
//!
//! Requests change another process, never this one's memory, so they are safe to make; what they
//! read lands in buffers owned by the caller. None of them allocates or locks: the guardian of an
//! attachment ([`crate::attach`]) calls them in a forked child, where neither is allowed.

use core::ffi::{c_long, c_void};
use core::ptr;

use rustix::io::Errno;

use super::regs::{GeneralRegs, NT_PRSTATUS};
use crate::sys::last_errno;

/// The kernel's signal set has 64 bits on every supported architecture.
const SIGSET_BYTES: usize = 8;
const PTRACE_GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420f;

/// Options of a seized thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TraceOptions(pub(super) libc::c_int);

impl TraceOptions {
    /// Marks system-call stops, so that they cannot be taken for signals.
    pub const SYSGOOD: TraceOptions = TraceOptions(libc::PTRACE_O_TRACESYSGOOD);
    /// Traces new threads from their first instruction.
    pub const CLONE: TraceOptions = TraceOptions(libc::PTRACE_O_TRACECLONE);
    /// Stops before the address space is replaced has lost its old content.
    pub const EXEC: TraceOptions = TraceOptions(libc::PTRACE_O_TRACEEXEC);
    /// Stops a thread at the start of its exit, with the address space still there.
    pub const EXIT: TraceOptions = TraceOptions(libc::PTRACE_O_TRACEEXIT);
    /// Suspends the thread's seccomp filters while it is traced.
    ///
    /// Needs `CAP_SYS_ADMIN` and a kernel with `CONFIG_CHECKPOINT_RESTORE`; seizing gives
    /// `EPERM` or `EINVAL` otherwise.
    pub const SUSPEND_SECCOMP: TraceOptions = TraceOptions(1 << 21);

    /// Returns both sets of options.
    #[must_use]
    pub const fn with(self, other: TraceOptions) -> TraceOptions {
        TraceOptions(self.0 | other.0)
    }
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Until the next event.
    Continue,
    /// Until the next event, or the next entry to or exit from a system call.
    ToSyscall,
}

/// Makes one request whose `data` is a number.
fn simple(request: libc::c_uint, tid: i32, data: usize) -> Result<c_long, Errno> {
    // SAFETY: the requests made through here take `data` as a plain number, so that the kernel
    // neither reads nor writes memory of this process.
    let result =
        unsafe { libc::ptrace(request, tid, ptr::null_mut::<c_void>(), data as *mut c_void) };
    check(result)
}

/// Turns the C convention into a `Result`.
fn check(result: c_long) -> Result<c_long, Errno> {
    if result == -1 { Err(last_errno()) } else { Ok(result) }
}

/// Seizes a thread without stopping it.
pub(crate) fn seize(tid: i32, options: TraceOptions) -> Result<(), Errno> {
    simple(libc::PTRACE_SEIZE, tid, usize::try_from(options.0).unwrap_or(0)).map(drop)
}

/// Asks a seized thread to stop.
pub(crate) fn interrupt(tid: i32) -> Result<(), Errno> {
    simple(libc::PTRACE_INTERRUPT, tid, 0).map(drop)
}

/// Lets a stopped thread go on, with `signal` delivered first unless it is 0.
pub(crate) fn resume(tid: i32, how: Resume, signal: i32) -> Result<(), Errno> {
    let request = match how {
        Resume::Continue => libc::PTRACE_CONT,
        Resume::ToSyscall => libc::PTRACE_SYSCALL,
    };
    simple(request, tid, usize::try_from(signal).unwrap_or(0)).map(drop)
}

/// Keeps a thread in its group stop while letting it notice the end of it.
pub(crate) fn listen(tid: i32) -> Result<(), Errno> {
    simple(libc::PTRACE_LISTEN, tid, 0).map(drop)
}

/// Lets a stopped thread go for good.
pub(crate) fn detach(tid: i32, signal: i32) -> Result<(), Errno> {
    simple(libc::PTRACE_DETACH, tid, usize::try_from(signal).unwrap_or(0)).map(drop)
}

/// Reads a register set into `buffer` and returns how many bytes the kernel filled.
pub(crate) fn regset(tid: i32, kind: u32, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the kernel writes at most `iov_len` bytes to `iov_base`, both of `buffer`, and the
    // filled length back into `vector`; both outlive the call.
    let result = unsafe {
        libc::ptrace(libc::PTRACE_GETREGSET, tid, kind as usize as *mut c_void, &raw mut vector)
    };
    check(result).map(|_| vector.iov_len)
}

/// Reads the general registers.
pub(crate) fn general_regs(tid: i32) -> Result<GeneralRegs, Errno> {
    let mut regs = GeneralRegs::default();
    let mut vector = regs.as_iovec();
    // SAFETY: the kernel writes at most the length of `regs` into it; both outlive the call.
    let result = unsafe {
        let kind = NT_PRSTATUS as usize as *mut c_void;
        libc::ptrace(libc::PTRACE_GETREGSET, tid, kind, &raw mut vector)
    };
    check(result).map(|_| regs)
}

/// Writes the general registers.
pub(crate) fn set_general_regs(tid: i32, regs: &GeneralRegs) -> Result<(), Errno> {
    let mut copy = *regs;
    let mut vector = copy.as_iovec();
    // SAFETY: the kernel reads the length of `copy` from it; both outlive the call.
    let result = unsafe {
        let kind = NT_PRSTATUS as usize as *mut c_void;
        libc::ptrace(libc::PTRACE_SETREGSET, tid, kind, &raw mut vector)
    };
    check(result).map(drop)
}

/// Sets the number of the system call a thread is about to make; -1 makes none.
#[cfg(target_arch = "aarch64")]
pub(crate) fn set_syscall_number(tid: i32, number: i32) -> Result<(), Errno> {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    let mut value = number;
    let mut vector = libc::iovec { iov_base: (&raw mut value).cast(), iov_len: size_of::<i32>() };
    // SAFETY: the kernel reads four bytes from `value`; both outlive the call.
    let result = unsafe {
        let kind = NT_ARM_SYSTEM_CALL as *mut c_void;
        libc::ptrace(libc::PTRACE_SETREGSET, tid, kind, &raw mut vector)
    };
    check(result).map(drop)
}

/// Reads the signal information of the current stop; `EINVAL` when it has none.
pub(crate) fn siginfo(tid: i32) -> Result<[u8; 128], Errno> {
    let mut info = [0u8; 128];
    // SAFETY: the kernel writes a `siginfo_t`, 128 bytes on every architecture, into `info`.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GETSIGINFO,
            tid,
            ptr::null_mut::<c_void>(),
            info.as_mut_ptr().cast::<c_void>(),
        )
    };
    check(result).map(|_| info)
}

/// Reads the value a stop event carries: the new thread's id, the exit status.
pub(crate) fn event_message(tid: i32) -> Result<u64, Errno> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the kernel writes one unsigned long into `message`.
    let result = unsafe {
        libc::ptrace(libc::PTRACE_GETEVENTMSG, tid, ptr::null_mut::<c_void>(), &raw mut message)
    };
    check(result).map(|_| message)
}

/// Reads the number and arguments of the system call the thread is about to make.
///
/// `None` at any other stop. Linux 5.3.
pub(crate) fn syscall_entry(tid: i32) -> Result<Option<(u64, [u64; 6])>, Errno> {
    const PTRACE_GET_SYSCALL_INFO: libc::c_uint = 0x420e;
    const ENTRY: u8 = 1;
    // `ptrace_syscall_info`: op in the first byte; at an entry the number and six arguments
    // begin with the fourth word.
    let mut info = [0u64; 11];
    // SAFETY: the kernel writes at most the given size into `info`.
    let result = unsafe {
        libc::ptrace(
            PTRACE_GET_SYSCALL_INFO,
            tid,
            size_of_val(&info) as *mut c_void,
            info.as_mut_ptr().cast::<c_void>(),
        )
    };
    check(result)?;
    let arguments = [info[4], info[5], info[6], info[7], info[8], info[9]];
    Ok((info[0].to_ne_bytes()[0] == ENTRY).then_some((info[3], arguments)))
}

/// Reads the signal mask the thread will run with once it is back in user mode.
pub(crate) fn signal_mask(tid: i32) -> Result<u64, Errno> {
    let mut mask = 0;
    pass_signal_mask(libc::PTRACE_GETSIGMASK, tid, &mut mask)?;
    Ok(mask)
}

/// Sets the thread's signal mask.
pub(crate) fn set_signal_mask(tid: i32, mut mask: u64) -> Result<(), Errno> {
    pass_signal_mask(libc::PTRACE_SETSIGMASK, tid, &mut mask)
}

/// Reads or sets the thread's signal mask.
fn pass_signal_mask(request: libc::c_uint, tid: i32, mask: &mut u64) -> Result<(), Errno> {
    // SAFETY: with either request the kernel reads or writes `SIGSET_BYTES` bytes of `mask`.
    let result = unsafe {
        libc::ptrace(
            request,
            tid,
            SIGSET_BYTES as *mut c_void,
            ptr::from_mut(mask).cast::<c_void>(),
        )
    };
    check(result).map(drop)
}

/// Returns where the thread registered its restartable-sequence area; `None` if nowhere.
///
/// Linux 5.13; older kernels answer `EIO`, taken as "none".
pub(crate) fn rseq_area(tid: i32) -> Option<u64> {
    #[repr(C)]
    #[derive(Default)]
    struct RseqConfiguration {
        area: u64,
        size: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
    let mut configuration = RseqConfiguration::default();
    // SAFETY: the kernel writes at most the given size into `configuration`.
    let result = unsafe {
        libc::ptrace(
            PTRACE_GET_RSEQ_CONFIGURATION,
            tid,
            size_of::<RseqConfiguration>() as *mut c_void,
            (&raw mut configuration).cast::<c_void>(),
        )
    };
    (check(result).is_ok() && configuration.area != 0).then_some(configuration.area)
}

/// Reads one word of the thread's memory.
pub(crate) fn peek(tid: i32, address: u64) -> Result<u64, Errno> {
    let mut word: c_long = 0;
    // The raw system call stores the word through `data`; the C library's wrapper returns it,
    // where it cannot be told from an error.
    // SAFETY: the kernel writes one long into `word`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            c_long::from(libc::PTRACE_PEEKDATA),
            c_long::from(tid),
            address,
            &raw mut word,
        )
    };
    check(result).map(|_| word.cast_unsigned())
}

/// Writes one word of the thread's memory.
pub(crate) fn poke(tid: i32, address: u64, word: u64) -> Result<(), Errno> {
    // SAFETY: the request writes the word into the other process; `data` is a plain number here.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            c_long::from(libc::PTRACE_POKEDATA),
            c_long::from(tid),
            address,
            word,
        )
    };
    check(result).map(drop)
}
