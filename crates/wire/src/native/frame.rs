//! The header every message begins with.

use super::fields::malformed;
use crate::{Dialect, REGIONS_MAX, Refusal};

/// The first bytes of every message.
pub const MAGIC: [u8; 4] = *b"FLTW";
/// The longest payload: the regions of the largest layout.
pub const PAYLOAD_LEN_MAX: usize = 8 + REGIONS_MAX * 32;
pub(crate) const HEADER_LEN: usize = 16;
/// The version of the frames; it changes only if this header does.
const FRAME_VERSION: u16 = 1;

/// Makes a message.
pub(super) fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("bounded by what is encoded");
    let mut out = Vec::with_capacity(HEADER_LEN + payload.len());
    out.extend(MAGIC);
    out.extend(FRAME_VERSION.to_le_bytes());
    out.extend(kind.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    out.extend(payload);
    out
}

/// Splits a whole message into its kind and its payload.
pub(super) fn split(message: &[u8]) -> (u16, &[u8]) {
    (u16::from_le_bytes([message[6], message[7]]), &message[HEADER_LEN..])
}

/// Returns how long the message is that `bytes` begin with; `None` until that is known and all
/// of it is there.
pub(crate) fn extent(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let [a, b, c, d, v0, v1, _, _, l0, l1, l2, l3, zero @ ..] = *header;
    if [a, b, c, d] != MAGIC {
        return Err(malformed("a message does not begin with FLTW"));
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version != FRAME_VERSION {
        return Err(Refusal::Version {
            dialect: Dialect::Native,
            found: version.into(),
            spoken: FRAME_VERSION.into(),
        });
    }
    if zero != [0; 4] {
        return Err(malformed("the last bytes of the header are not zero"));
    }
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    match usize::try_from(len) {
        Ok(payload) if payload <= PAYLOAD_LEN_MAX => {
            Ok(Some(HEADER_LEN + payload).filter(|len| *len <= bytes.len()))
        }
        _ => Err(Refusal::TooLong { len: len.into() }),
    }
}
