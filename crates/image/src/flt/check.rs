//! Checks an image end to end: every layer, every block, every chunk, every byte.
//!
//! What can be read and is wrong is a [`Problem`]; the check goes on behind it, so that one report
//! says how much is lost.

use std::collections::BTreeMap;

use faultless_pages::Bytes;
use serde::Serialize;

use super::digest::Digest;
use super::error::ReadError;
use super::footer::{Counts, HEAD_LEN};
use super::index::{BITMAP_LEN, BLOCK_CHUNKS, Entry, Place, has};
use super::layer::Layer;
use super::reader::{Found, Image, Scratch};
use crate::core::Problem;

/// Bytes read at a time for the digest of the index.
const PIECE: u64 = 1 << 20;
/// Problems reported; an image with more is simply broken.
const PROBLEMS_MAX: usize = 100;

/// What checking an image found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CheckReport {
    /// Layers that were read.
    pub layers: u64,
    /// Stored chunks that were read and compared with their digests.
    pub chunks: u64,
    /// Everything that is wrong, at most 100 entries.
    pub problems: Vec<Problem>,
}

impl CheckReport {
    /// Says whether nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike")]
    fn problem(&mut self, what: String, expected: impl ToString, found: impl ToString) {
        if self.problems.len() < PROBLEMS_MAX {
            let (expected, found) = (expected.to_string(), found.to_string());
            self.problems.push(Problem { what, expected, found });
        }
    }

    /// Takes what is wrong as a problem, and what cannot be read as an error.
    fn take<T>(&mut self, result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Malformed { object, offset, field, expected, found }) => {
                self.problem(format!("{field} in {object} at {offset:#x}"), expected, found);
                Ok(None)
            }
            Err(ReadError::Damaged { object, chunk, offset, digest }) => {
                let what = format!("chunk {chunk} in {object} at {offset:#x}");
                self.problem(what, format!("content with digest {digest}"), "something else");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Chunks of a layer by offset.
type Stored = BTreeMap<u64, (Place, Digest)>;

/// What the entries of one layer amount to.
#[derive(Default)]
struct Tally {
    counts: Counts,
    stored: Stored,
    stored_bytes: u64,
}

impl Image {
    /// Reads all layers and checks everything that can be: `progress` hears how many bytes of
    /// objects were passed, of all of them, and ends the check by returning `false`.
    ///
    /// # Errors
    /// [`ReadError`] if an object cannot be read; `None` if `progress` ended it.
    pub fn check(
        &self,
        mut progress: impl FnMut(Bytes) -> bool,
    ) -> Result<Option<CheckReport>, ReadError> {
        let mut report = CheckReport::default();
        let mut passed = 0;
        for number in 0..self.layers.len() {
            let layer = &self.layers[number];
            check_id(layer, &mut report)?;
            let mut tally = Tally::default();
            for block in 0..layer.footer.blocks() {
                self.check_block(number, block, &mut tally, &mut report)?;
                if !progress(Bytes(passed + tally.stored_bytes)) {
                    return Ok(None);
                }
            }
            check_tally(layer, &tally, &mut report);
            passed += layer.len();
            report.layers += 1;
        }
        Ok(Some(report))
    }

    fn check_block(
        &self,
        number: usize,
        block: u64,
        tally: &mut Tally,
        report: &mut CheckReport,
    ) -> Result<(), ReadError> {
        let layer = &self.layers[number];
        let Some(bitmap) = report.take(layer.occupied(block))? else {
            return Ok(());
        };
        for slot in (0..BITMAP_LEN * 8).filter(|&slot| has(&bitmap, slot)) {
            let chunk = block * BLOCK_CHUNKS + slot as u64;
            match report.take(layer.entry(chunk))? {
                Some(Some(entry)) => self.check_entry(number, chunk, entry, tally, report)?,
                Some(None) => {
                    let what = format!("chunk {chunk} in {}", layer.name);
                    report.problem(what, format!("below {}", layer.chunks()), "an entry");
                }
                None => {}
            }
        }
        Ok(())
    }

    fn check_entry(
        &self,
        number: usize,
        chunk: u64,
        entry: Entry,
        tally: &mut Tally,
        report: &mut CheckReport,
    ) -> Result<(), ReadError> {
        let Some(found) = report.take(self.resolve(number, entry))? else {
            return Ok(());
        };
        let Found::Data { layer, place, digest } = found else {
            tally.counts.filled += 1;
            return Ok(());
        };
        if layer == number {
            if tally.stored.get(&place.offset) == Some(&(place, digest)) {
                tally.counts.shared += 1;
                return Ok(());
            }
            tally.counts.stored += 1;
            tally.stored.insert(place.offset, (place, digest));
            tally.stored_bytes += u64::from(place.len);
        } else {
            tally.counts.shared += 1;
        }
        let mut content = self.chunk_size().buffer();
        let read = self.read_chunk(chunk, found, &mut content, &mut Scratch::default());
        report.chunks += u64::from(report.take(read)?.is_some());
        Ok(())
    }
}

/// Compares the index and the tables with the id.
fn check_id(layer: &Layer, report: &mut CheckReport) -> Result<(), ReadError> {
    let mut hasher = blake3::Hasher::new();
    let (mut at, end) = (layer.footer.index_at, layer.footer.at());
    let mut buffer = Vec::new();
    while at < end {
        let len = (end - at).min(PIECE);
        buffer.resize(Bytes(len).as_usize(), 0);
        layer.bytes().read(&mut buffer, at, "index")?;
        hasher.update(&buffer);
        at += len;
    }
    let found = layer.footer.identify(hasher);
    if found != layer.footer.id {
        report.problem(format!("id of {}", layer.name), layer.footer.id, found);
    }
    Ok(())
}

/// Checks that the stored chunks fill their part of the object, and are as many as it says.
fn check_tally(layer: &Layer, tally: &Tally, report: &mut CheckReport) {
    if tally.counts != layer.footer.counts {
        let (expected, found) = (layer.footer.counts, tally.counts);
        let what = format!("counts of {}", layer.name);
        report.problem(what, format!("{expected:?}"), format!("{found:?}"));
    }
    let mut end = HEAD_LEN as u64;
    for (&offset, (place, _)) in &tally.stored {
        if offset != end {
            let what = format!("chunk at {offset:#x} in {}", layer.name);
            report.problem(what, format!("one at {end:#x}"), format!("one at {offset:#x}"));
        }
        end = offset.saturating_add(place.len.into());
    }
    if end != layer.footer.index_at {
        let what = format!("end of the chunks in {}", layer.name);
        report.problem(what, format!("{:#x}", layer.footer.index_at), format!("{end:#x}"));
    }
}
