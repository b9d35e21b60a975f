//! The ELF64 structures a core is made of, as bytes.
//!
//! Written field by field instead of by casting structs: the file is little endian whatever the
//! host, and reading must survive any bytes. Used by the writers (`tail`) and the reader.

use super::machine::Machine;

/// Note types: what a note of a core holds.
pub mod note {
    /// Signal, identity, times and general registers of one thread.
    pub const PRSTATUS: u32 = 1;
    /// Floating-point registers of one thread.
    pub const FPREGSET: u32 = 2;
    /// State, identity and command line of the process.
    pub const PRPSINFO: u32 = 3;
    /// The auxiliary vector.
    pub const AUXV: u32 = 6;
    /// The extended processor state of x86 (`XSAVE` format).
    pub const X86_XSTATE: u32 = 0x202;
    /// Where the parts of the extended state lie, behind all threads (Linux 6.12).
    pub const X86_XSAVE_LAYOUT: u32 = 0x205;
    /// The thread pointer of aarch64.
    pub const ARM_TLS: u32 = 0x401;
    /// Hardware breakpoints of aarch64.
    pub const ARM_HW_BREAK: u32 = 0x402;
    /// Hardware watchpoints of aarch64.
    pub const ARM_HW_WATCH: u32 = 0x403;
    /// The system call number of aarch64.
    pub const ARM_SYSTEM_CALL: u32 = 0x404;
    /// The scalable vector registers of aarch64.
    pub const ARM_SVE: u32 = 0x405;
    /// Pointer authentication code masks of aarch64.
    pub const ARM_PAC_MASK: u32 = 0x406;
    /// The whole `siginfo_t` of the signal that ended the process.
    pub const SIGINFO: u32 = 0x5349_4749;
    /// The table of mapped files.
    pub const FILE: u32 = 0x4649_4c45;

    /// Owner of the notes System V defined, of `SIGINFO` and of `FILE`.
    pub const OWNER_CORE: &str = "CORE";
    /// Owner of register sets Linux added.
    pub const OWNER_LINUX: &str = "LINUX";
}

/// Size of the file header in bytes.
pub(crate) const EHDR_LEN: usize = 64;
/// Size of a program header in bytes.
pub(crate) const PHDR_LEN: usize = 56;
/// Size of a section header in bytes.
pub(crate) const SHDR_LEN: usize = 64;
/// Stands for a number of program headers that does not fit: section 0 holds it.
pub(crate) const PN_XNUM: u16 = 0xffff;
/// The first four bytes of every ELF file.
pub(crate) const MAGIC: [u8; 4] = *b"\x7fELF";

/// `e_type` of a core.
pub(crate) const ET_CORE: u16 = 4;
/// `p_type` of memory.
pub(crate) const PT_LOAD: u32 = 1;
/// `p_type` of notes.
pub(crate) const PT_NOTE: u32 = 4;
/// `p_flags`: executable.
pub(crate) const PF_X: u32 = 1;
/// `p_flags`: writable.
pub(crate) const PF_W: u32 = 2;
/// `p_flags`: readable.
pub(crate) const PF_R: u32 = 4;

/// Reads the little-endian `u16` at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

/// Reads the little-endian `u32` at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Reads the little-endian `u64` at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What the file header of a core says beyond constants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileHeader {
    pub(crate) machine: Machine,
    /// Where the program headers lie.
    pub(crate) phoff: u64,
    /// Where section 0 lies, 0 if there is none.
    pub(crate) shoff: u64,
    /// The number of program headers, [`PN_XNUM`] if section 0 holds it.
    pub(crate) phnum: u16,
}

impl FileHeader {
    /// Writes the header as a core of Linux has it.
    pub(crate) fn to_bytes(self) -> [u8; EHDR_LEN] {
        let sections: u16 = u16::from(self.shoff != 0);
        let mut out = [0; EHDR_LEN];
        out[..4].copy_from_slice(&MAGIC);
        out[4] = 2; // ELFCLASS64
        out[5] = 1; // ELFDATA2LSB
        out[6] = 1; // EV_CURRENT
        out[16..18].copy_from_slice(&ET_CORE.to_le_bytes());
        out[18..20].copy_from_slice(&self.machine.elf_number().to_le_bytes());
        out[20..24].copy_from_slice(&1u32.to_le_bytes());
        out[32..40].copy_from_slice(&self.phoff.to_le_bytes());
        out[40..48].copy_from_slice(&self.shoff.to_le_bytes());
        out[52..54].copy_from_slice(&64u16.to_le_bytes());
        out[54..56].copy_from_slice(&56u16.to_le_bytes());
        out[56..58].copy_from_slice(&self.phnum.to_le_bytes());
        out[58..60].copy_from_slice(&(sections * 64).to_le_bytes());
        out[60..62].copy_from_slice(&sections.to_le_bytes());
        out
    }
}

/// One program header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProgramHeader {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) vaddr: u64,
    pub(crate) filesz: u64,
    pub(crate) memsz: u64,
    pub(crate) align: u64,
}

impl ProgramHeader {
    /// Writes the header.
    pub(crate) fn to_bytes(self) -> [u8; PHDR_LEN] {
        let mut out = [0; PHDR_LEN];
        out[0..4].copy_from_slice(&self.kind.to_le_bytes());
        out[4..8].copy_from_slice(&self.flags.to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..24].copy_from_slice(&self.vaddr.to_le_bytes());
        // 24..32 is the physical address, which a core leaves 0.
        out[32..40].copy_from_slice(&self.filesz.to_le_bytes());
        out[40..48].copy_from_slice(&self.memsz.to_le_bytes());
        out[48..56].copy_from_slice(&self.align.to_le_bytes());
        out
    }

    /// Reads the header; any bytes are one.
    pub(crate) fn from_bytes(bytes: &[u8; PHDR_LEN]) -> ProgramHeader {
        ProgramHeader {
            kind: u32_at(bytes, 0),
            flags: u32_at(bytes, 4),
            offset: u64_at(bytes, 8),
            vaddr: u64_at(bytes, 16),
            filesz: u64_at(bytes, 32),
            memsz: u64_at(bytes, 40),
            align: u64_at(bytes, 48),
        }
    }
}

/// Writes section 0, which exists only to hold a number of program headers beyond 16 bits.
pub(crate) fn section_zero(phnum: u32) -> [u8; SHDR_LEN] {
    let mut out = [0; SHDR_LEN];
    // sh_size holds e_shnum where that is 0, which it is not: we have one section. sh_info
    // holds the number of program headers.
    out[44..48].copy_from_slice(&phnum.to_le_bytes());
    out
}

/// Reads the number of program headers out of section 0.
pub(crate) fn section_zero_phnum(bytes: &[u8; SHDR_LEN]) -> u32 {
    u32_at(bytes, 44)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_headers_survive_a_round_trip() {
        let header = ProgramHeader {
            kind: PT_LOAD,
            flags: PF_R | PF_W,
            offset: 0x1000,
            vaddr: 0x7fff_0000,
            filesz: 0x2000,
            memsz: 0x3000,
            align: 0x1000,
        };
        assert_eq!(ProgramHeader::from_bytes(&header.to_bytes()), header);
    }

    #[test]
    fn the_kernel_keeps_the_segment_count_in_sh_info() {
        assert_eq!(section_zero_phnum(&section_zero(70_000)), 70_000);
    }
}
