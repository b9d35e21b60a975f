//! The two architectures a guest can have, and every name each goes by.
//!
//! Used by the rest of [`super`]; the facts come from Debian, Rust and QEMU in turn.

/// A guest's processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Arch {
    /// This machine's; x86_64 where it is neither, as its emulation is the faster one.
    pub(crate) const NATIVE: Arch =
        if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

    /// Debian's name.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Arch::X86_64 => "amd64",
            Arch::Aarch64 => "arm64",
        }
    }

    /// Rust's target, linked against glibc so that the same code runs as on the host.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64-unknown-linux-gnu",
            Arch::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The C compiler that builds for this architecture, here.
    pub(crate) fn c_compiler(self) -> &'static str {
        if self.is_native() {
            return "gcc";
        }
        match self {
            Arch::X86_64 => "x86_64-linux-gnu-gcc",
            Arch::Aarch64 => "aarch64-linux-gnu-gcc",
        }
    }

    /// The emulator's program and the Debian package that brings it.
    pub(crate) fn emulator_package(self) -> (&'static str, &'static str) {
        match self {
            Arch::X86_64 => ("qemu-system-x86_64", "qemu-system-x86"),
            Arch::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
        }
    }

    /// The C compiler's program and the Debian packages that bring it and its static libc.
    pub(crate) fn compiler_package(self) -> (&'static str, &'static str) {
        let packages = match self {
            _ if self.is_native() => "gcc libc6-dev",
            Arch::X86_64 => "gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
            Arch::Aarch64 => "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        };
        (self.c_compiler(), packages)
    }

    /// Whether this machine has the same architecture.
    pub(crate) fn is_native(self) -> bool {
        self == Arch::NATIVE
    }

    /// The kernel's name of the first serial port.
    pub(crate) fn console(self) -> &'static str {
        match self {
            Arch::X86_64 => "ttyS0",
            Arch::Aarch64 => "ttyAMA0",
        }
    }

    /// QEMU and the machine it is to be.
    pub(crate) fn qemu(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Arch::X86_64 => ("qemu-system-x86_64", &["-machine", "q35", "-cpu", "max"]),
            // Pointer authentication by its architected cipher would halve the emulation's speed.
            Arch::Aarch64 => (
                "qemu-system-aarch64",
                &["-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on"],
            ),
        }
    }
}
