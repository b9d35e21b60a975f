//! What the front and the worker say to each other.
//!
//! Over a pair of sequenced-packet sockets, one JSON object a packet, descriptors with it. Both
//! are this program, of versions that may differ by an upgrade: unknown fields are ignored.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uffd::{PassError, recv_fds, send_fds};
use faultless_wire::{Claim, Layout, Refusal};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Figures;

/// The longest packet: the largest layout takes half of it.
const PACKET_MAX: usize = 256 << 10;

/// A client, by the number the front gave it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct ClientId(pub u64);

/// What the front tells the worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Serve a client. With it come its userfaultfd and the pidfd of its process.
    Serve {
        /// Who it is from now on.
        client: ClientId,
        /// Its process.
        pid: i32,
        /// Its memory.
        regions: Vec<Piece>,
        /// What it gave up, as start and length: zeros.
        removed: Vec<(u64, u64)>,
        /// Fill all memory without waiting for faults.
        prefault: bool,
        /// Another worker served it before.
        again: bool,
    },
    /// A client has more memory.
    Add {
        /// Which.
        client: ClientId,
        /// What.
        regions: Vec<Piece>,
    },
    /// A client is about to touch memory.
    Prefetch {
        /// Which.
        client: ClientId,
        /// From where on.
        start: u64,
        /// How much.
        len: u64,
    },
    /// A client needs nothing any more.
    Leave {
        /// Which.
        client: ClientId,
    },
    /// Fill the memory of every client, and let it go.
    Finish,
    /// Report what was done.
    Report,
}

/// What the worker tells the front.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Word {
    /// The image is open and holds this much.
    Ready {
        /// Bytes of memory.
        image: u64,
    },
    /// Faults of a client are served.
    Serving {
        /// Which.
        client: ClientId,
    },
    /// A client cannot be served.
    Failed {
        /// Which.
        client: ClientId,
        /// Why.
        why: String,
    },
    /// A client has discarded memory.
    Removed {
        /// Which.
        client: ClientId,
        /// From where on.
        start: u64,
        /// How much.
        len: u64,
    },
    /// Memory of a client cannot be had.
    Lost {
        /// Which.
        client: ClientId,
        /// From where on.
        start: u64,
        /// How much.
        len: u64,
        /// Why.
        why: String,
    },
    /// A client has ended, or left.
    Gone {
        /// Which.
        client: ClientId,
    },
    /// What a client touched could not be recorded.
    Unrecorded {
        /// Why.
        why: String,
    },
    /// What was done so far.
    Figures(Figures),
}

/// A region of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Piece {
    address: u64,
    len: u64,
    offset: u64,
    page_size: u64,
}

/// Makes the form of a layout that is sent.
#[must_use]
pub fn pieces(layout: &Layout) -> Vec<Piece> {
    let piece = |claim: Claim| Piece {
        address: claim.address,
        len: claim.len,
        offset: claim.offset,
        page_size: claim.page_size,
    };
    layout.regions().iter().map(Claim::from).map(piece).collect()
}

/// Makes a layout of what was sent.
///
/// # Errors
/// [`Refusal`], if the other side is wrong.
pub fn layout(pieces: &[Piece]) -> Result<Layout, Refusal> {
    let claim = |piece: &Piece| Claim {
        address: piece.address,
        len: piece.len,
        offset: piece.offset,
        page_size: piece.page_size,
    };
    Layout::new(&pieces.iter().map(claim).collect::<Vec<_>>())
}

/// Makes a range of a start and a length; `None` where it is none.
#[must_use]
pub fn range(start: u64, len: u64) -> Option<VaRange> {
    start.checked_add(len).filter(|_| len > 0).map(|_| VaRange::of(Va(start), Bytes(len)))
}

/// Makes a packet.
#[must_use]
pub fn packet(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("the messages hold nothing that JSON cannot say")
}

/// Sends a packet; says whether the socket took it.
///
/// # Errors
/// The other side is gone.
pub fn send(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> Result<bool, PassError> {
    match send_fds(socket, packet, fds) {
        Ok(_) => Ok(true),
        Err(PassError::Send(Errno::AGAIN | Errno::NOBUFS | Errno::TOOMANYREFS)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What came from the other side.
#[derive(Debug)]
pub enum Received<M> {
    /// A message.
    Message(M, Vec<OwnedFd>),
    /// Nothing for now.
    Nothing,
    /// The other side has ended.
    Ended,
}

/// Receives a packet.
///
/// # Errors
/// What the system says; `InvalidData` for what is no message.
pub fn receive<M: DeserializeOwned>(socket: impl AsFd) -> io::Result<Received<M>> {
    let mut buffer = vec![0; PACKET_MAX];
    match recv_fds(socket, &mut buffer) {
        Ok(Some(received)) => {
            let message = serde_json::from_slice(&buffer[..received.len])?;
            Ok(Received::Message(message, received.fds))
        }
        Ok(None) | Err(PassError::Receive(Errno::CONNRESET)) => Ok(Received::Ended),
        Err(PassError::Receive(Errno::AGAIN)) => Ok(Received::Nothing),
        Err(error) => Err(io::Error::other(error)),
    }
}
