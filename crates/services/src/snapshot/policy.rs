//! What of a process's memory goes into the core: the rules of the kernel's own core dumps.
//!
//! `/proc/PID/coredump_filter` and `MADV_DONTDUMP` decide (core(5)).

use std::fs;

use faultless_image::core::Dumped;

use crate::vma::{Vma, VmaFlags};

/// Bits of `/proc/PID/coredump_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DumpFilter(u64);

impl DumpFilter {
    const ANON_PRIVATE: u32 = 0;
    const ANON_SHARED: u32 = 1;
    const FILE_PRIVATE: u32 = 2;
    const FILE_SHARED: u32 = 3;
    const ELF_HEADERS: u32 = 4;
    const HUGE_PRIVATE: u32 = 5;
    const HUGE_SHARED: u32 = 6;
    /// What the kernel sets for new processes unless told otherwise.
    const DEFAULT: DumpFilter = DumpFilter(0x33);

    /// Reads the filter of `pid`; the default where the file cannot be read.
    pub(super) fn of(pid: u32) -> DumpFilter {
        fs::read_to_string(format!("/proc/{pid}/coredump_filter"))
            .ok()
            .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .map_or(Self::DEFAULT, DumpFilter)
    }

    fn has(self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }

    /// Decides how much of a mapping is dumped.
    ///
    /// `dirty` says whether a private file mapping holds pages of its own; the kernel then dumps
    /// all of it, so that what is clean can be told from what is missing.
    pub(super) fn decide(self, vma: &Vma, flags: VmaFlags, dirty: bool) -> Dumped {
        let all = |wanted| if wanted { Dumped::All } else { Dumped::None };
        if vma.is_kernel_made() {
            // The vdso belongs to no file a debugger could open; the others are the kernel's data.
            return all(vma.name.as_os_str() == "[vdso]");
        }
        if flags.dont_dump || flags.io {
            return Dumped::None;
        }
        if flags.huge.is_some() {
            return all(self.has(if vma.shared { Self::HUGE_SHARED } else { Self::HUGE_PRIVATE }));
        }
        if vma.shared {
            let kind = if vma.is_unlinked() || vma.is_anonymous() {
                Self::ANON_SHARED
            } else {
                Self::FILE_SHARED
            };
            return all(self.has(kind));
        }
        if vma.is_anonymous() {
            return all(self.has(Self::ANON_PRIVATE));
        }
        if (dirty && self.has(Self::ANON_PRIVATE)) || self.has(Self::FILE_PRIVATE) {
            return Dumped::All;
        }
        let starts_program = vma.offset.0 == 0 && vma.access.read;
        if starts_program && self.has(Self::ELF_HEADERS) { Dumped::FirstPage } else { Dumped::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultless_image::core::Access;
    use faultless_pages::{Bytes, PageSize, Va, VaRange};

    const PLAIN: VmaFlags = VmaFlags { dont_dump: false, io: false, huge: None, paged: false };

    fn vma(name: &str, shared: bool, inode: u64) -> Vma {
        Vma {
            range: VaRange::new(Va(0x1000), Va(0x3000)),
            access: Access { read: true, write: true, execute: false },
            shared,
            offset: Bytes(0),
            device: (0, 0),
            inode,
            name: name.into(),
        }
    }

    #[test]
    fn the_default_filter_dumps_what_the_kernel_dumps() {
        let decide = |vma: &Vma, flags, dirty| DumpFilter::DEFAULT.decide(vma, flags, dirty);
        let huge = VmaFlags { huge: Some(PageSize::MIB2), ..PLAIN };
        let hidden = VmaFlags { dont_dump: true, ..PLAIN };
        let cases = [
            (vma("", false, 0), PLAIN, false, Dumped::All),
            (vma("[heap]", false, 0), hidden, false, Dumped::None),
            (vma("/memfd:x (deleted)", true, 7), PLAIN, false, Dumped::All),
            (vma("/dev/shm/x", true, 7), PLAIN, false, Dumped::None),
            (vma("/lib/x.so", false, 7), PLAIN, false, Dumped::FirstPage),
            (vma("/lib/x.so", false, 7), PLAIN, true, Dumped::All),
            (vma("/anon_hugepage (deleted)", false, 7), huge, false, Dumped::All),
            (vma("/anon_hugepage (deleted)", true, 7), huge, false, Dumped::None),
            (vma("[vdso]", false, 0), hidden, false, Dumped::All),
            (vma("[vvar]", false, 0), PLAIN, false, Dumped::None),
        ];
        for (vma, flags, dirty, expected) in cases {
            assert_eq!(decide(&vma, flags, dirty), expected, "{vma:?}");
        }
    }

    #[test]
    fn clearing_every_bit_leaves_only_the_vdso() {
        assert_eq!(DumpFilter(0).decide(&vma("", false, 0), PLAIN, true), Dumped::None);
        assert_eq!(DumpFilter(0).decide(&vma("[vdso]", false, 0), PLAIN, true), Dumped::All);
    }
}
