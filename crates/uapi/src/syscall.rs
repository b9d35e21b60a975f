//! The system call number, by architecture.

/// An architecture and its number of `userfaultfd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The ABI, as the kernel calls it.
    pub abi: &'static str,
    /// The number a program passes.
    pub number: u32,
}

const fn of(abi: &'static str, number: u32) -> Number {
    Number { abi, number }
}

const GENERIC: Number = of("generic", 282);
const X86_64: Number = of("x86-64", 323);
// x32 programs set bit 30 of every number.
const X32: Number = of("x32", 0x4000_0000 | 323);
const I386: Number = of("i386", 374);
const ARM: Number = of("arm", 388);
const M68K: Number = of("m68k", 373);
const MIPS_O32: Number = of("mips-o32", 4357);
const MIPS_N64: Number = of("mips-n64", 5317);
const MIPS_N32: Number = of("mips-n32", 6321);
const POWERPC: Number = of("powerpc", 364);
const S390: Number = of("s390", 355);
const SPARC: Number = of("sparc", 352);

/// Every ABI that Rust compiles for. "generic" is aarch64, RISC-V, `LoongArch`, C-SKY, Hexagon.
pub const NUMBERS: &[Number] =
    &[GENERIC, X86_64, X32, I386, ARM, M68K, MIPS_O32, MIPS_N64, MIPS_N32, POWERPC, S390, SPARC];

const NARROW: bool = cfg!(target_pointer_width = "32");

/// The number on the architecture this crate is compiled for.
pub const SYS_USERFAULTFD: u32 = if cfg!(target_arch = "x86_64") {
    if NARROW { X32.number } else { X86_64.number }
} else if cfg!(target_arch = "x86") {
    I386.number
} else if cfg!(target_arch = "arm") {
    ARM.number
} else if cfg!(target_arch = "m68k") {
    M68K.number
} else if cfg!(any(target_arch = "mips", target_arch = "mips32r6")) {
    MIPS_O32.number
} else if cfg!(any(target_arch = "mips64", target_arch = "mips64r6")) {
    if NARROW { MIPS_N32.number } else { MIPS_N64.number }
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    POWERPC.number
} else if cfg!(target_arch = "s390x") {
    S390.number
} else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
    SPARC.number
} else {
    GENERIC.number
};
