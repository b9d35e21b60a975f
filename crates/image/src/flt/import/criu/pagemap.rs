//! The bytes of `pagemap-PID.img`: two magics, then protobuf messages with their lengths.
//!
//! The first message names the file of pages; each other one is a run of pages. Fields this
//! program does not know are refused: what a run means could hang on them, as it does on the
//! compression CRIU is going to have.

use std::path::Path;

use super::ImportError;

const MAGIC_COMMON: u32 = 0x5456_4319;
const MAGIC_PAGEMAP: u32 = 0x5608_4025;
/// Flags of a run.
const IN_PARENT: u64 = 1;
const LAZY: u64 = 2;
const PRESENT: u64 = 4;
/// Pages of a dump; it does not say how long they are.
const PAGE: u64 = 4096;
/// The end of the addresses a process can have, on any machine.
const ADDRESS_END: u64 = 1 << 57;
/// The longest file: some ten million runs.
const LEN_MAX: u64 = 256 << 20;

/// Where the pages of a run are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// In the file of pages, behind those of the runs before.
    Here,
    /// In the dump below.
    Before,
}

/// A run of pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) held: Held,
}

/// Reads the number of the file of pages, and the runs in the order of their addresses.
pub(super) fn read(path: &Path) -> Result<(u64, Vec<Entry>), ImportError> {
    let io = |source| ImportError::Io { file: path.to_path_buf(), source };
    let len = std::fs::metadata(path).map_err(io)?.len();
    let criu = |what: String| ImportError::Criu { file: path.to_path_buf(), what };
    if len > LEN_MAX {
        return Err(criu(format!("{len} bytes are more than a page map has")));
    }
    decode(&std::fs::read(path).map_err(io)?).map_err(criu)
}

fn decode(bytes: &[u8]) -> Result<(u64, Vec<Entry>), String> {
    let mut messages = Messages { rest: bytes };
    for expected in [MAGIC_COMMON, MAGIC_PAGEMAP] {
        match messages.word() {
            Some(found) if found == expected => {}
            found => return Err(format!("expected magic {expected:#x}, found {found:x?}")),
        }
    }
    let head = messages.next().ok_or("no first message")??;
    let pages_id = head.get(1).ok_or("the first message names no file of pages")?;
    let mut entries: Vec<Entry> = Vec::new();
    for message in messages {
        let entry = entry(&message?)?;
        if entries.last().is_some_and(|last| entry.start < last.end) {
            return Err(format!("the run at {:#x} does not lie behind the last", entry.start));
        }
        entries.push(entry);
    }
    Ok((pages_id, entries))
}

fn entry(fields: &Fields) -> Result<Entry, String> {
    if let Some((number, _)) = fields.0.iter().find(|(number, _)| !(1..=5).contains(number)) {
        return Err(format!("a run has a field {number}, of a later version of CRIU"));
    }
    let start = fields.get(1).ok_or("a run without address")?;
    // Since CRIU 4.2 the count stands in a wider field, and the old one is 0.
    let pages = fields.get(5).filter(|&pages| pages > 0).or(fields.get(2)).unwrap_or(0);
    let end = pages.checked_mul(PAGE).and_then(|len| start.checked_add(len));
    let end = end.filter(|&end| end <= ADDRESS_END && end > start && start.is_multiple_of(PAGE));
    let end = end.ok_or_else(|| format!("no run: {pages} pages at {start:#x}"))?;
    let old = if fields.get(3) == Some(1) { IN_PARENT } else { PRESENT };
    let held = match fields.get(4).unwrap_or(old) {
        flags if flags & !(IN_PARENT | LAZY | PRESENT) != 0 => {
            return Err(format!("flags {flags:#x} at {start:#x}, of a later version of CRIU"));
        }
        flags if flags & PRESENT != 0 => Held::Here,
        flags if flags & IN_PARENT != 0 => Held::Before,
        _ => return Err(format!("the pages at {start:#x} were left with the source")),
    };
    Ok(Entry { start, end, held })
}

/// The numbers of one message with the numbers of their fields.
struct Fields(Vec<(u64, u64)>);

impl Fields {
    fn get(&self, number: u64) -> Option<u64> {
        // As protobuf has it, the last one counts.
        self.0.iter().rev().find(|(found, _)| *found == number).map(|&(_, value)| value)
    }

    fn decode(mut bytes: &[u8]) -> Result<Fields, String> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            if key & 7 != 0 {
                return Err(format!("a field {} that is no number", key >> 3));
            }
            fields.push((key >> 3, varint(&mut bytes)?));
        }
        Ok(Fields(fields))
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("a message that ends within a number")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number longer than 64 bits".to_owned())
}

/// Messages, each behind its length.
struct Messages<'a> {
    rest: &'a [u8],
}

impl Messages<'_> {
    fn word(&mut self) -> Option<u32> {
        let (word, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_le_bytes(*word))
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<Fields, String>;

    fn next(&mut self) -> Option<Result<Fields, String>> {
        if self.rest.is_empty() {
            return None;
        }
        let len = self.word().and_then(|len| usize::try_from(len).ok());
        let Some((message, rest)) = len.and_then(|len| self.rest.split_at_checked(len)) else {
            self.rest = &[];
            return Some(Err("a message longer than the file".to_owned()));
        };
        self.rest = rest;
        Some(Fields::decode(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Head and first run as CRIU 4.1.1 wrote them.
    const SEEN: &[u8] = &[
        0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56, 2, 0, 0, 0, 0x08, 1, 12, 0, 0, 0, 0x08,
        0x80, 0x80, 0x92, 0xfb, 0xc5, 0xab, 0x15, 0x10, 1, 0x20, 4,
    ];

    fn run(fields: &[u8]) -> Result<Entry, String> {
        entry(&Fields::decode(fields)?)
    }

    #[test]
    fn what_criu_wrote_is_read() {
        let (pages, entries) = decode(SEEN).unwrap();
        assert_eq!(pages, 1);
        let start = entries[0].start;
        assert_eq!(entries, [Entry { start, end: start + 4096, held: Held::Here }]);
        assert!(start.is_multiple_of(4096));
    }

    #[test]
    fn cut_short_it_is_refused_or_holds_fewer_runs() {
        for len in 0..SEEN.len() {
            let whole = decode(&SEEN[..len]).is_ok();
            assert_eq!(whole, len == 14, "{len} bytes");
        }
    }

    #[test]
    fn flags_say_where_pages_are() {
        let at = |more: &[u8]| run(&[&[0x08, 0x80, 0x20, 0x10, 2][..], more].concat());
        assert_eq!(at(&[]).unwrap().held, Held::Here);
        assert_eq!(at(&[0x18, 1]).unwrap().held, Held::Before);
        assert_eq!(at(&[0x20, 6]).unwrap().held, Held::Here);
        assert_eq!(at(&[0x20, 1]).unwrap().held, Held::Before);
        assert!(at(&[0x20, 2]).unwrap_err().contains("left with the source"));
        assert!(at(&[0x20, 8]).unwrap_err().contains("later version"));
        assert!(at(&[0x30, 8]).unwrap_err().contains("later version"));
        // The wider count of CRIU 4.2.
        assert_eq!(run(&[0x08, 0x80, 0x20, 0x10, 0, 0x28, 3]).unwrap().end, 0x1000 + 3 * 4096);
    }

    #[test]
    fn impossible_runs_are_refused() {
        assert!(run(&[0x10, 1]).is_err());
        assert!(run(&[0x08, 1, 0x10, 1]).is_err());
        assert!(run(&[0x08, 0x80, 0x20, 0x10, 0]).is_err());
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(run(&[&[0x08, 0x80, 0x20, 0x28][..], &huge].concat()).is_err());
        assert!(varint(&mut &[0xff; 11][..]).is_err());
    }
}
