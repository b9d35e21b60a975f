//! The general registers of a stopped thread, as far as making a system call needs them.
//!
//! [`LAYOUT`] says for each architecture which register serves for what; all else is said once, of
//! that table.

/// Register-set number of the general registers in ptrace and in ELF notes.
pub const NT_PRSTATUS: u32 = 1;

/// What `Layout::entered` holds for a thread that is in no system call.
const NO_SYSCALL: u64 = u64::MAX;

/// How an architecture makes system calls; registers by their place in the kernel's order.
struct Layout {
    /// How many there are.
    registers: usize,
    program_counter: usize,
    stack_pointer: usize,
    /// Where a thread puts the number of the call it makes.
    number: usize,
    /// Where the kernel keeps the number of the call a thread is in: the same register, or one of
    /// its own.
    entered: usize,
    arguments: [usize; 6],
    result: usize,
    /// The instruction that enters the kernel.
    instruction: &'static [u8],
    /// Where an instruction may start.
    instruction_align: usize,
}

/// `user_regs_struct`.
#[cfg(target_arch = "x86_64")]
const LAYOUT: Layout = Layout {
    registers: 27,
    program_counter: 16,
    stack_pointer: 19,
    // rax, orig_rax
    number: 10,
    entered: 15,
    // rdi, rsi, rdx, r10, r8, r9
    arguments: [14, 13, 12, 7, 9, 8],
    // rax
    result: 10,
    // syscall
    instruction: &[0x0f, 0x05],
    instruction_align: 1,
};

/// `user_pt_regs`: x0 to x30, sp, pc, pstate.
#[cfg(target_arch = "aarch64")]
const LAYOUT: Layout = Layout {
    registers: 34,
    program_counter: 32,
    stack_pointer: 31,
    number: 8,
    entered: 8,
    arguments: [0, 1, 2, 3, 4, 5],
    result: 0,
    // svc #0
    instruction: &[0x01, 0x00, 0x00, 0xd4],
    instruction_align: 4,
};

/// `user_regs_struct`: pc, then x1 to x31. It serves reading a thread's state; nobody has tried
/// attaching there, so [`crate::attach`] refuses it.
#[cfg(target_arch = "riscv64")]
const LAYOUT: Layout = Layout {
    registers: 32,
    program_counter: 0,
    stack_pointer: 2,
    // a7
    number: 17,
    entered: 17,
    // a0 to a5
    arguments: [10, 11, 12, 13, 14, 15],
    result: 10,
    // ecall
    instruction: &[0x73, 0x00, 0x00, 0x00],
    // Compressed ones are two bytes long.
    instruction_align: 2,
};

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("the registers of this architecture are not described yet");

/// The general registers of a thread, in the kernel's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralRegs {
    words: [u64; LAYOUT.registers],
}

impl Default for GeneralRegs {
    fn default() -> GeneralRegs {
        GeneralRegs { words: [0; LAYOUT.registers] }
    }
}

impl GeneralRegs {
    /// The instruction that enters the kernel.
    pub const SYSCALL_INSTRUCTION: &'static [u8] = LAYOUT.instruction;
    /// Where an instruction may start.
    pub const INSTRUCTION_ALIGN: usize = LAYOUT.instruction_align;

    /// Returns the registers in the kernel's order and this machine's byte order.
    pub fn to_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.words.iter().flat_map(|word| word.to_ne_bytes())
    }

    /// Returns the address of the next instruction.
    #[must_use]
    pub fn program_counter(&self) -> u64 {
        self.words[LAYOUT.program_counter]
    }

    /// Returns the stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        self.words[LAYOUT.stack_pointer]
    }

    /// Returns the result of the system call just made.
    #[must_use]
    pub fn result(&self) -> i64 {
        self.words[LAYOUT.result].cast_signed()
    }

    /// Returns the number and arguments of the system call being entered.
    #[must_use]
    pub fn syscall(&self) -> (u64, [u64; 6]) {
        (self.words[LAYOUT.entered], LAYOUT.arguments.map(|register| self.words[register]))
    }

    /// Returns registers that make the system call at `instruction`.
    #[must_use]
    pub fn for_syscall(mut self, instruction: u64, number: u64, arguments: [u64; 6]) -> Self {
        self.words[LAYOUT.program_counter] = instruction;
        // Tells the kernel that the thread is in no call, so that it restarts none; the thread's
        // own interrupted call is restarted when its own registers are back. Where the number goes
        // to the same register, the kernel keeps that knowledge elsewhere.
        self.words[LAYOUT.entered] = NO_SYSCALL;
        self.words[LAYOUT.number] = number;
        for (register, value) in LAYOUT.arguments.into_iter().zip(arguments) {
            self.words[register] = value;
        }
        self
    }

    /// Steps back over a system-call instruction that was entered but not executed.
    #[cfg(target_arch = "aarch64")]
    #[must_use]
    pub(crate) fn before_syscall(mut self) -> Self {
        self.words[LAYOUT.program_counter] -= LAYOUT.instruction.len() as u64;
        self
    }

    /// Points the kernel at the registers.
    pub(super) fn as_iovec(&mut self) -> libc::iovec {
        libc::iovec { iov_base: self.words.as_mut_ptr().cast(), iov_len: size_of_val(&self.words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_where_and_with_what_was_said_and_from_no_other_call() {
        let regs = GeneralRegs::default().for_syscall(0x1000, 7, [1, 2, 3, 4, 5, 6]);
        assert_eq!(regs.program_counter(), 0x1000);
        assert_eq!(regs.words[LAYOUT.number], 7);
        let (entered, arguments) = regs.syscall();
        assert_eq!(arguments, [1, 2, 3, 4, 5, 6]);
        let has_a_register_for_it = LAYOUT.entered != LAYOUT.number;
        assert_eq!(entered, if has_a_register_for_it { NO_SYSCALL } else { 7 });
    }
}
