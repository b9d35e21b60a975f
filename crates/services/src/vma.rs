//! The memory map of a process, as `/proc/PID/maps` and `smaps` tell it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use faultless_image::core::Access;
use faultless_pages::{Bytes, PageSize, Va, VaRange};

/// One mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vma {
    pub(crate) range: VaRange,
    pub(crate) access: Access,
    /// Writes reach everybody who maps the same memory.
    pub(crate) shared: bool,
    /// Offset into the mapped file.
    pub(crate) offset: Bytes,
    /// The file system of the mapped file: major and minor number.
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
    /// Path or `[name]`; empty for plain anonymous memory.
    pub(crate) name: PathBuf,
}

impl Vma {
    /// Reads one line of the memory map.
    fn parse(line: &[u8]) -> Option<Vma> {
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let mut text = || std::str::from_utf8(fields.next()?).ok();
        let (start, end) = text()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let range = VaRange::new(Va(hex(start)?), Va(hex(end)?));
        let modes = text()?.as_bytes();
        let offset = Bytes(hex(text()?)?);
        let (major, minor) = text()?.split_once(':')?;
        let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
        let inode = text()?.parse().ok()?;
        let name = fields.next().unwrap_or_default().trim_ascii_start();
        Some(Vma {
            range,
            access: Access {
                read: modes.first() == Some(&b'r'),
                write: modes.get(1) == Some(&b'w'),
                execute: modes.get(2) == Some(&b'x'),
            },
            shared: modes.get(3) == Some(&b's'),
            offset,
            device,
            inode,
            name: PathBuf::from(OsString::from_vec(unescape(name))),
        })
    }

    /// Says whether the mapping has no file behind it, not even an unnamed one.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.inode == 0 && !self.is_kernel_made()
    }

    /// Says whether the kernel made the mapping for its own purposes: `[vdso]` and its like.
    pub(crate) fn is_kernel_made(&self) -> bool {
        let name = self.name.as_os_str().as_encoded_bytes();
        [b"[vdso]".as_slice(), b"[vvar", b"[vsyscall]", b"[sigpage]", b"[vectors]", b"[uprobes]"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    }

    /// Says whether the mapped file has lost its last name: memfds, SysV and anonymous shared
    /// memory are like that from the start.
    pub(crate) fn is_unlinked(&self) -> bool {
        self.name.as_os_str().as_encoded_bytes().ends_with(b" (deleted)")
    }
}

/// Undoes the kernel's `\012` for a newline in a path.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(tail) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = tail;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// The memory map of one process, readable again and again through one open file.
///
/// The file stays bound to the address space it was opened on.
#[derive(Debug)]
pub(crate) struct Maps {
    file: File,
}

impl Maps {
    /// Opens the memory map of `pid`.
    pub(crate) fn open(pid: u32) -> io::Result<Maps> {
        Ok(Maps { file: File::open(format!("/proc/{pid}/maps"))? })
    }

    /// Reads it as it is now, sorted by address.
    pub(crate) fn read(&mut self) -> io::Result<Vec<Vma>> {
        use std::io::Seek;
        let mut text = Vec::with_capacity(64 << 10);
        self.file.rewind()?;
        self.file.read_to_end(&mut text)?;
        Ok(text.split(|&byte| byte == b'\n').filter_map(Vma::parse).collect())
    }
}

/// What `smaps` tells beyond `maps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VmaFlags {
    /// Not to be dumped: `MADV_DONTDUMP`.
    pub(crate) dont_dump: bool,
    /// Memory of a device: reading it may have effects.
    pub(crate) io: bool,
    /// Pages of a pool, of this size.
    pub(crate) huge: Option<PageSize>,
    /// Faults of missing pages, or of those the page cache holds, go to a userfaultfd.
    pub(crate) paged: bool,
}

/// The flags of each mapping, by its start.
///
/// Reading `smaps` walks all page tables: a snapshot does it before the cut, and again after it
/// only for what was not there before.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlagTable {
    by_end: BTreeMap<Va, (Va, VmaFlags)>,
}

impl FlagTable {
    /// Reads the flags of every mapping of `pid`.
    pub(crate) fn read(pid: u32) -> io::Result<FlagTable> {
        let mut text = Vec::new();
        File::open(format!("/proc/{pid}/smaps"))?.read_to_end(&mut text)?;
        Ok(FlagTable::parse(&text))
    }

    fn parse(text: &[u8]) -> FlagTable {
        let mut table = FlagTable::default();
        let mut current: Option<VaRange> = None;
        let mut page = None;
        for line in text.split(|&byte| byte == b'\n') {
            if let Some(size) = line.strip_prefix(b"KernelPageSize:") {
                page = kibibytes(size).and_then(PageSize::new);
            } else if let Some(flags) = line.strip_prefix(b"VmFlags:") {
                if let Some(range) = current.take() {
                    let has = |flag: &[u8]| flags.split(|&byte| byte == b' ').any(|f| f == flag);
                    let huge = if has(b"ht") { page } else { None };
                    let paged = has(b"um") || has(b"ui");
                    let flags = VmaFlags { dont_dump: has(b"dd"), io: has(b"io"), huge, paged };
                    table.by_end.insert(range.end(), (range.start(), flags));
                }
            } else if let Some(vma) = Vma::parse(line) {
                current = Some(vma.range);
            }
        }
        table
    }

    /// Returns the flags of the mapping that covers the start of `range`, if it was there.
    pub(crate) fn of(&self, range: VaRange) -> Option<VmaFlags> {
        let after = Va(range.start().0 + 1);
        let (_, (start, flags)) = self.by_end.range(after..).next()?;
        (*start <= range.start()).then_some(*flags)
    }
}

/// Reads `  2048 kB`.
fn kibibytes(text: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(text).ok()?;
    let number: u64 = text.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(Bytes::kib(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &[u8] = b"\
55d0-55d1 r--p 00000000 fe:00 12 /bin/cat
Size: 4 kB
KernelPageSize:        4 kB
VmFlags: rd mr mw me sd
7f00-8f00 rw-s 00000000 00:0f 77 /anon_hugepage (deleted)
KernelPageSize:     2048 kB
VmFlags: rd wr sh mr mw me ms de ht dd um
";

    #[test]
    fn flags_are_found_by_any_piece_of_the_mapping() {
        let table = FlagTable::parse(SMAPS);
        let flags = table.of(VaRange::new(Va(0x8000), Va(0x8100))).expect("inside");
        assert!(flags.dont_dump && flags.paged);
        assert_eq!(flags.huge, Some(PageSize::MIB2));
        let flags = table.of(VaRange::new(Va(0x55d0), Va(0x55d1))).expect("the first");
        assert!(!flags.dont_dump && !flags.paged);
        assert_eq!(table.of(VaRange::new(Va(0x60_0000), Va(0x60_1000))), None);
        assert_eq!(table.of(VaRange::new(Va(0x6000), Va(0x7000))), None);
    }

    #[test]
    fn lines_of_the_memory_map_are_read() {
        let line = b"7f12-7f14 rw-s 00001000 00:01 42                         /memfd:a b (deleted)";
        let vma = Vma::parse(line).expect("a line");
        assert_eq!(vma.range, VaRange::new(Va(0x7f12), Va(0x7f14)));
        assert!(vma.shared && vma.is_unlinked() && !vma.is_anonymous());
        assert_eq!((vma.offset, vma.device, vma.inode), (Bytes(0x1000), (0, 1), 42));
        assert_eq!(vma.name, PathBuf::from("/memfd:a b (deleted)"));
        let heap = Vma::parse(b"10-20 rw-p 00000000 00:00 0   [heap]").expect("a line");
        assert!(heap.is_anonymous());
        let vdso = Vma::parse(b"10-20 r-xp 00000000 00:00 0   [vdso]").expect("a line");
        assert!(!vdso.is_anonymous() && vdso.is_kernel_made());
        let odd = Vma::parse(b"10-20 r--p 00000000 00:00 9   /a\\012b").expect("a line");
        assert_eq!(odd.name, PathBuf::from("/a\nb"));
        assert_eq!(Vma::parse(b"VmFlags: rd"), None);
    }
}
