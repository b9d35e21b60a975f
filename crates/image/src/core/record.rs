//! Our own notes: what a core says about its making, beyond what the kernel's cores say.
//!
//! Five notes of owner `faultless`; other readers skip them. The byte map stands in
//! `docs/core-format.md`, and a test holds the two together. Little endian throughout.

use faultless_pages::{RangeSet, Va, VaRange};

use super::elf::{u32_at, u64_at};

/// The version of the notes this crate writes; readers refuse what they do not know.
pub const FORMAT_VERSION: u32 = 1;

/// Owner of our notes.
pub(crate) const OWNER: &str = "faultless";
/// What our note types count from. gdb and readelf look at the type of a note whose owner they do
/// not know, so ours must not be the number of anything else: 1 would be taken for a thread.
pub(crate) const NOTE_BASE: u32 = 0x4641_0000;
/// Note type: when and how the core was cut.
pub(crate) const NOTE_CUT: u32 = NOTE_BASE + 1;
/// Note type: ranges freed before they were saved.
pub(crate) const NOTE_FREED: u32 = NOTE_BASE + 2;
/// Note type: ranges other processes could write.
pub(crate) const NOTE_SHARED: u32 = NOTE_BASE + 3;
/// Note type: one checksum a segment.
pub(crate) const NOTE_SUMS: u32 = NOTE_BASE + 4;
/// Note type: checksums of everything that is not segment data. Always the last note.
pub(crate) const NOTE_SEAL: u32 = NOTE_BASE + 5;

/// Bytes of the cut note before the tool version.
pub(crate) const CUT_LEN: usize = 52;
/// Bytes of one range.
pub(crate) const RANGE_LEN: usize = 16;
/// Bytes of one segment's sum.
pub(crate) const SUM_LEN: usize = 32;
/// Bytes of the seal.
pub(crate) const SEAL_LEN: usize = 16;

/// What the caller of a writer knows about the cut.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CutRecord {
    /// When all threads stood still: nanoseconds since the Unix epoch.
    pub time_unix_ns: u64,
    /// The program that made the core, with its version.
    pub tool_version: String,
    /// What the program freed; what was saved in time is taken out by the writer.
    pub freed: RangeSet,
    /// Memory other processes could write during the snapshot.
    pub shared: RangeSet,
}

/// The checksum of one segment's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSum {
    /// The addresses it covers.
    pub range: VaRange,
    /// Its pages that are not all zero.
    pub data_pages: u64,
    /// Wrapping sum of a mixed word of address and CRC-32C over these pages.
    pub sum: u64,
}

/// Everything our notes say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Base page size in bytes.
    pub page_size: u32,
    /// When all threads stood still: nanoseconds since the Unix epoch.
    pub time_unix_ns: u64,
    /// The program that made the core, with its version.
    pub tool_version: String,
    /// Pages with content.
    pub data_pages: u64,
    /// Pages that read as zeros.
    pub zero_pages: u64,
    /// Pages freed before they were saved.
    pub freed_pages: u64,
    /// Pages other processes could write.
    pub shared_pages: u64,
    /// Ranges freed before they were saved: nothing is known of them.
    pub freed: Vec<VaRange>,
    /// Ranges other processes could write during the snapshot.
    pub shared: Vec<VaRange>,
    /// One checksum a segment.
    pub sums: Vec<SegmentSum>,
}

impl Record {
    pub(crate) fn encode_cut(&self) -> Vec<u8> {
        let version = self.tool_version.as_bytes();
        let version = &version[..version.len().min(255)];
        let mut out = Vec::with_capacity(CUT_LEN + version.len());
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend(self.page_size.to_le_bytes());
        out.extend(self.time_unix_ns.to_le_bytes());
        out.extend(self.data_pages.to_le_bytes());
        out.extend(self.zero_pages.to_le_bytes());
        out.extend(self.freed_pages.to_le_bytes());
        out.extend(self.shared_pages.to_le_bytes());
        out.extend(u32::try_from(version.len()).expect("at most 255").to_le_bytes());
        out.extend(version);
        out
    }

    /// Reads the cut note into `self`; `Err` names the field, what was expected and found.
    pub(crate) fn decode_cut(&mut self, bytes: &[u8]) -> Result<(), BadField> {
        if bytes.len() < CUT_LEN {
            return Err(bad(
                "cut note",
                format!("at least {CUT_LEN} bytes"),
                bytes.len().to_string(),
            ));
        }
        let version = u32_at(bytes, 0);
        if version != FORMAT_VERSION {
            let expected = format!("{FORMAT_VERSION} (a newer faultless may read it)");
            return Err(bad("format version", expected, version.to_string()));
        }
        self.page_size = u32_at(bytes, 4);
        if !self.page_size.is_power_of_two() || self.page_size < 4096 {
            let expected = "a power of two from 4096".to_string();
            return Err(bad("page size", expected, self.page_size.to_string()));
        }
        self.time_unix_ns = u64_at(bytes, 8);
        self.data_pages = u64_at(bytes, 16);
        self.zero_pages = u64_at(bytes, 24);
        self.freed_pages = u64_at(bytes, 32);
        self.shared_pages = u64_at(bytes, 40);
        let tool = &bytes[CUT_LEN..];
        if u64::from(u32_at(bytes, 48)) != tool.len() as u64 {
            return Err(bad(
                "tool version length",
                tool.len().to_string(),
                u32_at(bytes, 48).to_string(),
            ));
        }
        self.tool_version = String::from_utf8_lossy(tool).into_owned();
        Ok(())
    }

    pub(crate) fn encode_sums(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.sums.len() * SUM_LEN);
        for sum in &self.sums {
            out.extend(sum.range.start().0.to_le_bytes());
            out.extend(sum.range.end().0.to_le_bytes());
            out.extend(sum.data_pages.to_le_bytes());
            out.extend(sum.sum.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode_sums(&mut self, bytes: &[u8]) -> Result<(), BadField> {
        let ranges = decode_ranges_of::<SUM_LEN>("checksum note", bytes)?;
        let (entries, _) = bytes.as_chunks::<SUM_LEN>();
        self.sums = ranges
            .into_iter()
            .zip(entries)
            .map(|(range, entry)| SegmentSum {
                range,
                data_pages: u64_at(entry, 16),
                sum: u64_at(entry, 24),
            })
            .collect();
        Ok(())
    }
}

/// A field that does not hold what it must.
#[derive(Debug)]
pub(crate) struct BadField {
    pub(crate) field: &'static str,
    pub(crate) expected: String,
    pub(crate) found: String,
}

pub(crate) fn bad(
    field: &'static str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> BadField {
    BadField { field, expected: expected.into(), found: found.into() }
}

pub(crate) fn encode_ranges(ranges: &[VaRange]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ranges.len() * RANGE_LEN);
    for range in ranges {
        out.extend(range.start().0.to_le_bytes());
        out.extend(range.end().0.to_le_bytes());
    }
    out
}

pub(crate) fn decode_ranges(field: &'static str, bytes: &[u8]) -> Result<Vec<VaRange>, BadField> {
    decode_ranges_of::<RANGE_LEN>(field, bytes)
}

/// Reads the range at the start of every `LEN` bytes; the ranges must be sorted and disjoint.
fn decode_ranges_of<const LEN: usize>(
    field: &'static str,
    bytes: &[u8],
) -> Result<Vec<VaRange>, BadField> {
    let (entries, rest) = bytes.as_chunks::<LEN>();
    if !rest.is_empty() {
        return Err(bad(field, format!("a multiple of {LEN} bytes"), bytes.len().to_string()));
    }
    let mut ranges: Vec<VaRange> = Vec::with_capacity(entries.len());
    for entry in entries {
        let (start, end) = (u64_at(entry, 0), u64_at(entry, 8));
        let behind = ranges.last().map_or(0, |last| last.end().0);
        if end <= start || start < behind {
            let found = format!("{start:x}-{end:x} behind {behind:x}");
            return Err(bad(field, "sorted, disjoint ranges", found));
        }
        ranges.push(VaRange::new(Va(start), Va(end)));
    }
    Ok(ranges)
}

/// Checksums of all that is not segment data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seal {
    /// CRC-32C of the file header.
    pub(crate) header: u32,
    /// CRC-32C of all notes before the seal.
    pub(crate) notes: u32,
    /// CRC-32C of the program headers and section 0.
    pub(crate) program_headers: u32,
}

impl Seal {
    pub(crate) fn encode(self) -> [u8; SEAL_LEN] {
        let mut out = [0; SEAL_LEN];
        out[0..4].copy_from_slice(&self.header.to_le_bytes());
        out[4..8].copy_from_slice(&self.notes.to_le_bytes());
        out[8..12].copy_from_slice(&self.program_headers.to_le_bytes());
        let own = crc32c::crc32c(&out[..12]);
        out[12..16].copy_from_slice(&own.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Seal, BadField> {
        let Ok(bytes) = <&[u8; SEAL_LEN]>::try_from(bytes) else {
            return Err(bad("seal", format!("{SEAL_LEN} bytes"), bytes.len().to_string()));
        };
        let own = crc32c::crc32c(&bytes[..12]);
        if own != u32_at(bytes, 12) {
            let found = format!("{:#010x}", u32_at(bytes, 12));
            return Err(bad("seal checksum", format!("{own:#010x}"), found));
        }
        Ok(Seal {
            header: u32_at(bytes, 0),
            notes: u32_at(bytes, 4),
            program_headers: u32_at(bytes, 8),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOC: &str = include_str!("../../../../docs/core-format.md");

    /// Fields of each note: (offset, bytes, name), as the document has them in its tables.
    const CUT: [(usize, usize, &str); 9] = [
        (0, 4, "format version"),
        (4, 4, "page size"),
        (8, 8, "cut time"),
        (16, 8, "data pages"),
        (24, 8, "zero pages"),
        (32, 8, "freed pages"),
        (40, 8, "shared pages"),
        (48, 4, "tool version length"),
        (CUT_LEN, 0, "tool version"),
    ];
    const RANGE: [(usize, usize, &str); 2] = [(0, 8, "start"), (8, 8, "end")];
    const SUM: [(usize, usize, &str); 4] =
        [(0, 8, "start"), (8, 8, "end"), (16, 8, "data pages"), (24, 8, "sum")];
    const SEAL: [(usize, usize, &str); 4] =
        [(0, 4, "file header"), (4, 4, "notes"), (8, 4, "program headers"), (12, 4, "seal")];

    fn record() -> Record {
        Record {
            page_size: 4096,
            time_unix_ns: 2,
            tool_version: "faultless 0.1.0".to_string(),
            data_pages: 3,
            zero_pages: 4,
            freed_pages: 5,
            shared_pages: 6,
            freed: vec![],
            shared: vec![],
            sums: vec![SegmentSum {
                range: VaRange::new(Va(0x1000), Va(0x9000)),
                data_pages: 3,
                sum: u64::MAX,
            }],
        }
    }

    /// Collects the rows of the table under `heading`.
    fn documented(heading: &str) -> Vec<(usize, usize, String)> {
        let (_, section) = DOC.split_once(heading).expect("the heading");
        let section = section.split("\n#").next().unwrap_or_default();
        section
            .lines()
            .filter_map(|line| {
                let cells: Vec<_> = line.split('|').map(str::trim).collect();
                let offset = cells.get(1)?.parse().ok()?;
                let bytes = cells.get(2)?.parse().unwrap_or(0);
                Some((offset, bytes, (*cells.get(3)?).to_string()))
            })
            .collect()
    }

    fn assert_documented(heading: &str, fields: &[(usize, usize, &str)]) {
        let fields: Vec<_> =
            fields.iter().map(|&(offset, bytes, name)| (offset, bytes, name.to_string())).collect();
        assert_eq!(documented(heading), fields, "{heading}");
    }

    #[test]
    fn the_document_and_the_code_give_the_same_byte_map() {
        assert_documented("## Note 1: cut", &CUT);
        assert_documented("## Note 2: freed", &RANGE);
        assert_documented("## Note 3: shared", &RANGE);
        assert_documented("## Note 4: sums", &SUM);
        assert_documented("## Note 5: seal", &SEAL);
        for (kind, number) in
            [(NOTE_CUT, 1), (NOTE_FREED, 2), (NOTE_SHARED, 3), (NOTE_SUMS, 4), (NOTE_SEAL, 5)]
        {
            assert_eq!(kind, NOTE_BASE + number);
        }
        assert!(DOC.contains(&format!("{NOTE_BASE:#x} plus the number")));
        assert_eq!(RANGE_LEN, 16);
        assert_eq!(SUM_LEN, 32);
        assert_eq!(SEAL_LEN, 16);
        assert!(DOC.contains(&format!("format version {FORMAT_VERSION}")));
    }

    #[test]
    fn fields_lie_where_the_map_says() {
        let cut = record().encode_cut();
        let at = |index: usize| match CUT[index] {
            (offset, 4, _) => u64::from(u32_at(&cut, offset)),
            (offset, _, _) => u64_at(&cut, offset),
        };
        let values: Vec<_> = (0..8).map(at).collect();
        assert_eq!(values, [1, 4096, 2, 3, 4, 5, 6, 15]);
        assert_eq!(&cut[CUT_LEN..], b"faultless 0.1.0");
        let sums = record().encode_sums();
        let values: Vec<_> = SUM.iter().map(|&(at, _, _)| u64_at(&sums, at)).collect();
        assert_eq!(values, [0x1000, 0x9000, 3, u64::MAX]);
    }

    #[test]
    fn notes_survive_a_round_trip() {
        let mut back = Record::default();
        back.decode_cut(&record().encode_cut()).unwrap();
        back.decode_sums(&record().encode_sums()).unwrap();
        assert_eq!(back, record());
        let ranges = vec![VaRange::new(Va(1), Va(2)), VaRange::new(Va(2), Va(4))];
        assert_eq!(decode_ranges("x", &encode_ranges(&ranges)).unwrap(), ranges);
        let backwards: Vec<_> = ranges.into_iter().rev().collect();
        assert!(decode_ranges("x", &encode_ranges(&backwards)).is_err());
        let seal = Seal { header: 1, notes: 2, program_headers: 3 };
        assert_eq!(Seal::decode(&seal.encode()).unwrap(), seal);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let mut bytes = record().encode_cut();
        bytes[0] = 2;
        let bad = Record::default().decode_cut(&bytes).unwrap_err();
        assert_eq!((bad.field, bad.found.as_str()), ("format version", "2"));
    }
}
