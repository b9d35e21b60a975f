//! What a peer has said so far, and the whole messages in it.
//!
//! Bytes come in pieces of any size, descriptors with the first byte of what they belong to or,
//! as some VMMs were seen to do, a little later. So a message that needs a descriptor waits for it;
//! it is refused as soon as anything else follows, or the peer ends.

use std::collections::VecDeque;

use faultless_pages::VaRange;

use crate::cloud_hypervisor::handoff::{self, PREFIX_LEN};
use crate::json::Scanner;
use crate::native::{self, Call};
use crate::{Dialect, Layout, Refusal, firecracker, nydus};

/// The longest message: far more than the regions of any VM take.
pub const MESSAGE_LEN_MAX: usize = 256 << 10;
/// Most descriptors that wait for their message.
pub const FDS_MAX: usize = 4;

/// What a peer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<F> {
    /// A client of the own protocol says what it can do and waits to be welcomed.
    Hello(native::Hello),
    /// Memory is handed over.
    Attach(Attach<F>),
    /// More memory on the userfaultfd handed over last.
    AddRegions(Layout),
    /// Memory that is about to be touched.
    Prefetch(VaRange),
    /// The peer leaves, its memory unregistered.
    Bye,
}

/// Memory handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attach<F> {
    /// Which memory shows which bytes of the image.
    pub layout: Layout,
    /// The userfaultfd on which it is registered.
    pub uffd: F,
    /// The memfd behind the memory, where the peer sends it.
    pub memory: Option<F>,
    /// Who the peer says it is. Only a hint: credentials come from the socket.
    pub claimed_pid: Option<u32>,
    /// Fill all memory without waiting for faults.
    pub prefault: bool,
}

/// How far the conversation has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Opening,
    Greeted,
    Attached,
    Left,
}

/// One peer's side of a connection.
#[derive(Clone, Debug)]
pub struct Conversation<F> {
    dialect: Option<Dialect>,
    stage: Stage,
    bytes: Vec<u8>,
    fds: VecDeque<F>,
    /// How far the first message in `bytes` was looked at, where its end must be looked for.
    scanner: Scanner,
    /// How long the first message in `bytes` is if it is whole and only its descriptor is missing.
    waits: Option<usize>,
}

impl<F> Default for Conversation<F> {
    fn default() -> Conversation<F> {
        Conversation::new()
    }
}

impl<F> Conversation<F> {
    /// Begins with nothing said.
    #[must_use]
    pub fn new() -> Conversation<F> {
        Conversation {
            dialect: None,
            stage: Stage::Opening,
            bytes: Vec::new(),
            fds: VecDeque::new(),
            scanner: Scanner::default(),
            waits: None,
        }
    }

    /// Returns the protocol, once enough was said to tell.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Takes what came. Requests are to be taken out before more is received.
    ///
    /// # Errors
    /// [`Refusal::TooLong`], [`Refusal::DescriptorFlood`]. Descriptors are dropped with the
    /// conversation.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        fds: impl IntoIterator<Item = F>,
    ) -> Result<(), Refusal> {
        let len = self.bytes.len() + bytes.len();
        if len > MESSAGE_LEN_MAX {
            return Err(Refusal::TooLong { len: len as u64 });
        }
        self.bytes.extend_from_slice(bytes);
        self.fds.extend(fds);
        if self.fds.len() > FDS_MAX {
            return Err(Refusal::DescriptorFlood);
        }
        Ok(())
    }

    /// Takes a request out once it is whole.
    ///
    /// # Errors
    /// [`Refusal`] for whatever is wrong; nothing sensible can follow it.
    pub fn next_request(&mut self) -> Result<Option<Request<F>>, Refusal> {
        if self.dialect.is_none() {
            self.dialect = Dialect::sniff(&self.bytes)?;
        }
        let Some(dialect) = self.dialect else {
            return Ok(None);
        };
        let len = match self.waits {
            Some(len) => Some(len),
            None => self.extent(dialect)?,
        };
        let Some(len) = len else {
            return Ok(None);
        };
        let said = decode(dialect, &self.bytes[..len])?;
        self.check_order(&said)?;
        if said.needs_fd() && self.fds.is_empty() {
            self.waits = Some(len);
            // Nothing may come in between: the descriptor belongs to this message.
            let more = self.bytes.len() > len;
            return if more { Err(Refusal::NoDescriptor(dialect)) } else { Ok(None) };
        }
        let request = self.pair(dialect, said)?;
        self.bytes.drain(..len);
        self.scanner = Scanner::default();
        self.waits = None;
        Ok(Some(request))
    }

    /// Says what is wrong if nothing more comes: the peer has closed, or is silent for too long.
    ///
    /// # Errors
    /// [`Refusal::Silent`], [`Refusal::Truncated`], [`Refusal::NoDescriptor`].
    pub fn end(&self) -> Result<(), Refusal> {
        match self.dialect {
            _ if self.bytes.is_empty() && self.stage == Stage::Opening => Err(Refusal::Silent),
            _ if self.bytes.is_empty() => Ok(()),
            Some(dialect) if self.waits.is_some() => Err(Refusal::NoDescriptor(dialect)),
            _ => Err(Refusal::Truncated { have: self.bytes.len() }),
        }
    }

    /// Returns how long the first message is, once it is whole.
    fn extent(&mut self, dialect: Dialect) -> Result<Option<usize>, Refusal> {
        match dialect {
            Dialect::Firecracker => self.json_extent(dialect, b'['),
            Dialect::Nydus => self.json_extent(dialect, b'{'),
            Dialect::Handoff => handoff::extent(&self.bytes),
            Dialect::Native => native::extent(&self.bytes),
        }
    }

    fn json_extent(&mut self, dialect: Dialect, bracket: u8) -> Result<Option<usize>, Refusal> {
        let blank = self.bytes.len() - self.bytes.trim_ascii_start().len();
        self.bytes.drain(..blank);
        match self.bytes.first() {
            None => Ok(None),
            Some(first) if *first != bracket => {
                Err(Refusal::malformed(dialect, "what follows a message does not begin as one"))
            }
            Some(_) => self
                .scanner
                .end_of(&self.bytes)
                .map_err(|_| Refusal::malformed(dialect, "nested too deep")),
        }
    }

    /// Checks that the message may come now.
    fn check_order(&self, said: &Said) -> Result<(), Refusal> {
        let ok = match said {
            Said::Hello(_) => self.stage == Stage::Opening,
            Said::Attach { again, .. } => match self.stage {
                Stage::Opening => self.dialect != Some(Dialect::Native),
                Stage::Greeted => true,
                Stage::Attached => *again,
                Stage::Left => false,
            },
            Said::AddRegions(_) | Said::Prefetch(_) | Said::Bye => self.stage == Stage::Attached,
        };
        if ok { Ok(()) } else { Err(Refusal::OutOfOrder { what: said.name() }) }
    }

    /// Gives a message its descriptors.
    fn pair(&mut self, dialect: Dialect, said: Said) -> Result<Request<F>, Refusal> {
        let (found, expected) = (self.fds.len(), said.fds_meant(dialect));
        if dialect == Dialect::Firecracker && found == firecracker::FDS_SECRET_FREE {
            return Err(firecracker::secret_free());
        }
        if found > expected {
            return Err(Refusal::TooManyDescriptors { found, expected });
        }
        Ok(match said {
            Said::Hello(hello) => {
                self.stage = Stage::Greeted;
                Request::Hello(hello)
            }
            Said::Attach { layout, claimed_pid, prefault, .. } => {
                self.stage = Stage::Attached;
                let uffd = self.fds.pop_front().ok_or(Refusal::NoDescriptor(dialect))?;
                let memory = self.fds.pop_front();
                Request::Attach(Attach { layout, uffd, memory, claimed_pid, prefault })
            }
            Said::AddRegions(layout) => Request::AddRegions(layout),
            Said::Prefetch(range) => Request::Prefetch(range),
            Said::Bye => {
                self.stage = Stage::Left;
                Request::Bye
            }
        })
    }
}

/// A message without its descriptors.
#[derive(Debug)]
enum Said {
    Hello(native::Hello),
    Attach { layout: Layout, claimed_pid: Option<u32>, prefault: bool, again: bool },
    AddRegions(Layout),
    Prefetch(VaRange),
    Bye,
}

impl Said {
    fn needs_fd(&self) -> bool {
        matches!(self, Said::Attach { .. })
    }

    fn fds_meant(&self, dialect: Dialect) -> usize {
        match (self, dialect) {
            (Said::Attach { .. }, Dialect::Firecracker) => firecracker::FDS_MEANT,
            (Said::Attach { .. }, Dialect::Native) => 2,
            (Said::Attach { .. }, _) => 1,
            _ => 0,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Said::Hello(_) => "a hello",
            Said::Attach { .. } => "memory handed over",
            Said::AddRegions(_) => "more memory",
            Said::Prefetch(_) => "a wish to prefetch",
            Said::Bye => "a bye",
        }
    }
}

fn decode(dialect: Dialect, message: &[u8]) -> Result<Said, Refusal> {
    let attach =
        |layout, prefault, again| Said::Attach { layout, claimed_pid: None, prefault, again };
    Ok(match dialect {
        Dialect::Firecracker => attach(firecracker::decode(message)?, false, true),
        Dialect::Nydus => {
            let nydus::Handshake { layout, prefault } = nydus::decode(message)?;
            attach(layout, prefault, false)
        }
        Dialect::Handoff => match handoff::decode(&message[PREFIX_LEN..])? {
            handoff::Message::Handoff { layout, pid } => {
                Said::Attach { layout, claimed_pid: pid, prefault: false, again: false }
            }
            handoff::Message::AddRegion(layout) => Said::AddRegions(layout),
        },
        Dialect::Native => match Call::decode(message)? {
            Call::Hello(hello) => Said::Hello(hello),
            Call::Attach(layout) => attach(layout, false, false),
            Call::AddRegions(layout) => Said::AddRegions(layout),
            Call::Prefetch(range) => Said::Prefetch(range),
            Call::Bye => Said::Bye,
        },
    })
}

#[cfg(test)]
mod tests;
