//! ELF cores.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use faultless_image::core::{CoreFile, note};
use faultless_pages::Va;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::way;

/// Opens, describes, reads and verifies.
pub fn run(data: &[u8]) -> u64 {
    let file = memfd_create("core", MemfdFlags::CLOEXEC).expect("a file in memory");
    let mut file = std::fs::File::from(file);
    file.write_all(data).expect("there is room");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let core = match CoreFile::open(&path) {
        Ok(core) => core,
        Err(error) => return way(&brief(&error)),
    };
    let _ = core.summary();
    let mut buffer = vec![0; 0x3000];
    for address in [0, 0x40_0000, 0x40_0ff8, u64::MAX - 5] {
        let _ = core.residence(Va(address));
        let _ = core.read_memory(Va(address), &mut buffer);
    }
    for thread in core.threads() {
        let _ = core.regset(thread, note::FPREGSET);
    }
    let verified = core.verify(|_| ()).map(|report| report.is_ok());
    way(&verified.map_or_else(|error| brief(&error), |ok| format!("{ok}")))
}

/// The error's words behind the path, which is never the same.
fn brief(error: &dyn std::error::Error) -> String {
    let words = error.to_string();
    let at = words.find("fd/").unwrap_or(0);
    words[at..].to_owned()
}

/// A core of one segment and one note, made by hand.
pub fn seeds() -> Vec<Vec<u8>> {
    let note = {
        let mut note = Vec::new();
        for number in [5u32, 16, 1] {
            note.extend(number.to_le_bytes());
        }
        note.extend(b"CORE\0\0\0\0");
        note.extend([7; 16]);
        note
    };
    let mut core = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    core.extend([4u16.to_le_bytes(), 62u16.to_le_bytes()].concat());
    core.extend(1u32.to_le_bytes());
    for number in [0u64, 64, 0] {
        core.extend(number.to_le_bytes());
    }
    core.extend(0u32.to_le_bytes());
    for number in [64u16, 56, 2, 64, 0, 0] {
        core.extend(number.to_le_bytes());
    }
    header(&mut core, 4, 4, [176, 0, note.len() as u64, 0, 4]);
    header(&mut core, 1, 6, [4096, 0x40_0000, 4096, 8192, 4096]);
    core.extend(note);
    core.resize(8192, 0x33);
    vec![core]
}

/// Adds a program header: offset, address, length in the file, in memory, alignment.
fn header(core: &mut Vec<u8>, kind: u32, flags: u32, [offset, at, filesz, memsz, align]: [u64; 5]) {
    core.extend(kind.to_le_bytes());
    core.extend(flags.to_le_bytes());
    for number in [offset, at, 0, filesz, memsz, align] {
        core.extend(number.to_le_bytes());
    }
}
