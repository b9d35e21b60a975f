//! The processors whose cores we write and read.
//!
//! Everything here is the kernel's ABI: `struct elf_prstatus` holds the general registers as
//! `user_regs_struct` (x86-64) or `user_pt_regs` (aarch64) gives them to `PTRACE_GETREGSET`.

use std::fmt;

/// A processor architecture with 64-bit little-endian cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Machine {
    /// x86-64 (`EM_X86_64`).
    X86_64,
    /// aarch64, little endian (`EM_AARCH64`).
    Aarch64,
}

/// An ELF machine number that is neither x86-64 nor aarch64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("ELF machine {0} is neither x86-64 (62) nor aarch64 (183)")]
pub struct UnsupportedMachine(pub u16);

impl Machine {
    /// Returns the machine this program was built for, `None` if we write no cores for it.
    #[must_use]
    pub const fn host() -> Option<Machine> {
        if cfg!(target_arch = "x86_64") {
            Some(Machine::X86_64)
        } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            Some(Machine::Aarch64)
        } else {
            None
        }
    }

    /// Returns the ELF machine number (`e_machine`).
    #[must_use]
    pub const fn elf_number(self) -> u16 {
        match self {
            Machine::X86_64 => 62,
            Machine::Aarch64 => 183,
        }
    }

    /// Finds the machine of an ELF machine number.
    ///
    /// # Errors
    /// [`UnsupportedMachine`] for every other number.
    pub const fn from_elf_number(number: u16) -> Result<Machine, UnsupportedMachine> {
        match number {
            62 => Ok(Machine::X86_64),
            183 => Ok(Machine::Aarch64),
            _ => Err(UnsupportedMachine(number)),
        }
    }

    /// Returns the size in bytes of the general registers (`NT_PRSTATUS` register set).
    #[must_use]
    pub const fn general_len(self) -> usize {
        match self {
            Machine::X86_64 => 27 * 8,
            Machine::Aarch64 => 34 * 8,
        }
    }

    /// Returns which 64-bit word of the general registers is the program counter.
    #[must_use]
    pub const fn pc_index(self) -> usize {
        match self {
            Machine::X86_64 => 16,
            Machine::Aarch64 => 32,
        }
    }

    /// Returns which 64-bit word of the general registers is the stack pointer.
    #[must_use]
    pub const fn sp_index(self) -> usize {
        match self {
            Machine::X86_64 => 19,
            Machine::Aarch64 => 31,
        }
    }
}

/// Prints the name `uname -m` gives.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Machine::X86_64 => "x86_64",
            Machine::Aarch64 => "aarch64",
        })
    }
}
