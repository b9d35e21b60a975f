//! Loads and stores that survive `SIGBUS` and `SIGSEGV`: a byte loop in assembly, and a signal
//! handler that leaves it through a fixed exit.
//!
//! Used by the puppet's side alone. The handler is process-wide; the puppet installs it first
//! thing and nobody else runs in that process.
//!
//! # Invariants
//! - The handler changes the interrupted registers only if the program counter lies in the loop;
//!   a fault anywhere else in the puppet kills it, as it should.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

/// What became of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Every byte was copied.
    Done,
    /// A signal ended it.
    Signal {
        /// `SIGBUS` or `SIGSEGV`.
        signal: u64,
        /// `si_code`.
        code: u64,
        /// `si_addr`.
        address: u64,
    },
}

/// The two registers the loop returns.
#[repr(C)]
struct Exit {
    /// 0, or signal number << 32 | si_code.
    cause: u64,
    /// si_addr.
    address: u64,
}

impl From<Exit> for Access {
    fn from(exit: Exit) -> Access {
        if exit.cause == 0 {
            return Access::Done;
        }
        Access::Signal {
            signal: exit.cause >> 32,
            code: exit.cause & 0xffff_ffff,
            address: exit.address,
        }
    }
}

// One byte at a time: the first byte of an access is the one that faults, on every processor.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".global faultless_puppet_copy",
    ".global faultless_puppet_copy_exit",
    "faultless_puppet_copy:",
    "test rdx, rdx",
    "jz 2f",
    "1:",
    "mov cl, byte ptr [rsi]",
    "mov byte ptr [rdi], cl",
    "inc rsi",
    "inc rdi",
    "dec rdx",
    "jnz 1b",
    "2:",
    "xor eax, eax",
    "xor edx, edx",
    "faultless_puppet_copy_exit:",
    "ret",
);

#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".global faultless_puppet_copy",
    ".global faultless_puppet_copy_exit",
    "faultless_puppet_copy:",
    "cbz x2, 2f",
    "1:",
    "ldrb w3, [x1], #1",
    "strb w3, [x0], #1",
    "subs x2, x2, #1",
    "b.ne 1b",
    "2:",
    "mov x0, #0",
    "mov x1, #0",
    "faultless_puppet_copy_exit:",
    "ret",
);

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe extern "C" {
    fn faultless_puppet_copy(to: u64, from: u64, len: u64) -> Exit;
    fn faultless_puppet_copy_exit();
}

/// Says whether this processor has the loop.
pub(super) const SUPPORTED: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Copies `len` bytes, one by one, between two addresses of this process.
///
/// # Safety
/// `to` must name bytes that no Rust object of this process owns, unless the caller may write
/// them; the same holds for reading `from`. Unmapped and forbidden addresses are fine: they end
/// in [`Access::Signal`] once [`install_handlers`] has run.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) unsafe fn copy(to: u64, from: u64, len: u64) -> Access {
    // SAFETY: the loop touches the two ranges and no others, which the caller vouches for.
    Access::from(unsafe { faultless_puppet_copy(to, from, len) })
}

/// Stands in on processors without the loop and reports an illegal instruction; [`SUPPORTED`]
/// keeps it from being reached.
///
/// # Safety
/// None needed: it touches nothing.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn copy(to: u64, _from: u64, _len: u64) -> Access {
    Access::from(Exit { cause: u64::from(libc::SIGILL.unsigned_abs()) << 32, address: to })
}

/// Routes `SIGBUS` and `SIGSEGV` to the loop's exit and makes `SIGUSR1` a mere interruption.
pub(super) fn install_handlers() {
    let fault: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_fault;
    let nudge: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_nudge;
    install(libc::SIGBUS, fault as usize);
    install(libc::SIGSEGV, fault as usize);
    install(libc::SIGUSR1, nudge as usize);
}

fn install(signal: c_int, handler: usize) {
    // SAFETY: all-zero bytes are a valid sigaction: default handler, empty mask, no flags.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler;
    // No SA_RESTART: an interrupted read must return EINTR, as a test expects.
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: both handlers have the SA_SIGINFO signature and only touch registers.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
}

extern "C" fn on_nudge(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
extern "C" fn on_fault(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo for the time of the handler.
    let info = unsafe { &*info };
    // SAFETY: for SIGBUS and SIGSEGV the kernel fills in the address field.
    let address = unsafe { info.si_addr() } as u64;
    // SAFETY: with SA_SIGINFO the third argument is the interrupted ucontext, ours to change.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let cause = (u64::from(signal.unsigned_abs()) << 32) | u64::from(info.si_code.cast_unsigned());
    if !leave_loop(context, cause, address) {
        // Not a fault of a test: let the second attempt kill this puppet.
        // SAFETY: resetting to the default action is always allowed.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn is_in_loop(pc: u64) -> bool {
    (faultless_puppet_copy as *const () as u64..faultless_puppet_copy_exit as *const () as u64)
        .contains(&pc)
}

#[cfg(target_arch = "x86_64")]
fn leave_loop(context: &mut libc::ucontext_t, cause: u64, address: u64) -> bool {
    const RIP: usize = libc::REG_RIP as usize;
    const RAX: usize = libc::REG_RAX as usize;
    const RDX: usize = libc::REG_RDX as usize;
    let registers = &mut context.uc_mcontext.gregs;
    if !is_in_loop(registers[RIP].cast_unsigned()) {
        return false;
    }
    registers[RAX] = cause.cast_signed();
    registers[RDX] = address.cast_signed();
    registers[RIP] = (faultless_puppet_copy_exit as *const () as u64).cast_signed();
    true
}

#[cfg(target_arch = "aarch64")]
fn leave_loop(context: &mut libc::ucontext_t, cause: u64, address: u64) -> bool {
    let machine = &mut context.uc_mcontext;
    if !is_in_loop(machine.pc) {
        return false;
    }
    machine.regs[0] = cause;
    machine.regs[1] = address;
    machine.pc = faultless_puppet_copy_exit as *const () as u64;
    true
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
extern "C" fn on_fault(signal: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: resetting to the default action is always allowed.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}
