//! The notes of a core.

use super::super::elf::{note, u32_at};
use super::super::machine::Machine;
use super::super::notes::{MappedFile, PsInfo, decode_files, decode_psinfo, decode_status};
use super::super::record::{
    NOTE_CUT, NOTE_FREED, NOTE_SEAL, NOTE_SHARED, NOTE_SUMS, OWNER, Record, Seal, decode_ranges,
};
use super::error::Reader;
use super::{ReadError, Thread};
use faultless_pages::Va;

/// Notes of one core: a hundred thousand threads with ten register sets each.
const NOTES_MAX: usize = 1 << 20;
/// The longest owner; longer ones are nobody's we know.
const OWNER_MAX: u64 = 64;

/// Where the content of a note lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct NoteSpan {
    pub(in super::super) offset: u64,
    pub(in super::super) len: u64,
}

#[derive(Default)]
pub(super) struct Found {
    pub(super) threads: Vec<Thread>,
    pub(super) process: Option<PsInfo>,
    pub(super) auxv: Vec<u8>,
    pub(super) files: Vec<MappedFile>,
    pub(super) record: Option<Record>,
    /// Everything that is not ours; neighbours joined.
    pub(super) foreign: Vec<NoteSpan>,
    /// The seal, and (start, end) of the notes before it.
    pub(super) seal: Option<(Seal, u64, u64)>,
}

/// Reads all notes of the note segments, given as (offset, length).
pub(super) fn read(
    reader: &Reader,
    machine: Machine,
    segments: &[(u64, u64)],
) -> Result<Found, ReadError> {
    let mut found = Found::default();
    let mut count = 0;
    for &(start, len) in segments {
        let end =
            start.checked_add(len).filter(|&end| end <= reader.source.len()).ok_or_else(|| {
                let expected = format!("{len} bytes");
                reader.malformed(start, "notes", expected, "the end of the core")
            })?;
        let mut at = start;
        while at + 12 <= end {
            count += 1;
            if count > NOTES_MAX {
                let expected = format!("at most {NOTES_MAX} notes");
                return Err(reader.malformed(at, "notes", expected, "one more"));
            }
            let note = header(reader, at, end)?;
            if note.owner != OWNER.as_bytes() {
                found.keep(at, note.end.min(end));
            }
            found.add(reader, machine, start, at, &note)?;
            at = note.end;
        }
    }
    Ok(found)
}

struct Note {
    /// Empty if it is too long to be known.
    owner: Vec<u8>,
    kind: u32,
    desc: NoteSpan,
    /// Where the next note starts.
    end: u64,
}

fn header(reader: &Reader, at: u64, segment_end: u64) -> Result<Note, ReadError> {
    let mut words = [0; 12];
    reader.read(&mut words, at, "note header")?;
    let name_len = u64::from(u32_at(&words, 0));
    let desc_len = u64::from(u32_at(&words, 4));
    let desc = at + 12 + name_len.next_multiple_of(4);
    let end = desc + desc_len.next_multiple_of(4);
    // The last note's padding may be missing: some writers leave it out.
    if desc + desc_len > segment_end {
        let expected = format!("a note that ends before {segment_end:#x}");
        let found = format!("a name of {name_len} and content of {desc_len} bytes");
        return Err(reader.malformed(at, "note header", expected, found));
    }
    let mut owner = Vec::new();
    if name_len <= OWNER_MAX {
        owner.resize(usize::try_from(name_len).expect("at most 64"), 0);
        reader.read(&mut owner, at + 12, "note owner")?;
    }
    while owner.last() == Some(&0) {
        owner.pop();
    }
    Ok(Note { owner, kind: u32_at(&words, 8), desc: NoteSpan { offset: desc, len: desc_len }, end })
}

impl Found {
    fn keep(&mut self, start: u64, end: u64) {
        match self.foreign.last_mut() {
            Some(last) if last.offset + last.len == start => last.len = end - last.offset,
            _ => self.foreign.push(NoteSpan { offset: start, len: end - start }),
        }
    }

    fn add(
        &mut self,
        reader: &Reader,
        machine: Machine,
        first: u64,
        at: u64,
        note: &Note,
    ) -> Result<(), ReadError> {
        if note.owner == OWNER.as_bytes() {
            return self.add_ours(reader, first, at, note);
        }
        if note.owner != note::OWNER_CORE.as_bytes() && note.owner != note::OWNER_LINUX.as_bytes() {
            return Ok(());
        }
        let at = note.desc.offset;
        match note.kind {
            note::PRSTATUS => {
                let bytes = reader.note(&note.desc)?;
                self.threads.push(thread(reader, machine, at, &bytes)?);
            }
            note::PRPSINFO => self.process = decode_psinfo(&reader.note(&note.desc)?),
            note::AUXV => self.auxv = reader.note(&note.desc)?,
            note::FILE => {
                let bytes = reader.note(&note.desc)?;
                self.files = decode_files(&bytes).map_err(|bad| reader.bad_field(at, bad))?;
            }
            kind => {
                if let Some(thread) = self.threads.last_mut() {
                    thread.regsets.push((kind, note.desc));
                }
            }
        }
        Ok(())
    }

    fn add_ours(
        &mut self,
        reader: &Reader,
        first: u64,
        at: u64,
        note: &Note,
    ) -> Result<(), ReadError> {
        let bytes = reader.note(&note.desc)?;
        let bad_field = |bad| reader.bad_field(note.desc.offset, bad);
        if note.kind == NOTE_CUT {
            let record = self.record.get_or_insert_default();
            return record.decode_cut(&bytes).map_err(bad_field);
        }
        let Some(record) = &mut self.record else {
            return Err(reader.malformed(at, "note", "the cut note first", note.kind.to_string()));
        };
        match note.kind {
            NOTE_FREED => {
                record.freed = decode_ranges("freed ranges", &bytes).map_err(bad_field)?;
            }
            NOTE_SHARED => {
                record.shared = decode_ranges("shared ranges", &bytes).map_err(bad_field)?;
            }
            NOTE_SUMS => record.decode_sums(&bytes).map_err(bad_field)?,
            NOTE_SEAL => self.seal = Some((Seal::decode(&bytes).map_err(bad_field)?, first, at)),
            // A later version may say more.
            _ => {}
        }
        Ok(())
    }
}

fn thread(reader: &Reader, machine: Machine, at: u64, bytes: &[u8]) -> Result<Thread, ReadError> {
    let Some(status) = decode_status(machine, bytes) else {
        let expected = format!("a struct elf_prstatus of {machine}");
        let found = format!("{} bytes", bytes.len());
        return Err(reader.malformed(at, "thread status", expected, found));
    };
    Ok(Thread {
        tid: status.tid,
        signal: status.signo,
        pc: Va(status.general[machine.pc_index()]),
        sp: Va(status.general[machine.sp_index()]),
        general: status.general,
        regsets: Vec::new(),
    })
}
