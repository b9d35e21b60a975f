//! What a client says.

use faultless_pages::{Bytes, Va, VaRange};

use super::fields::{Fields, malformed};
use super::frame::{frame, split};
use super::{FLAG_SHARE, VERSION};
use crate::{Claim, Layout, REGIONS_MAX, Refusal};

const HELLO: u16 = 1;
const ATTACH: u16 = 2;
const ADD_REGIONS: u16 = 3;
const PREFETCH: u16 = 4;
const BYE: u16 = 5;

/// The first thing a client says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The newest version of the protocol it speaks.
    pub version: u32,
    /// Whether it can map memory of the server.
    pub share: bool,
}

/// A message of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Who it is and what it can do.
    Hello(Hello),
    /// Its memory; the userfaultfd comes along.
    Attach(Layout),
    /// More memory on the same userfaultfd.
    AddRegions(Layout),
    /// Memory it is about to touch.
    Prefetch(VaRange),
    /// It needs no more pages and has unregistered its memory.
    Bye,
}

impl Call {
    /// The first message of this version's clients.
    #[must_use]
    pub fn hello(share: bool) -> Call {
        Call::Hello(Hello { version: VERSION, share })
    }

    /// Makes the bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Call::Hello(hello) => {
                let flags = if hello.share { FLAG_SHARE } else { 0 };
                frame(HELLO, &[hello.version.to_le_bytes(), flags.to_le_bytes()].concat())
            }
            Call::Attach(layout) => frame(ATTACH, &encode_layout(layout)),
            Call::AddRegions(layout) => frame(ADD_REGIONS, &encode_layout(layout)),
            Call::Prefetch(range) => {
                let numbers = [range.start().0.to_le_bytes(), range.len().0.to_le_bytes()];
                frame(PREFETCH, &numbers.concat())
            }
            Call::Bye => frame(BYE, &[]),
        }
    }

    /// Reads a whole message.
    pub(crate) fn decode(message: &[u8]) -> Result<Call, Refusal> {
        let (kind, payload) = split(message);
        let mut fields = Fields(payload);
        let call = match kind {
            HELLO => Call::Hello(decode_hello(&mut fields)?),
            ATTACH => Call::Attach(decode_layout(&mut fields)?),
            ADD_REGIONS => Call::AddRegions(decode_layout(&mut fields)?),
            PREFETCH => Call::Prefetch(decode_range(&mut fields)?),
            BYE => Call::Bye,
            kind => return Err(malformed(format!("no client says kind {kind}"))),
        };
        fields.end()?;
        Ok(call)
    }
}

fn decode_hello(fields: &mut Fields<'_>) -> Result<Hello, Refusal> {
    let (version, flags) = (fields.u32()?, fields.u32()?);
    if version < VERSION {
        return Err(malformed(format!("there is no version {version}")));
    }
    // Flags of later versions are wishes this one does not grant.
    Ok(Hello { version, share: flags & FLAG_SHARE != 0 })
}

fn encode_layout(layout: &Layout) -> Vec<u8> {
    let count = u32::try_from(layout.regions().len()).expect("at most 1024");
    let mut out = [count.to_le_bytes(), [0; 4]].concat();
    for claim in layout.regions().iter().map(Claim::from) {
        for number in [claim.address, claim.len, claim.offset, claim.page_size] {
            out.extend(number.to_le_bytes());
        }
    }
    out
}

fn decode_layout(fields: &mut Fields<'_>) -> Result<Layout, Refusal> {
    let (count, zero) = (fields.u32()?, fields.u32()?);
    let count = usize::try_from(count).ok().filter(|count| *count <= REGIONS_MAX);
    let (Some(count), 0) = (count, zero) else {
        return Err(malformed("a count of regions that no message holds"));
    };
    let claims = (0..count).map(|_| {
        Ok(Claim {
            address: fields.u64()?,
            len: fields.u64()?,
            offset: fields.u64()?,
            page_size: fields.u64()?,
        })
    });
    Layout::new(&claims.collect::<Result<Vec<_>, Refusal>>()?)
}

/// Reads a range; pages are rounded to by whoever knows their size.
pub(super) fn decode_range(fields: &mut Fields<'_>) -> Result<VaRange, Refusal> {
    let (start, len) = (fields.u64()?, fields.u64()?);
    let end = start.checked_add(len).filter(|_| len > 0);
    end.ok_or_else(|| malformed("a range that is empty or overflows"))
        .map(|_| VaRange::of(Va(start), Bytes(len)))
}
