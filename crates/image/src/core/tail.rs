//! What stands behind the data and what the file header says about it.
//!
//! Made at the end, when it is known what was freed. Both writers call [`Tail::new`].

use faultless_pages::{Bytes, RangeSet, VaRange};

use super::elf::{FileHeader, PHDR_LEN, PN_XNUM, PT_NOTE, ProgramHeader, section_zero};
use super::ledger::Ledger;
use super::notes::{NoteBuffer, Notes, NotesError};
use super::record::{
    CutRecord, NOTE_CUT, NOTE_FREED, NOTE_SEAL, NOTE_SHARED, NOTE_SUMS, OWNER, Record, SEAL_LEN,
    Seal, encode_ranges,
};

/// Bytes of the seal's note: three words, the owner padded to 12, the seal.
const SEAL_NOTE_LEN: usize = 12 + 12 + SEAL_LEN;

/// Writes the seal's note.
pub(crate) fn seal_note(seal: Seal) -> Vec<u8> {
    let mut note = NoteBuffer::default();
    note.push(OWNER, NOTE_SEAL, &seal.encode()).expect("a short note");
    assert_eq!(note.bytes.len(), SEAL_NOTE_LEN, "the length announced");
    note.bytes
}

/// The end of a core and its beginning.
pub(crate) struct Tail {
    /// The file header.
    pub(crate) header: [u8; 64],
    /// Notes, program headers, section 0: from the end of the data on.
    pub(crate) bytes: Vec<u8>,
    /// What our notes say.
    pub(crate) record: Record,
}

impl Tail {
    pub(crate) fn new(ledger: &Ledger, notes: &Notes, cut: &CutRecord) -> Result<Tail, NotesError> {
        let layout = &ledger.layout;
        let lost = ledger.lost(&cut.freed);
        let record = make_record(ledger, &lost, cut);
        let mut out = NoteBuffer { bytes: notes.encode(layout.machine(), layout.page_size())? };
        out.push(OWNER, NOTE_CUT, &record.encode_cut())?;
        out.push(OWNER, NOTE_FREED, &encode_ranges(&record.freed))?;
        out.push(OWNER, NOTE_SHARED, &encode_ranges(&record.shared))?;
        out.push(OWNER, NOTE_SUMS, &record.encode_sums())?;

        let notes_at = layout.data_end().0;
        let notes_len = (out.bytes.len() + SEAL_NOTE_LEN) as u64;
        let (header, table) = headers(ledger, &lost, notes_at, notes_len);
        let seal = Seal {
            header: crc32c::crc32c(&header),
            notes: crc32c::crc32c(&out.bytes),
            program_headers: crc32c::crc32c(&table),
        };
        let mut bytes = out.bytes;
        bytes.extend(seal_note(seal));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(&table);
        Ok(Tail { header, bytes, record })
    }
}

/// Writes the file header and the table of program headers with section 0 behind it.
fn headers(ledger: &Ledger, lost: &RangeSet, notes_at: u64, notes_len: u64) -> ([u8; 64], Vec<u8>) {
    let loads = ledger.layout.load_headers(lost);
    let count = u32::try_from(loads.len() + 1).expect("the layout bounds the segments");
    let phoff = (notes_at + notes_len).next_multiple_of(8);
    let mut table = Vec::with_capacity((loads.len() + 2) * PHDR_LEN);
    let note = ProgramHeader {
        kind: PT_NOTE,
        flags: 0,
        offset: notes_at,
        vaddr: 0,
        filesz: notes_len,
        memsz: 0,
        align: 4,
    };
    table.extend(note.to_bytes());
    for load in loads {
        table.extend(load.to_bytes());
    }
    let short = u16::try_from(count).ok().filter(|&n| n < PN_XNUM);
    let mut shoff = 0;
    if short.is_none() {
        shoff = phoff + table.len() as u64;
        table.extend(section_zero(count));
    }
    let header = FileHeader {
        machine: ledger.layout.machine(),
        phoff,
        shoff,
        phnum: short.unwrap_or(PN_XNUM),
    };
    (header.to_bytes(), table)
}

/// Sums up what was saved; `lost` is what was freed before.
pub(crate) fn make_record(ledger: &Ledger, lost: &RangeSet, cut: &CutRecord) -> Record {
    let layout = &ledger.layout;
    let page_size = layout.page_size();
    let sums = ledger.sums();
    let data_pages = sums.iter().map(|sum| sum.data_pages).sum();
    let freed_pages = lost.len().pages(page_size);
    let held = layout.data_len().pages(page_size);
    let shared = shared_in_file(layout.dumped_ranges(), &cut.shared);
    Record {
        page_size: u32::try_from(page_size.bytes().0).expect("a base page"),
        time_unix_ns: cut.time_unix_ns,
        tool_version: cut.tool_version.clone(),
        data_pages,
        zero_pages: held - data_pages - freed_pages,
        freed_pages,
        shared_pages: Bytes(shared.iter().map(|range| range.len().0).sum()).pages(page_size),
        freed: lost.iter().collect(),
        shared,
        sums,
    }
}

/// Returns the parts of `shared` the file holds.
fn shared_in_file(dumped: impl Iterator<Item = VaRange>, shared: &RangeSet) -> Vec<VaRange> {
    let mut out = RangeSet::new();
    for range in dumped {
        for piece in shared.within(range) {
            out.insert(piece);
        }
    }
    out.iter().collect()
}
