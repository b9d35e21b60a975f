//! Memory that a page server fills as it is touched.
//!
//! [`connect`] hands a mapping over to a `faultless serve`; what comes back is [`Restored`] memory:
//! the first access to a page waits until the server has put it there. Pages given up with
//! `MADV_DONTNEED` are zeros afterwards. For C and C++ there is `include/faultless.h`.
//!
//! ```no_run
//! use faultless_pages::Bytes;
//! use faultless_uffd::Mapping;
//!
//! let mapping = Mapping::anonymous(Bytes::mib(64))?;
//! let socket = "/run/faultless/vm.socket".as_ref();
//! let memory = faultless_client::connect(socket, mapping, Bytes(0))?;
//! println!("the first byte is {}", memory.memory().load_u8(Bytes(0)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//! - The userfaultfd stays open here for as long as the memory is used: if the server dies,
//!   accesses wait, and never find zeros where content was to come.
#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "the raw pointers of C, and names that C can link to")]
pub mod c;
mod error;
mod session;

use std::path::Path;

use faultless_pages::{Bytes, VaRange};
use faultless_uffd::{Features, Mapping, Missing, OpenOptions, Uffd, Wanted};
use faultless_wire::{Claim, Layout};

pub use error::ConnectError;
pub use session::Lost;
use session::Session;

/// Memory of this process that a page server fills.
///
/// Dropping it tells the server that it is not needed any more, and unmaps it.
#[derive(Debug)]
pub struct Restored {
    // In this order: the server lets go before the memory is unmapped.
    session: Session,
    memory: Mapping,
    _uffd: Uffd,
}

/// Hands `mapping` over to the server at `socket`, to be filled from `offset` of its image on.
///
/// # Errors
/// [`ConnectError`]; the mapping is unmapped then.
pub fn connect(socket: &Path, mapping: Mapping, offset: Bytes) -> Result<Restored, ConnectError> {
    let (mut session, _) = Session::open(socket)?;
    let uffd = open()?;
    let registration = uffd.register(&mapping, Missing)?;
    // From here on the memory is the server's to fill; it lets go of it by closing.
    std::mem::forget(registration);
    let layout = layout(mapping.range(), offset, mapping.page_size().bytes())?;
    session.attach(layout, &uffd)?;
    Ok(Restored { session, memory: mapping, _uffd: uffd })
}

impl Restored {
    /// Returns the memory. Every access may wait for the server, and raises `SIGBUS` where the
    /// content is lost.
    #[must_use]
    pub fn memory(&self) -> &Mapping {
        &self.memory
    }

    /// Tells the server that `len` bytes from `offset` on are about to be touched.
    ///
    /// # Errors
    /// [`ConnectError`] if the server is gone; the memory is as it was.
    pub fn prefetch(&mut self, offset: Bytes, len: Bytes) -> Result<(), ConnectError> {
        self.session.prefetch(self.memory.range_of(offset, len))
    }

    /// Returns memory the server has told to be lost since this was asked last. Never waits.
    ///
    /// # Errors
    /// [`ConnectError`] if the server is gone.
    pub fn lost(&mut self) -> Result<Vec<Lost>, ConnectError> {
        self.session.lost()
    }
}

/// Opens a userfaultfd that tells what the program discards.
fn open() -> Result<Uffd, ConnectError> {
    let unbound = Uffd::open(&OpenOptions::default()).or_else(|_| {
        // Then a system call that meets a missing page fails with EFAULT instead of waiting.
        Uffd::open(&OpenOptions { user_mode_only: true, ..OpenOptions::default() })
    })?;
    let wanted = Wanted { required: Features::EVENT_REMOVE, ..Wanted::default() };
    unbound.handshake(wanted).map_err(ConnectError::from)
}

fn layout(memory: VaRange, offset: Bytes, page_size: Bytes) -> Result<Layout, ConnectError> {
    let claim = Claim {
        address: memory.start().0,
        len: memory.len().0,
        offset: offset.0,
        page_size: page_size.0,
    };
    Layout::new(&[claim]).map_err(ConnectError::Protocol)
}
