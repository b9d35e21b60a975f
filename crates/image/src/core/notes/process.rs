//! Notes of the process: `struct elf_prpsinfo` and the table of mapped files.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use faultless_pages::{Bytes, PageSize, Va, VaRange};

use super::super::elf::{u32_at, u64_at};
use super::super::record::{BadField, bad};
use super::NotesError;

/// Bytes of `struct elf_prpsinfo` on 64-bit machines.
const PSINFO_LEN: usize = 136;
/// Bytes of the command name, the closing NUL included.
const NAME_LEN: usize = 16;
/// Bytes of the command line, the closing NUL included.
const ARGS_LEN: usize = 80;

/// Identity and state of the process (`struct elf_prpsinfo`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PsInfo {
    /// State letter as `/proc/PID/stat` prints it (`R`, `S`, `D`, `T`, `Z`).
    pub state: u8,
    /// Nice value.
    pub nice: i8,
    /// Kernel flags of the task.
    pub flags: u64,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process.
    pub pid: u32,
    /// Its parent.
    pub ppid: u32,
    /// Its process group.
    pub pgrp: u32,
    /// Its session.
    pub sid: u32,
    /// Command name, cut to 15 bytes.
    pub name: Vec<u8>,
    /// Command line with NULs between the arguments as `/proc/PID/cmdline` has it, cut to 79
    /// bytes.
    pub cmdline: Vec<u8>,
}

impl PsInfo {
    /// Writes `struct elf_prpsinfo`.
    pub(super) fn encode(&self) -> [u8; PSINFO_LEN] {
        // The kernel numbers states by the place of the letter; -1 where it has none.
        let letters = b"RSDTZW";
        let index = letters.iter().position(|&letter| letter == self.state);
        let mut out = [0; PSINFO_LEN];
        out[0] = index.map_or(u8::MAX, |index| u8::try_from(index).expect("below 6"));
        out[1] = if index.is_some() { self.state } else { b'.' };
        out[2] = u8::from(self.state == b'Z');
        out[3] = self.nice.to_le_bytes()[0];
        out[8..16].copy_from_slice(&self.flags.to_le_bytes());
        let ids = [self.uid, self.gid, self.pid, self.ppid, self.pgrp, self.sid];
        for (id, at) in ids.into_iter().zip((16..).step_by(4)) {
            out[at..at + 4].copy_from_slice(&id.to_le_bytes());
        }
        let name = &self.name[..self.name.len().min(NAME_LEN - 1)];
        out[40..40 + name.len()].copy_from_slice(name);
        let line = self.cmdline.strip_suffix(&[0]).unwrap_or(&self.cmdline);
        let line = &line[..line.len().min(ARGS_LEN - 1)];
        for (to, &byte) in out[56..].iter_mut().zip(line) {
            *to = if byte == 0 { b' ' } else { byte };
        }
        out
    }
}

/// Reads `struct elf_prpsinfo`; `None` if it has another size.
pub(crate) fn decode_psinfo(bytes: &[u8]) -> Option<PsInfo> {
    let bytes: &[u8; PSINFO_LEN] = bytes.try_into().ok()?;
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0);
        bytes[..end.unwrap_or(bytes.len())].to_vec()
    };
    Some(PsInfo {
        state: bytes[1],
        nice: i8::from_le_bytes([bytes[3]]),
        flags: u64_at(bytes, 8),
        uid: u32_at(bytes, 16),
        gid: u32_at(bytes, 20),
        pid: u32_at(bytes, 24),
        ppid: u32_at(bytes, 28),
        pgrp: u32_at(bytes, 32),
        sid: u32_at(bytes, 36),
        name: text(&bytes[40..56]),
        cmdline: text(&bytes[56..]),
    })
}

/// One mapping of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedFile {
    /// Where it is mapped.
    pub range: VaRange,
    /// Where in the file the mapping starts, in bytes; a multiple of the page size.
    pub offset: Bytes,
    /// The file.
    pub path: PathBuf,
}

/// The process as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProcessNotes {
    /// Identity and state.
    pub info: PsInfo,
    /// The whole `siginfo_t`; without it one is made of the first thread's signal.
    pub siginfo: Option<[u8; 128]>,
    /// The auxiliary vector as `/proc/PID/auxv` has it.
    pub auxv: Vec<u8>,
    /// The mapped files, in address order.
    pub files: Vec<MappedFile>,
}

/// Writes the file table: count, page size, (start, end, offset in pages)…, paths.
pub(super) fn encode_files(
    files: &[MappedFile],
    page_size: PageSize,
) -> Result<Vec<u8>, NotesError> {
    let mut out = Vec::with_capacity(16 + files.len() * 64);
    out.extend((files.len() as u64).to_le_bytes());
    out.extend(page_size.bytes().0.to_le_bytes());
    for file in files {
        out.extend(file.range.start().0.to_le_bytes());
        out.extend(file.range.end().0.to_le_bytes());
        out.extend(file.offset.pages(page_size).to_le_bytes());
    }
    for file in files {
        let path = file.path.as_os_str().as_bytes();
        if path.contains(&0) {
            let start = file.range.start().0;
            return Err(NotesError::NulInPath { start });
        }
        out.extend(path);
        out.push(0);
    }
    Ok(out)
}

/// Reads the file table.
pub(crate) fn decode_files(bytes: &[u8]) -> Result<Vec<MappedFile>, BadField> {
    let field = "file table";
    if bytes.len() < 16 {
        return Err(bad(field, "at least 16 bytes", bytes.len().to_string()));
    }
    let (count, unit) = (u64_at(bytes, 0), u64_at(bytes, 8));
    let (entries, _) = bytes[16..].as_chunks::<24>();
    // The paths behind the table take at least one byte each.
    let fits = usize::try_from(count).ok().filter(|&n| n <= entries.len());
    let Some(count) = fits else {
        let most = format!("at most {} entries", entries.len());
        return Err(bad(field, most, count.to_string()));
    };
    let mut paths = bytes[16 + count * 24..].split(|&byte| byte == 0);
    entries[..count]
        .iter()
        .map(|entry| {
            let (start, end, pages) = (u64_at(entry, 0), u64_at(entry, 8), u64_at(entry, 16));
            let offset = pages.checked_mul(unit);
            let (Some(offset), Some(path), true) = (offset, paths.next(), start <= end) else {
                let found = format!("{start:x}-{end:x} at page {pages}");
                return Err(bad(field, "a range, an offset and a path", found));
            };
            Ok(MappedFile {
                range: VaRange::new(Va(start), Va(end)),
                offset: Bytes(offset),
                path: OsString::from_vec(path.to_vec()).into(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psinfo_has_the_kernels_fields() {
        let info = PsInfo {
            state: b'S',
            nice: -5,
            uid: 1000,
            pid: 42,
            name: b"a-name-longer-than-fifteen".to_vec(),
            cmdline: b"sh\0-c\0true\0".to_vec(),
            ..PsInfo::default()
        };
        let bytes = info.encode();
        assert_eq!(bytes[..4], [1, b'S', 0, 0xfb]);
        assert_eq!(bytes[16..20], 1000u32.to_le_bytes());
        assert_eq!(bytes[24..28], 42u32.to_le_bytes());
        assert_eq!(&bytes[40..56], b"a-name-longer-t\0");
        assert_eq!(&bytes[56..68], b"sh -c true\0\0");
        let back = decode_psinfo(&bytes).unwrap();
        assert_eq!((back.pid, back.nice, back.uid), (42, -5, 1000));
        assert_eq!(back.cmdline, b"sh -c true");
    }

    #[test]
    fn the_file_table_survives_a_round_trip() {
        let files = vec![
            MappedFile {
                range: VaRange::new(Va(0x1000), Va(0x3000)),
                offset: Bytes(0x2000),
                path: "/bin/true".into(),
            },
            MappedFile {
                range: VaRange::new(Va(0x5000), Va(0x6000)),
                offset: Bytes(0),
                path: "/lib/with space".into(),
            },
        ];
        let bytes = encode_files(&files, PageSize::KIB4).unwrap();
        assert_eq!(decode_files(&bytes).unwrap(), files);
        assert!(decode_files(&bytes[..20]).is_err());
        let mut wild = bytes;
        wild[0..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(decode_files(&wild).is_err());
    }
}
