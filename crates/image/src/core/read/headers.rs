//! The file header and the program headers of a core.

use faultless_pages::{Bytes, Va, VaRange};

use super::super::elf::{
    EHDR_LEN, ET_CORE, MAGIC, PHDR_LEN, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader, SHDR_LEN,
    section_zero_phnum, u16_at, u64_at,
};
use super::super::layout::Access;
use super::super::machine::Machine;
use super::error::Reader;
use super::{ReadError, Segment};

/// Program headers in one read: 56 KiB.
const BATCH: u64 = 1024;
/// Program headers of one core: 200 times what a process may map by default, and 1 GiB of them.
const COUNT_MAX: u64 = 1 << 24;
/// Note segments of one core; the kernel and gcore write one.
const NOTE_SEGMENTS_MAX: usize = 64;

pub(super) struct Headers {
    pub(super) machine: Machine,
    /// Sorted by address.
    pub(super) segments: Vec<Segment>,
    /// (offset, length) of each note segment.
    pub(super) notes: Vec<(u64, u64)>,
    /// (start, end) of the program headers, with section 0 if it stands behind them.
    pub(super) table: (u64, u64),
}

pub(super) fn read(reader: &Reader) -> Result<Headers, ReadError> {
    let mut header = [0; EHDR_LEN];
    reader.read(&mut header, 0, "file header")?;
    let machine = check_header(reader, &header)?;
    let phoff = u64_at(&header, 32);
    let shoff = u64_at(&header, 40);
    let count = match u16_at(&header, 56) {
        PN_XNUM => extended_count(reader, shoff)?,
        count => count.into(),
    };
    if count > COUNT_MAX {
        let expected = format!("at most {COUNT_MAX}");
        return Err(reader.malformed(shoff, "program headers", expected, count.to_string()));
    }
    let end = table_end(reader, phoff, count)?;
    let mut headers =
        Headers { machine, segments: Vec::new(), notes: Vec::new(), table: (phoff, end) };
    if u16_at(&header, 56) == PN_XNUM && shoff == end {
        headers.table.1 += SHDR_LEN as u64;
    }
    let mut batch = vec![0; PHDR_LEN * usize::try_from(count.min(BATCH)).expect("at most 1024")];
    for first in (0..count).step_by(1024) {
        let len = usize::try_from((count - first).min(BATCH)).expect("at most 1024") * PHDR_LEN;
        let at = phoff + first * PHDR_LEN as u64;
        reader.read(&mut batch[..len], at, "program headers")?;
        let (entries, _) = batch[..len].as_chunks::<PHDR_LEN>();
        for (index, entry) in entries.iter().enumerate() {
            let offset = at + (index * PHDR_LEN) as u64;
            headers.add(reader, offset, ProgramHeader::from_bytes(entry))?;
        }
    }
    headers.segments.sort_by_key(|segment| segment.range);
    Ok(headers)
}

fn check_header(reader: &Reader, header: &[u8; EHDR_LEN]) -> Result<Machine, ReadError> {
    let check = |at: u64, field, ok: bool, expected: &str, found: u64| {
        if ok { Ok(()) } else { Err(reader.malformed(at, field, expected, found.to_string())) }
    };
    let magic = u64::from(u32::from_le_bytes([header[0], header[1], header[2], header[3]]));
    check(0, "ELF magic", header[..4] == MAGIC, "7f 45 4c 46", magic)?;
    check(4, "ELF class", header[4] == 2, "2 (64-bit)", header[4].into())?;
    let order = header[5];
    check(5, "byte order", order == 1, "1 (little endian)", order.into())?;
    let kind = u16_at(header, 16);
    check(16, "file type", kind == ET_CORE, "4 (core)", kind.into())?;
    let size = u16_at(header, 54);
    check(54, "program header size", size == 56, "56", size.into())?;
    Machine::from_elf_number(u16_at(header, 18)).map_err(|e| {
        reader.malformed(18, "machine", "62 (x86-64) or 183 (aarch64)", e.0.to_string())
    })
}

/// Reads the number of program headers where it does not fit the file header.
fn extended_count(reader: &Reader, shoff: u64) -> Result<u64, ReadError> {
    let mut section = [0; SHDR_LEN];
    reader.read(&mut section, shoff, "section 0")?;
    Ok(section_zero_phnum(&section).into())
}

fn table_end(reader: &Reader, phoff: u64, count: u64) -> Result<u64, ReadError> {
    phoff.checked_add(count * PHDR_LEN as u64).filter(|&end| end <= reader.source.len()).ok_or_else(
        || {
            let expected = format!("{count} headers of {PHDR_LEN} bytes");
            let found = format!(
                "the end of the core at {:#x}; the file was cut short or never finished",
                reader.source.len()
            );
            reader.malformed(phoff, "program headers", expected, found)
        },
    )
}

impl Headers {
    fn add(&mut self, reader: &Reader, at: u64, header: ProgramHeader) -> Result<(), ReadError> {
        match header.kind {
            PT_LOAD if header.memsz > 0 => self.segments.push(segment(reader, at, header)?),
            PT_NOTE if self.notes.len() < NOTE_SEGMENTS_MAX => {
                self.notes.push((header.offset, header.filesz));
            }
            PT_NOTE => {
                let expected = format!("at most {NOTE_SEGMENTS_MAX} note segments");
                return Err(reader.malformed(at, "program header", expected, "one more"));
            }
            _ => {}
        }
        Ok(())
    }
}

fn segment(reader: &Reader, at: u64, header: ProgramHeader) -> Result<Segment, ReadError> {
    let end = header.vaddr.checked_add(header.memsz);
    let data_end = header.offset.checked_add(header.filesz);
    let (Some(end), Some(_), true) = (end, data_end, header.filesz <= header.memsz) else {
        let found = format!(
            "address {:#x}, {:#x} bytes in memory, {:#x} in the file at {:#x}",
            header.vaddr, header.memsz, header.filesz, header.offset
        );
        let expected = "a segment no longer in the file than in memory, within 64 bits";
        return Err(reader.malformed(at, "program header", expected, found));
    };
    Ok(Segment {
        range: VaRange::new(Va(header.vaddr), Va(end)),
        in_file: Bytes(header.filesz),
        offset: Bytes(header.offset),
        access: Access::from_flags(header.flags),
    })
}
