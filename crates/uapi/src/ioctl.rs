//! ioctl numbers: how each architecture encodes them, and every number of userfaultfd.
//!
//! A number packs a direction, the size of the argument, a type and a sequence number. Most
//! architectures share one packing; MIPS, PowerPC, SPARC and Alpha spend a third bit on the
//! direction, and PA-RISC swaps read and write. Numbers are therefore computed, never copied from
//! a header of another architecture.
//!
//! *Read* and *write* are meant from the point of view of the caller's memory: a request that the
//! kernel fills in is *read*. UNREGISTER and WAKE are encoded as reads though the kernel only
//! reads their argument; the ABI fixed that in 4.3 and it stays.

use core::mem::size_of;

use crate::structs::{
    PmScanArg, UffdioApi, UffdioContinue, UffdioCopy, UffdioMove, UffdioPoison, UffdioRange,
    UffdioRegister, UffdioRwprotect, UffdioSetMode, UffdioWriteprotect, UffdioZeropage,
};
use crate::version::KernelVersion;

/// How an architecture packs an ioctl number: type at bit 8, sequence number at bit 0, and above
/// them the size of the argument and the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Width of the size field, in bits. It begins at bit 16.
    pub size_bits: u32,
    /// Direction of a request without an argument struct.
    pub none: u32,
    /// Direction of a request whose argument the kernel fills in.
    pub read: u32,
    /// Direction of a request whose argument the kernel takes in.
    pub write: u32,
}

impl Encoding {
    /// The packing of `asm-generic`: x86, Arm, RISC-V, LoongArch, s390 and most others.
    pub const GENERIC: Encoding = Encoding { size_bits: 14, none: 0, read: 2, write: 1 };

    /// The packing of MIPS, PowerPC, SPARC and Alpha: three direction bits, none of them zero.
    pub const THREE_DIRECTION_BITS: Encoding =
        Encoding { size_bits: 13, none: 1, read: 2, write: 4 };

    /// The packing of PA-RISC: as the generic one, with read and write exchanged.
    pub const PARISC: Encoding = Encoding { size_bits: 14, none: 0, read: 1, write: 2 };

    /// The packing of the architecture this crate is compiled for.
    pub const NATIVE: Encoding = if cfg!(any(
        target_arch = "mips",
        target_arch = "mips32r6",
        target_arch = "mips64",
        target_arch = "mips64r6",
        target_arch = "powerpc",
        target_arch = "powerpc64",
        target_arch = "sparc",
        target_arch = "sparc64",
    )) {
        Encoding::THREE_DIRECTION_BITS
    } else {
        Encoding::GENERIC
    };

    /// Packs a request without an argument struct.
    #[must_use]
    pub const fn io(self, kind: u8, nr: u8) -> u32 {
        self.pack(self.none, kind, nr, 0)
    }

    /// Packs a request the kernel fills in; `size` in bytes.
    ///
    /// # Panics
    /// If the size does not fit its field.
    #[must_use]
    pub const fn ior(self, kind: u8, nr: u8, size: usize) -> u32 {
        self.pack(self.read, kind, nr, size)
    }

    /// Packs a request the kernel takes in; `size` in bytes.
    ///
    /// # Panics
    /// If the size does not fit its field.
    #[must_use]
    pub const fn iow(self, kind: u8, nr: u8, size: usize) -> u32 {
        self.pack(self.write, kind, nr, size)
    }

    /// Packs a request the kernel takes in and fills in; `size` in bytes.
    ///
    /// # Panics
    /// If the size does not fit its field.
    #[must_use]
    pub const fn iowr(self, kind: u8, nr: u8, size: usize) -> u32 {
        self.pack(self.read | self.write, kind, nr, size)
    }

    const fn pack(self, direction: u32, kind: u8, nr: u8, size: usize) -> u32 {
        assert!(size < 1 << self.size_bits, "argument too large for an ioctl number");
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        let size = size as u32;
        direction << (16 + self.size_bits) | size << 16 | (kind as u32) << 8 | nr as u32
    }
}

/// The type byte of every userfaultfd request, on the descriptor and on the device.
pub const USERFAULTFD_IOC: u8 = 0xAA;

/// Sequence numbers of the requests. Bit *n* of an ioctl bitmap stands for sequence number *n*.
pub mod nr {
    /// REGISTER.
    pub const REGISTER: u8 = 0x00;
    /// UNREGISTER.
    pub const UNREGISTER: u8 = 0x01;
    /// WAKE.
    pub const WAKE: u8 = 0x02;
    /// COPY.
    pub const COPY: u8 = 0x03;
    /// ZEROPAGE.
    pub const ZEROPAGE: u8 = 0x04;
    /// MOVE.
    pub const MOVE: u8 = 0x05;
    /// WRITEPROTECT.
    pub const WRITEPROTECT: u8 = 0x06;
    /// CONTINUE.
    pub const CONTINUE: u8 = 0x07;
    /// POISON.
    pub const POISON: u8 = 0x08;
    /// RWPROTECT.
    pub const RWPROTECT: u8 = 0x09;
    /// `SET_MODE`.
    pub const SET_MODE: u8 = 0x0A;
    /// API.
    pub const API: u8 = 0x3F;
}

const fn uffdio(nr: u8, size: usize) -> u32 {
    Encoding::NATIVE.iowr(USERFAULTFD_IOC, nr, size)
}

/// On `/dev/userfaultfd`: makes a userfaultfd; the argument is its flags, not a pointer. Since 6.1.
pub const USERFAULTFD_IOC_NEW: u32 = Encoding::NATIVE.io(USERFAULTFD_IOC, 0x00);
/// The handshake. Since 4.3.
pub const UFFDIO_API: u32 = uffdio(nr::API, size_of::<UffdioApi>());
/// Registers a range. Since 4.3.
pub const UFFDIO_REGISTER: u32 = uffdio(nr::REGISTER, size_of::<UffdioRegister>());
/// Unregisters a range. Encoded as a read. Since 4.3.
pub const UFFDIO_UNREGISTER: u32 =
    Encoding::NATIVE.ior(USERFAULTFD_IOC, nr::UNREGISTER, size_of::<UffdioRange>());
/// Wakes the threads that wait in a range. Encoded as a read. Since 4.3.
pub const UFFDIO_WAKE: u32 =
    Encoding::NATIVE.ior(USERFAULTFD_IOC, nr::WAKE, size_of::<UffdioRange>());
/// Installs a copy of the caller's memory. Since 4.3.
pub const UFFDIO_COPY: u32 = uffdio(nr::COPY, size_of::<UffdioCopy>());
/// Installs zero pages. Since 4.3.
pub const UFFDIO_ZEROPAGE: u32 = uffdio(nr::ZEROPAGE, size_of::<UffdioZeropage>());
/// Moves pages without copying them. Since 6.8.
pub const UFFDIO_MOVE: u32 = uffdio(nr::MOVE, size_of::<UffdioMove>());
/// Write-protects or unprotects a range. Since 5.7.
pub const UFFDIO_WRITEPROTECT: u32 = uffdio(nr::WRITEPROTECT, size_of::<UffdioWriteprotect>());
/// Maps pages that the page cache already holds. Since 5.13.
pub const UFFDIO_CONTINUE: u32 = uffdio(nr::CONTINUE, size_of::<UffdioContinue>());
/// Installs markers that raise SIGBUS. Since 6.6.
pub const UFFDIO_POISON: u32 = uffdio(nr::POISON, size_of::<UffdioPoison>());
/// Protects a range against reads and writes, or unprotects it. Since 7.3.
pub const UFFDIO_RWPROTECT: u32 = uffdio(nr::RWPROTECT, size_of::<UffdioRwprotect>());
/// Switches features of a live userfaultfd. Encoded as a write. Since 7.3.
pub const UFFDIO_SET_MODE: u32 =
    Encoding::NATIVE.iow(USERFAULTFD_IOC, nr::SET_MODE, size_of::<UffdioSetMode>());

/// On `/proc/PID/pagemap`: finds, and optionally write-protects, pages by category. Since 6.7.
pub const PAGEMAP_SCAN: u32 = Encoding::NATIVE.iowr(b'f', 16, size_of::<PmScanArg>());

/// One request of the userfaultfd descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The sequence number, which is also the request's bit in an ioctl bitmap.
    pub nr: u8,
    /// The name after `UFFDIO_`.
    pub name: &'static str,
    /// The ioctl number on this architecture.
    pub number: u32,
    /// The first kernel that has it.
    pub since: KernelVersion,
}

const fn request(nr: u8, name: &'static str, number: u32, major: u16, minor: u16) -> Request {
    Request { nr, name, number, since: KernelVersion::new(major, minor) }
}

/// Every request, by sequence number.
pub const REQUESTS: &[Request] = &[
    request(nr::REGISTER, "REGISTER", UFFDIO_REGISTER, 4, 3),
    request(nr::UNREGISTER, "UNREGISTER", UFFDIO_UNREGISTER, 4, 3),
    request(nr::WAKE, "WAKE", UFFDIO_WAKE, 4, 3),
    request(nr::COPY, "COPY", UFFDIO_COPY, 4, 3),
    request(nr::ZEROPAGE, "ZEROPAGE", UFFDIO_ZEROPAGE, 4, 3),
    request(nr::MOVE, "MOVE", UFFDIO_MOVE, 6, 8),
    request(nr::WRITEPROTECT, "WRITEPROTECT", UFFDIO_WRITEPROTECT, 5, 7),
    request(nr::CONTINUE, "CONTINUE", UFFDIO_CONTINUE, 5, 13),
    request(nr::POISON, "POISON", UFFDIO_POISON, 6, 6),
    request(nr::RWPROTECT, "RWPROTECT", UFFDIO_RWPROTECT, 7, 3),
    request(nr::SET_MODE, "SET_MODE", UFFDIO_SET_MODE, 7, 3),
    request(nr::API, "API", UFFDIO_API, 4, 3),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_packing_gives_the_numbers_a_c_compiler_prints() {
        let e = Encoding::GENERIC;
        assert_eq!(e.io(USERFAULTFD_IOC, 0), 0x0000_aa00);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::API, 24), 0xc018_aa3f);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::REGISTER, 32), 0xc020_aa00);
        assert_eq!(e.ior(USERFAULTFD_IOC, nr::UNREGISTER, 16), 0x8010_aa01);
        assert_eq!(e.ior(USERFAULTFD_IOC, nr::WAKE, 16), 0x8010_aa02);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::COPY, 40), 0xc028_aa03);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::ZEROPAGE, 32), 0xc020_aa04);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::MOVE, 40), 0xc028_aa05);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::WRITEPROTECT, 24), 0xc018_aa06);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::CONTINUE, 32), 0xc020_aa07);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::POISON, 32), 0xc020_aa08);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::RWPROTECT, 24), 0xc018_aa09);
        assert_eq!(e.iow(USERFAULTFD_IOC, nr::SET_MODE, 16), 0x4010_aa0a);
        assert_eq!(e.iowr(b'f', 16, 96), 0xc060_6610);
    }

    #[test]
    fn three_direction_bits_give_the_numbers_of_mips_and_powerpc() {
        let e = Encoding::THREE_DIRECTION_BITS;
        assert_eq!(e.io(USERFAULTFD_IOC, 0), 0x2000_aa00);
        assert_eq!(e.ior(USERFAULTFD_IOC, nr::UNREGISTER, 16), 0x4010_aa01);
        assert_eq!(e.iowr(USERFAULTFD_IOC, nr::COPY, 40), 0xc028_aa03);
        assert_eq!(e.iow(USERFAULTFD_IOC, nr::SET_MODE, 16), 0x8010_aa0a);
    }

    #[test]
    fn parisc_exchanges_read_and_write() {
        let e = Encoding::PARISC;
        assert_eq!(e.ior(USERFAULTFD_IOC, nr::WAKE, 16), 0x4010_aa02);
        assert_eq!(e.iow(USERFAULTFD_IOC, nr::SET_MODE, 16), 0x8010_aa0a);
    }

    #[test]
    fn requests_are_in_order_and_named_once() {
        assert!(REQUESTS.windows(2).all(|pair| pair[0].nr < pair[1].nr));
        assert!(REQUESTS.iter().all(|request| request.number & 0xff == u32::from(request.nr)));
    }
}
