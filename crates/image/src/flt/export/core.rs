//! Makes an ELF core of an image of a process.
//!
//! ```text
//! ELF header, padded to a page | regions, at pages | notes | program headers | [section 0]
//! ```

use std::os::unix::fs::FileExt;

use faultless_pages::Bytes;

use super::super::error::WriteError;
use super::super::reader::Image;
use super::super::tables::{ElfNotes, Region};
use crate::core::checksum::is_zero;
use crate::core::elf::{
    FileHeader, PHDR_LEN, PN_XNUM, PT_LOAD, PT_NOTE, ProgramHeader, section_zero,
};
use crate::core::{self, PendingFile};

/// To what data is aligned; debuggers ask for no more.
const PAGE: u64 = 4096;

/// Writes regions and notes of an image as an ELF core, zeros as holes, and gives the file its
/// name. Every chunk is compared with its digest on the way.
///
/// `progress` hears how many bytes of memory were passed, and ends the work by returning `false`.
///
/// # Errors
/// [`WriteError::NoNotes`] if the image was not made of a core; [`WriteError`] for either side;
/// [`WriteError::Stopped`] if `progress` said so.
pub fn export_core(
    image: &Image,
    pending: PendingFile,
    mut progress: impl FnMut(Bytes) -> bool,
) -> Result<(), WriteError> {
    let object = || image.top().name.clone();
    let notes = image.notes().ok_or_else(|| WriteError::NoNotes { object: object() })?;
    let mut at = PAGE;
    let mut loads = Vec::new();
    for region in image.regions() {
        loads.push(load(region, at));
        copy(image, region, &pending, at, &mut progress)?;
        at = (at + region.held.0).next_multiple_of(PAGE);
    }
    let (header, tail) = headers(&loads, notes, at);
    write(&pending, &tail, at)?;
    write(&pending, &header, 0)?;
    Ok(pending.publish()?)
}

fn load(region: &Region, offset: u64) -> ProgramHeader {
    ProgramHeader {
        kind: PT_LOAD,
        flags: region.access.to_flags(),
        offset,
        vaddr: region.address.0,
        filesz: region.held.0,
        memsz: region.len.0,
        align: PAGE,
    }
}

/// Writes what the image holds of a region, from `at` on.
fn copy(
    image: &Image,
    region: &Region,
    pending: &PendingFile,
    at: u64,
    progress: &mut impl FnMut(Bytes) -> bool,
) -> Result<(), WriteError> {
    let mut content = image.chunk_size().buffer();
    let (start, end) = (region.offset.0, region.offset.0 + region.held.0);
    let mut from = start;
    while from < end {
        // Up to the end of a chunk, so that none is read twice.
        let to = (from + 1).next_multiple_of(image.chunk_size().bytes().0).min(end);
        let piece = &mut content[..Bytes(to - from).as_usize()];
        image.read_at(Bytes(from), piece)?;
        if !is_zero(piece) {
            write(pending, piece, at + (from - start))?;
        }
        from = to;
        if !progress(Bytes(from)) {
            return Err(WriteError::Stopped);
        }
    }
    Ok(())
}

/// Makes the file header, and what stands behind the data.
fn headers(loads: &[ProgramHeader], notes: &ElfNotes, at: u64) -> ([u8; 64], Vec<u8>) {
    let mut tail = notes.bytes.clone();
    let note = ProgramHeader {
        kind: PT_NOTE,
        flags: 0,
        offset: at,
        vaddr: 0,
        filesz: tail.len() as u64,
        memsz: 0,
        align: 4,
    };
    tail.resize(tail.len().next_multiple_of(8), 0);
    let phoff = at + tail.len() as u64;
    for header in std::iter::once(&note).chain(loads) {
        tail.extend(header.to_bytes());
    }
    let count = u32::try_from(loads.len() + 1).expect("tables of at most 256 MiB");
    let short = u16::try_from(count).ok().filter(|&count| count < PN_XNUM);
    let mut shoff = 0;
    if short.is_none() {
        shoff = phoff + u64::from(count) * PHDR_LEN as u64;
        tail.extend(section_zero(count));
    }
    let phnum = short.unwrap_or(PN_XNUM);
    (FileHeader { machine: notes.machine, phoff, shoff, phnum }.to_bytes(), tail)
}

fn write(pending: &PendingFile, bytes: &[u8], at: u64) -> Result<(), WriteError> {
    let written = pending.file().write_all_at(bytes, at);
    Ok(written.map_err(|e| core::WriteError::io(pending.path(), "write", e))?)
}
