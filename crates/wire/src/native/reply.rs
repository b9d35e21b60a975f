//! What the server says, and how a client takes it in.

use std::collections::VecDeque;
use std::fmt;

use faultless_pages::{Bytes, VaRange};

use super::call::decode_range;
use super::fields::{Fields, malformed};
use super::frame::{PAYLOAD_LEN_MAX, frame, split};
use super::{FLAG_SHARE, VERSION, extent};
use crate::{FDS_MAX, Refusal};

const WELCOME: u16 = 129;
const READY: u16 = 130;
const REFUSED: u16 = 131;
const LOST: u16 = 132;

/// Most bytes of words.
const WORDS_LEN_MAX: usize = 1024;

/// Why pages are lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Loss {
    /// What holds the image could not be read.
    Unreadable,
    /// What was read is not what was written.
    Corrupt,
    /// A reason of a later version.
    Other(u32),
}

impl Loss {
    fn number(self) -> u32 {
        match self {
            Loss::Unreadable => 1,
            Loss::Corrupt => 2,
            Loss::Other(number) => number,
        }
    }

    fn from_number(number: u32) -> Loss {
        match number {
            1 => Loss::Unreadable,
            2 => Loss::Corrupt,
            number => Loss::Other(number),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Unreadable => write!(f, "the image could not be read"),
            Loss::Corrupt => write!(f, "the image is corrupt"),
            Loss::Other(number) => write!(f, "reason {number}"),
        }
    }
}

/// The answer to a hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The version that is spoken from here on.
    pub version: u32,
    /// Whether shared memory comes along.
    pub share: bool,
    /// How much memory the image holds.
    pub image: Bytes,
}

/// A message of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The client may attach.
    Welcome(Welcome),
    /// Faults are served from now on.
    Ready,
    /// The client is refused, in words; the server closes.
    Refused(String),
    /// This memory raises `SIGBUS`: its content cannot be had.
    Lost(VaRange, Loss),
}

impl Reply {
    /// Welcomes a client in this version of the protocol.
    #[must_use]
    pub fn welcome(image: Bytes, share: bool) -> Reply {
        Reply::Welcome(Welcome { version: VERSION, share, image })
    }

    /// Puts a refusal into words.
    #[must_use]
    pub fn refused(why: &dyn fmt::Display) -> Reply {
        Reply::Refused(why.to_string())
    }

    /// Makes the bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Reply::Welcome(welcome) => {
                let flags = if welcome.share { FLAG_SHARE } else { 0 };
                let mut payload = [welcome.version.to_le_bytes(), flags.to_le_bytes()].concat();
                payload.extend(welcome.image.0.to_le_bytes());
                frame(WELCOME, &payload)
            }
            Reply::Ready => frame(READY, &[]),
            Reply::Refused(words) => {
                frame(REFUSED, &words.as_bytes()[..words.floor_char_boundary(WORDS_LEN_MAX)])
            }
            Reply::Lost(range, loss) => {
                let numbers = [range.start().0.to_le_bytes(), range.len().0.to_le_bytes()];
                let mut payload = numbers.concat();
                payload.extend(loss.number().to_le_bytes());
                frame(LOST, &payload)
            }
        }
    }

    fn decode(message: &[u8]) -> Result<Reply, Refusal> {
        let (kind, payload) = split(message);
        let mut fields = Fields(payload);
        let reply = match kind {
            WELCOME => decode_welcome(&mut fields)?,
            READY => Reply::Ready,
            REFUSED => return decode_words(payload),
            LOST => {
                let range = decode_range(&mut fields)?;
                Reply::Lost(range, Loss::from_number(fields.u32()?))
            }
            kind => return Err(malformed(format!("no server says kind {kind}"))),
        };
        fields.end()?;
        Ok(reply)
    }
}

fn decode_welcome(fields: &mut Fields<'_>) -> Result<Reply, Refusal> {
    let (version, flags) = (fields.u32()?, fields.u32()?);
    if version != VERSION {
        return Err(malformed(format!("welcome in version {version}, which was not offered")));
    }
    let image = Bytes(fields.u64()?);
    Ok(Reply::Welcome(Welcome { version, share: flags & FLAG_SHARE != 0, image }))
}

fn decode_words(payload: &[u8]) -> Result<Reply, Refusal> {
    if payload.len() > WORDS_LEN_MAX {
        return Err(Refusal::TooLong { len: payload.len() as u64 });
    }
    let words = std::str::from_utf8(payload).map_err(|error| malformed(error.to_string()))?;
    Ok(Reply::Refused(words.to_owned()))
}

/// What a server has said so far; descriptors are of any type.
#[derive(Clone, Debug)]
pub struct Replies<F> {
    bytes: Vec<u8>,
    fds: VecDeque<F>,
}

impl<F> Default for Replies<F> {
    fn default() -> Replies<F> {
        Replies { bytes: Vec::new(), fds: VecDeque::new() }
    }
}

impl<F> Replies<F> {
    /// Takes what came.
    ///
    /// # Errors
    /// [`Refusal::TooLong`] and [`Refusal::DescriptorFlood`] if replies were not taken out in
    /// between, or the server sends too much.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        fds: impl IntoIterator<Item = F>,
    ) -> Result<(), Refusal> {
        let len = self.bytes.len() + bytes.len();
        if len > 2 * PAYLOAD_LEN_MAX {
            return Err(Refusal::TooLong { len: len as u64 });
        }
        self.bytes.extend_from_slice(bytes);
        self.fds.extend(fds);
        if self.fds.len() > FDS_MAX {
            return Err(Refusal::DescriptorFlood);
        }
        Ok(())
    }

    /// Takes a reply out once it is whole, with the descriptor that is granted in it.
    ///
    /// # Errors
    /// [`Refusal`] for what no server says.
    pub fn next_reply(&mut self) -> Result<Option<(Reply, Option<F>)>, Refusal> {
        let Some(len) = extent(&self.bytes)? else {
            return Ok(None);
        };
        let reply = Reply::decode(&self.bytes[..len])?;
        let shares = matches!(&reply, Reply::Welcome(welcome) if welcome.share);
        let fd = if shares { self.fds.pop_front() } else { None };
        if shares && fd.is_none() {
            return Err(malformed("shared memory is granted and does not come along"));
        }
        if !self.fds.is_empty() {
            return Err(Refusal::TooManyDescriptors {
                found: self.fds.len() + usize::from(shares),
                expected: usize::from(shares),
            });
        }
        self.bytes.drain(..len);
        Ok(Some((reply, fd)))
    }
}
