//! Fields of a payload, taken one after the other.

use crate::{Dialect, Refusal};

/// What is left of a payload.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn u32(&mut self) -> Result<u32, Refusal> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Refusal> {
        self.take().map(u64::from_le_bytes)
    }

    /// Ends the payload.
    pub(super) fn end(self) -> Result<(), Refusal> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(malformed(format!("{more} bytes too many"))),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (field, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| malformed("a field is cut short"))?;
        self.0 = rest;
        Ok(*field)
    }
}

pub(super) fn malformed(reason: impl Into<String>) -> Refusal {
    Refusal::malformed(Dialect::Native, reason)
}
