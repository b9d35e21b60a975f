//! System calls made by a stopped thread on our behalf.
//!
//! Runs in the guardian, a forked child: nothing here allocates, locks or panics on outside input.
//!
//! # How the thread's own state survives
//! - All signals are blocked meanwhile (`PTRACE_SETSIGMASK`), so that no handler runs on registers
//!   that are not the thread's; they stay pending and are delivered afterwards. Reading the mask
//!   gives the one to be restored even for a thread inside `sigsuspend` or `ppoll`, and setting it
//!   drops the kernel's own restore of it.
//! - System-call stops are used, not single steps: a single step ends in a forced SIGTRAP, which
//!   resets the program's disposition of that signal if it is blocked or ignored.
//! - The last stop before letting go is an interrupt stop, taken inside the kernel's signal path:
//!   only there does the kernel look at `-ERESTART…` in the registers put back and restarts the
//!   call the thread was in (x86-64). At a system-call exit stop it would show the raw value to
//!   the program.
//! - aarch64 decides about the restart before the first stop and forgets it when the program
//!   counter is changed. There the thread is first walked to the entry of the restarted call,
//!   which is then skipped and entered again by the registers put back.
//! - A restartable sequence the thread was in is forgotten by the kernel when it runs outside of
//!   it; the pointer to it is put back, so that the sequence is aborted as after any preemption.
//! - No memory of the thread is written but a page mapped for the purpose: what lies below its
//!   stack pointer may belong to somebody else (goroutines, coroutines).

use rustix::io::Errno;

use crate::ptrace::request::{self, Resume};
use crate::ptrace::{self, GeneralRegs, Stop};

/// Offset of `rseq_cs` in the restartable-sequence area.
const RSEQ_CS: u64 = 8;

/// Why a call could not be made or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InjectError {
    /// The thread ended.
    Ended,
    /// The request to the kernel failed.
    Trace(Errno),
    /// The system call was made and failed.
    Call(Errno),
}

impl From<Errno> for InjectError {
    fn from(errno: Errno) -> InjectError {
        InjectError::Trace(errno)
    }
}

/// A stopped thread borrowed for system calls.
pub(super) struct Borrowed {
    tid: i32,
    /// Address of a system-call instruction in the thread's address space.
    instruction: u64,
    regs: GeneralRegs,
    mask: u64,
    /// Address and value of the pointer to the restartable sequence the thread is in.
    sequence: Option<(u64, u64)>,
}

impl Borrowed {
    /// Borrows a thread that is in an interrupt stop or a group stop.
    pub(super) fn new(tid: i32, instruction: u64) -> Result<Borrowed, InjectError> {
        let mask = request::signal_mask(tid)?;
        request::set_signal_mask(tid, u64::MAX)?;
        let regs = settle(tid)?;
        let sequence = request::rseq_area(tid)
            .map(|area| area + RSEQ_CS)
            .and_then(|pointer| Some((pointer, request::peek(tid, pointer).ok()?)))
            .filter(|&(_, value)| value != 0);
        Ok(Borrowed { tid, instruction, regs, mask, sequence })
    }

    /// Makes one system call in the thread and returns its result.
    pub(super) fn call(&self, number: i64, arguments: [u64; 6]) -> Result<u64, InjectError> {
        let number = number.cast_unsigned();
        let regs = self.regs.for_syscall(self.instruction, number, arguments);
        request::set_general_regs(self.tid, &regs)?;
        to_syscall_stop(self.tid)?; // entry
        to_syscall_stop(self.tid)?; // exit
        let result = request::general_regs(self.tid)?.result();
        match i32::try_from(result) {
            Ok(negative @ -4095..=-1) => {
                Err(InjectError::Call(Errno::from_raw_os_error(-negative)))
            }
            _ => Ok(result.cast_unsigned()),
        }
    }

    /// Closes a descriptor in the target.
    pub(super) fn close(&self, number: i32) -> Result<(), InjectError> {
        let number = u64::from(number.cast_unsigned());
        self.call(libc::SYS_close, [number, 0, 0, 0, 0, 0]).map(drop)
    }

    /// Puts the thread back exactly and lets it go.
    pub(super) fn give_back(self) -> Result<(), InjectError> {
        // An interrupt now makes the thread stop again before it reaches user mode.
        request::interrupt(self.tid)?;
        request::resume(self.tid, Resume::Continue, 0)?;
        loop {
            match wait_stop(self.tid)? {
                Stop::Interrupted | Stop::Group(_) => break,
                _ => request::resume(self.tid, Resume::Continue, 0)?,
            }
        }
        request::set_general_regs(self.tid, &self.regs)?;
        if let Some((pointer, value)) = self.sequence {
            request::poke(self.tid, pointer, value)?;
        }
        request::set_signal_mask(self.tid, self.mask)?;
        request::detach(self.tid, 0)?;
        Ok(())
    }

    /// Copies words out of the thread's memory.
    pub(super) fn peek(&self, address: u64, words: &mut [u64]) -> Result<(), InjectError> {
        for (offset, word) in (0u64..).step_by(8).zip(words) {
            *word = request::peek(self.tid, address + offset)?;
        }
        Ok(())
    }

    /// Copies words into the thread's memory.
    pub(super) fn poke(&self, address: u64, words: &[u64]) -> Result<(), InjectError> {
        for (offset, word) in (0u64..).step_by(8).zip(words) {
            request::poke(self.tid, address + offset, *word)?;
        }
        Ok(())
    }
}

/// Whether the stopped thread's memory holds a system-call instruction at `address`.
///
/// Looks byte by byte: a word there might reach into a page that is not mapped.
pub(super) fn is_syscall_instruction(tid: i32, address: u64) -> bool {
    (address..).zip(GeneralRegs::SYSCALL_INSTRUCTION).all(|(at, expected)| {
        let word = request::peek(tid, at & !7).map(u64::to_ne_bytes);
        word.is_ok_and(|bytes| bytes[(at & 7) as usize] == *expected)
    })
}

/// Brings the thread to a state that its general registers describe wholly, and returns them.
#[cfg(not(target_arch = "aarch64"))]
fn settle(tid: i32) -> Result<GeneralRegs, InjectError> {
    // x86-64 decides about a restart after the stop, by the registers it finds then.
    Ok(request::general_regs(tid)?)
}

/// Brings the thread to a state that its general registers describe wholly, and returns them.
#[cfg(target_arch = "aarch64")]
fn settle(tid: i32) -> Result<GeneralRegs, InjectError> {
    let regs = request::general_regs(tid)?;
    let pc = regs.program_counter();
    let word = request::peek(tid, pc & !7)?.to_le_bytes();
    let instruction = if pc & 4 == 0 { &word[..4] } else { &word[4..] };
    if instruction != GeneralRegs::SYSCALL_INSTRUCTION {
        return Ok(regs);
    }
    to_syscall_stop(tid)?;
    let entered = request::general_regs(tid)?;
    request::set_syscall_number(tid, -1)?;
    to_syscall_stop(tid)?;
    Ok(entered.before_syscall())
}

/// Runs the thread to its next system-call stop.
fn to_syscall_stop(tid: i32) -> Result<(), InjectError> {
    loop {
        request::resume(tid, Resume::ToSyscall, 0)?;
        // With every signal blocked only stops of the whole process come in between.
        if wait_stop(tid)? == Stop::Syscall {
            return Ok(());
        }
    }
}

/// Waits for the next stop.
fn wait_stop(tid: i32) -> Result<Stop, InjectError> {
    loop {
        match ptrace::wait(tid, true)? {
            Some(Stop::Ended) => return Err(InjectError::Ended),
            Some(stop) => return Ok(stop),
            None => {}
        }
    }
}

/// The flags the target opens its userfaultfd with.
///
/// Not user-mode-only: a system call of the target that writes to a protected page must wait like
/// any other write, where a user-mode-only userfaultfd would make it fail with `EFAULT`.
pub(super) fn open_flags() -> u64 {
    u64::from((libc::O_CLOEXEC | libc::O_NONBLOCK).cast_unsigned())
}

/// Reads a system call's result as a descriptor.
pub(super) fn descriptor(result: u64) -> i32 {
    i32::try_from(result).unwrap_or(-1)
}
