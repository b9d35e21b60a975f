//! The general registers of a stopped thread, as far as making a system call needs them.

/// Register-set number of the general registers in ptrace and in ELF notes.
pub const NT_PRSTATUS: u32 = 1;

/// Words in the general registers: `user_regs_struct` or `user_pt_regs`.
#[cfg(target_arch = "x86_64")]
const WORDS: usize = 27;
#[cfg(target_arch = "aarch64")]
const WORDS: usize = 34;
#[cfg(target_arch = "riscv64")]
const WORDS: usize = 32;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("the registers of this architecture are not described yet");

/// The general registers of a thread, in the kernel's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GeneralRegs {
    words: [u64; WORDS],
}

impl Default for GeneralRegs {
    fn default() -> GeneralRegs {
        GeneralRegs { words: [0; WORDS] }
    }
}

impl GeneralRegs {
    /// Returns the registers in the kernel's order and this machine's byte order.
    pub fn to_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.words.iter().flat_map(|word| word.to_ne_bytes())
    }

    /// Points the kernel at the registers.
    pub(super) fn as_iovec(&mut self) -> libc::iovec {
        libc::iovec { iov_base: self.words.as_mut_ptr().cast(), iov_len: size_of_val(&self.words) }
    }
}

/// x86-64: `user_regs_struct`.
#[cfg(target_arch = "x86_64")]
impl GeneralRegs {
    /// The instruction that enters the kernel: `syscall`.
    pub const SYSCALL_INSTRUCTION: &'static [u8] = &[0x0f, 0x05];
    /// Where an instruction may start.
    pub const INSTRUCTION_ALIGN: usize = 1;

    const RAX: usize = 10;
    const ORIG_RAX: usize = 15;
    const RIP: usize = 16;
    const RSP: usize = 19;
    /// rdi, rsi, rdx, r10, r8, r9
    const ARGUMENTS: [usize; 6] = [14, 13, 12, 7, 9, 8];

    /// Returns the address of the next instruction.
    #[must_use]
    pub fn program_counter(&self) -> u64 {
        self.words[Self::RIP]
    }

    /// Returns the stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        self.words[Self::RSP]
    }

    /// Returns the result of the system call just made.
    #[must_use]
    pub fn result(&self) -> i64 {
        self.words[Self::RAX].cast_signed()
    }

    /// Returns registers that make the system call at `instruction`.
    ///
    /// `orig_rax` of -1 tells the kernel that the thread is in no system call, so that it restarts
    /// none; the thread's own interrupted call is restarted when its own registers are back.
    #[must_use]
    pub fn for_syscall(mut self, instruction: u64, number: u64, arguments: [u64; 6]) -> Self {
        self.words[Self::RIP] = instruction;
        self.words[Self::RAX] = number;
        self.words[Self::ORIG_RAX] = u64::MAX;
        for (register, value) in Self::ARGUMENTS.into_iter().zip(arguments) {
            self.words[register] = value;
        }
        self
    }

    /// Returns the number and arguments of the system call being entered.
    #[must_use]
    pub fn syscall(&self) -> (u64, [u64; 6]) {
        (self.words[Self::ORIG_RAX], Self::ARGUMENTS.map(|register| self.words[register]))
    }
}

/// aarch64: `user_pt_regs`.
#[cfg(target_arch = "aarch64")]
impl GeneralRegs {
    /// The instruction that enters the kernel: `svc #0`.
    pub const SYSCALL_INSTRUCTION: &'static [u8] = &[0x01, 0x00, 0x00, 0xd4];
    /// Where an instruction may start.
    pub const INSTRUCTION_ALIGN: usize = 4;

    const X0: usize = 0;
    const X8: usize = 8;
    const SP: usize = 31;
    const PC: usize = 32;

    /// Returns the address of the next instruction.
    #[must_use]
    pub fn program_counter(&self) -> u64 {
        self.words[Self::PC]
    }

    /// Returns the stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        self.words[Self::SP]
    }

    /// Returns the result of the system call just made.
    #[must_use]
    pub fn result(&self) -> i64 {
        self.words[Self::X0].cast_signed()
    }

    /// Returns registers that make the system call at `instruction`.
    #[must_use]
    pub fn for_syscall(mut self, instruction: u64, number: u64, arguments: [u64; 6]) -> Self {
        self.words[Self::PC] = instruction;
        self.words[Self::X8] = number;
        self.words[Self::X0..6].copy_from_slice(&arguments);
        self
    }

    /// Returns the number and arguments of the system call being entered.
    #[must_use]
    pub fn syscall(&self) -> (u64, [u64; 6]) {
        let mut arguments = [0; 6];
        arguments.copy_from_slice(&self.words[Self::X0..6]);
        (self.words[Self::X8], arguments)
    }

    /// Steps back over a system-call instruction that was entered but not executed.
    #[must_use]
    pub(crate) fn before_syscall(mut self) -> Self {
        self.words[Self::PC] -= 4;
        self
    }
}

/// riscv64: `user_regs_struct`. It serves reading a thread's state; nobody has tried attaching
/// there, so [`crate::attach`] refuses it.
#[cfg(target_arch = "riscv64")]
impl GeneralRegs {
    /// The instruction that enters the kernel: `ecall`.
    pub const SYSCALL_INSTRUCTION: &'static [u8] = &[0x73, 0x00, 0x00, 0x00];
    /// Where an instruction may start: compressed ones are two bytes long.
    pub const INSTRUCTION_ALIGN: usize = 2;

    const PC: usize = 0;
    const SP: usize = 2;
    const A0: usize = 10;
    const A7: usize = 17;

    /// Returns the address of the next instruction.
    #[must_use]
    pub fn program_counter(&self) -> u64 {
        self.words[Self::PC]
    }

    /// Returns the stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        self.words[Self::SP]
    }

    /// Returns the result of the system call just made.
    #[must_use]
    pub fn result(&self) -> i64 {
        self.words[Self::A0].cast_signed()
    }

    /// Returns registers that make the system call at `instruction`.
    #[must_use]
    pub fn for_syscall(mut self, instruction: u64, number: u64, arguments: [u64; 6]) -> Self {
        self.words[Self::PC] = instruction;
        self.words[Self::A7] = number;
        self.words[Self::A0..Self::A0 + 6].copy_from_slice(&arguments);
        self
    }

    /// Returns the number and arguments of the system call being entered.
    #[must_use]
    pub fn syscall(&self) -> (u64, [u64; 6]) {
        let mut arguments = [0; 6];
        arguments.copy_from_slice(&self.words[Self::A0..Self::A0 + 6]);
        (self.words[Self::A7], arguments)
    }
}
