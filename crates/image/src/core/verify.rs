//! Checks a core end to end: structure, every checksum, every byte of data.
//!
//! Holes are skipped where the file system or the compression tells of them, so the time is that
//! of reading what is there.

use serde::Serialize;
use std::collections::BTreeMap;

use faultless_pages::{Bytes, VaRange};

use super::checksum::{is_zero, page_term};
use super::elf::EHDR_LEN;
use super::read::{CoreFile, ReadError, Sealed, Segment};
use super::record::{Record, SegmentSum};
use super::tail::seal_note;

/// Bytes read at a time; a multiple of every base page size.
const PIECE: usize = 1 << 20;
/// Problems reported; a core with more is simply broken.
const PROBLEMS_MAX: usize = 100;

/// Something a core says that is not so.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// What was checked, with its address or offset.
    pub what: String,
    /// What it must be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Problem { what, expected, found } = self;
        write!(f, "{what}: expected {expected}, found {found}")
    }
}

/// What checking a core found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Verification {
    /// Pages with content that were read.
    pub data_pages: u64,
    /// Segments whose checksum was recomputed; 0 for a core that carries none.
    pub checksums: u64,
    /// Everything that is wrong, at most 100 entries.
    pub problems: Vec<Problem>,
}

impl Verification {
    /// Says whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                what: what.into(),
                expected: expected.into(),
                found: found.into(),
            });
        }
    }

    fn check(&mut self, what: impl Into<String>, expected: u64, found: u64) {
        if expected != found {
            self.problem(what, expected.to_string(), found.to_string());
        }
    }
}

impl CoreFile {
    /// Reads the whole core and checks everything that can be: `progress` hears how many bytes
    /// of data were passed, of [`Summary::dumped_bytes`](super::Summary::dumped_bytes).
    ///
    /// # Errors
    /// [`ReadError`] if the file cannot be read or decompressed to its end; what can be read and
    /// is wrong is in the [`Verification`].
    pub fn verify(&self, mut progress: impl FnMut(u64)) -> Result<Verification, ReadError> {
        let mut report = Verification::default();
        self.check_segments(&mut report);
        if self.threads.is_empty() {
            report.problem("threads", "at least one", "none");
        }
        let sums = self.read_data(&mut report, &mut progress)?;
        if let Some(record) = &self.record {
            self.check_record(&mut report, record);
            check_sums(&mut report, &record.sums, &sums);
            match &self.seal {
                Some(sealed) => self.check_seal(&mut report, sealed)?,
                None => report.problem("seal", "a note that seals the headers", "none"),
            }
        }
        Ok(report)
    }

    /// Checks that segments overlap neither in memory nor in the file.
    fn check_segments(&self, report: &mut Verification) {
        for pair in self.segments.windows(2) {
            if pair[1].range.start() < pair[0].range.end() {
                let what = format!("segment {}", pair[1].range);
                report.problem(what, "an address of its own", pair[0].range.to_string());
            }
        }
        let mut held: Vec<&Segment> = self.segments.iter().filter(|s| s.in_file.0 > 0).collect();
        held.sort_by_key(|segment| segment.offset);
        for pair in held.windows(2) {
            let behind = pair[0].offset.0 + pair[0].in_file.0;
            if pair[1].offset.0 < behind {
                let what = format!("data of segment {}", pair[1].range);
                let expected = format!("an offset from {behind:#x}");
                report.problem(what, expected, format!("{:#x}", pair[1].offset.0));
            }
        }
        for segment in held {
            let end = segment.offset.0 + segment.in_file.0;
            if end > self.reader.source.len() {
                let what = format!("data of segment {}", segment.range);
                let expected = format!("a core of at least {end:#x} bytes");
                report.problem(what, expected, format!("{:#x}", self.reader.source.len()));
            }
        }
    }

    /// Reads the data of all segments in file order and sums up what the record has sums for,
    /// by the start of the summed range.
    fn read_data(
        &self,
        report: &mut Verification,
        progress: &mut impl FnMut(u64),
    ) -> Result<BTreeMap<u64, Total>, ReadError> {
        let mut totals = Totals {
            expected: self.record.as_ref().map_or(&[], |record| &record.sums),
            totals: BTreeMap::new(),
        };
        let mut segments: Vec<&Segment> = self.segments.iter().collect();
        segments.sort_by_key(|segment| segment.offset);
        let mut buffer = vec![0; PIECE];
        let mut passed = 0u64;
        for segment in segments {
            self.read_segment(
                segment,
                &mut buffer,
                |address, page| {
                    report.data_pages += 1;
                    totals.add(address, page);
                },
                |into| progress(passed.saturating_add(into)),
            )?;
            passed = passed.saturating_add(segment.in_file.0);
            progress(passed);
        }
        Ok(totals.totals)
    }

    /// Hands the non-zero pages of a segment to `visit`, as far as the file reaches.
    fn read_segment(
        &self,
        segment: &Segment,
        buffer: &mut [u8],
        mut visit: impl FnMut(u64, &[u8]),
        mut progress: impl FnMut(u64),
    ) -> Result<(), ReadError> {
        let source = &self.reader.source;
        let start = segment.offset.0;
        let end = (start + segment.in_file.0).min(source.len());
        let page_len = self.page_size().bytes().0;
        let mut next = start;
        while let Some((from, to)) =
            source.next_data(next, end).map_err(|e| self.reader.io(next, e))?
        {
            // Holes end anywhere: widen to pages of this segment.
            let mut at = from - (from - start) % page_len;
            let to = to.saturating_add((page_len - (to - start) % page_len) % page_len).min(end);
            while at < to {
                let len = (to - at).min(buffer.len() as u64);
                let piece = &mut buffer[..usize::try_from(len).expect("at most 1 MiB")];
                self.reader.read(piece, at, "segment data")?;
                let address = segment.range.start().0 + (at - start);
                visit_pages(address, piece, self.page_size().bytes().as_usize(), &mut visit);
                at += len;
                progress(at - start);
            }
            next = to;
        }
        Ok(())
    }

    fn check_record(&self, report: &mut Verification, record: &Record) {
        report.check("pages with content", record.data_pages, report.data_pages);
        let freed: u64 = self.pages(&record.freed);
        report.check("freed pages", record.freed_pages, freed);
        report.check("shared pages", record.shared_pages, self.pages(&record.shared));
        let summed = self.pages(&record.sums.iter().map(|sum| sum.range).collect::<Vec<_>>());
        let zero = summed.saturating_sub(record.data_pages).saturating_sub(freed);
        report.check("pages of zeros", record.zero_pages, zero);
        let held = self.pages(&self.held_ranges());
        report.check("pages in the file", summed.saturating_sub(freed), held);
        self.check_padding(report);
    }

    /// Returns the addresses whose content the file holds.
    fn held_ranges(&self) -> Vec<VaRange> {
        self.segments
            .iter()
            .map(|segment| VaRange::of(segment.range.start(), segment.in_file))
            .collect()
    }

    fn pages(&self, ranges: &[VaRange]) -> u64 {
        let page_size = self.page_size();
        ranges.iter().fold(0, |sum: u64, range| sum.saturating_add(range.page_count(page_size)))
    }

    /// Checks that nothing hides between the file header and the first page.
    fn check_padding(&self, report: &mut Verification) {
        let mut padding = vec![0; self.page_size().bytes().as_usize() - EHDR_LEN];
        let read = self.reader.read(&mut padding, EHDR_LEN as u64, "padding");
        if read.is_err() || !is_zero(&padding) {
            report.problem("padding of the file header", "zeros", "something else");
        }
    }

    fn check_seal(&self, report: &mut Verification, sealed: &Sealed) -> Result<(), ReadError> {
        let seal = sealed.seal;
        let mut check = |what, range: (u64, u64), expected: u32| {
            let found = self.crc(range)?;
            if expected != found {
                let (expected, found) = (format!("{expected:#010x}"), format!("{found:#010x}"));
                report.problem(format!("checksum of the {what}"), expected, found);
            }
            Ok(())
        };
        check("file header", (0, EHDR_LEN as u64), seal.header)?;
        check("notes", sealed.notes, seal.notes)?;
        check("program headers", sealed.table, seal.program_headers)?;
        self.check_seal_note(report, sealed)
    }

    /// Checks what the seal cannot cover: its own note, byte for byte, and the end of the file.
    fn check_seal_note(&self, report: &mut Verification, sealed: &Sealed) -> Result<(), ReadError> {
        let (start, end) = (sealed.notes.1, sealed.table.0);
        let mut expected = seal_note(sealed.seal);
        // The program headers start at a multiple of 8, the note ends at one of 4.
        let padded = (start + expected.len() as u64).next_multiple_of(8) - start;
        expected.resize(Bytes(padded).as_usize(), 0);
        let mut found = vec![0; expected.len()];
        if end.checked_sub(start) != Some(found.len() as u64) {
            let found = format!("{start:#x} to {end:#x}");
            report.problem("seal note", format!("{} bytes", expected.len()), found);
            return Ok(());
        }
        self.reader.read(&mut found, start, "seal note")?;
        if found != expected {
            report.problem("seal note", "the seal and zeros around it", "something else");
        }
        let len = self.reader.source.len();
        report.check("length of the core", sealed.table.1, len);
        Ok(())
    }

    fn crc(&self, (start, end): (u64, u64)) -> Result<u32, ReadError> {
        let mut crc = 0;
        let mut buffer = vec![0; PIECE];
        let mut at = start;
        while at < end {
            let len = (end - at).min(PIECE as u64);
            let piece = &mut buffer[..usize::try_from(len).expect("at most 1 MiB")];
            self.reader.read(piece, at, "headers")?;
            crc = crc32c::crc32c_append(crc, piece);
            at += len;
        }
        Ok(crc)
    }
}

fn visit_pages(address: u64, piece: &[u8], page_len: usize, visit: &mut impl FnMut(u64, &[u8])) {
    for (index, page) in piece.chunks(page_len).enumerate() {
        if !is_zero(page) {
            visit(address + (index * page_len) as u64, page);
        }
    }
}

/// A sum as recomputed.
#[derive(Clone, Copy, Default)]
struct Total {
    pages: u64,
    sum: u64,
}

struct Totals<'a> {
    expected: &'a [SegmentSum],
    totals: BTreeMap<u64, Total>,
}

impl Totals<'_> {
    /// Adds a page to the sum that covers it.
    fn add(&mut self, address: u64, page: &[u8]) {
        let after = self.expected.partition_point(|sum| sum.range.start().0 <= address);
        let Some(sum) = after.checked_sub(1).map(|at| &self.expected[at]) else {
            return;
        };
        if address < sum.range.end().0 {
            let total = self.totals.entry(sum.range.start().0).or_default();
            total.pages += 1;
            total.sum = total.sum.wrapping_add(page_term(address, page));
        }
    }
}

fn check_sums(report: &mut Verification, expected: &[SegmentSum], found: &BTreeMap<u64, Total>) {
    for sum in expected {
        let total = found.get(&sum.range.start().0).copied().unwrap_or_default();
        report.checksums += 1;
        let what = |what| format!("{what} of segment {}", sum.range);
        report.check(what("pages with content"), sum.data_pages, total.pages);
        if sum.sum != total.sum {
            let (expected, found) = (format!("{:#018x}", sum.sum), format!("{:#018x}", total.sum));
            report.problem(what("checksum"), expected, found);
        }
    }
}
