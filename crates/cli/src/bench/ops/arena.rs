//! The descriptor and the memory all operations work on.
//!
//! [`Arena`] owns them; operations borrow. Each operation has memory of its own, so that none finds
//! the page tables another left. All of it declines huge pages: the unit of cost is a 4 KiB page.

use faultless_pages::Bytes;
use faultless_uffd::{
    Advice, Features, MapError, Mapping, OpenOptions, Outcome, Situation, Uffd, Wanted,
};

use crate::exit::{Exit, Failure};

/// All that the operations need of the kernel. Events are left out: an unread one would hold back
/// the very operations under test.
const FEATURES: Features = Features::PAGEFAULT_FLAG_WP
    .union(Features::MISSING_SHMEM)
    .union(Features::MINOR_SHMEM)
    .union(Features::MOVE);

/// What operations are made of.
pub(super) struct Arena {
    pub(super) uffd: Uffd,
    /// What each operation fills, moves or protects in one sample.
    pub(super) len: Bytes,
    /// What pages are filled with: not zero, and not all alike.
    pub(super) content: Vec<u8>,
    /// Destination of COPY.
    pub(super) copied: Mapping,
    /// Destination of ZEROPAGE.
    pub(super) zeroed: Mapping,
    /// Two halves, between which MOVE takes pages to and fro.
    pub(super) recycled: Mapping,
    /// Where pages are allocated, not registered ...
    pub(super) fresh: Mapping,
    /// ... to be moved here.
    pub(super) moved: Mapping,
    /// A file in memory whose pages are all in the page cache, for CONTINUE.
    pub(super) cached: Mapping,
    /// Memory that WRITEPROTECT protects.
    pub(super) protected: Mapping,
    /// Memory that WRITEPROTECT unprotects.
    pub(super) unprotected: Mapping,
    /// Memory for first touches, not registered.
    pub(super) touched: Mapping,
}

impl Arena {
    /// Opens a userfaultfd and maps the memory.
    ///
    /// # Errors
    /// [`Exit::Host`] if either is not to be had.
    pub(super) fn new(len: Bytes) -> Result<Arena, Failure> {
        let wanted = Wanted { required: Features::empty(), optional: FEATURES };
        let unbound = Uffd::open(&OpenOptions::default())
            .map_err(|error| Failure::new(Exit::Host, error).next("ask `faultless doctor`"))?;
        let uffd = unbound.handshake(wanted).map_err(|error| Failure::new(Exit::Host, error))?;
        Ok(Arena {
            uffd,
            len,
            content: (0..len.0).map(|at| (at % 251 + 1).to_ne_bytes()[0]).collect(),
            copied: map(len)?,
            zeroed: map(len)?,
            recycled: map(Bytes(len.0 * 2))?,
            fresh: map(len)?,
            moved: map(len)?,
            cached: filled(Mapping::memfd(len).map_err(|error| memory(&error))?),
            protected: filled(map(len)?),
            unprotected: filled(map(len)?),
            touched: map(len)?,
        })
    }

    /// Says whether the kernel granted a feature.
    pub(super) fn has(&self, feature: Features) -> bool {
        self.uffd.features().contains(feature)
    }
}

/// Maps private memory of 4 KiB pages.
///
/// # Errors
/// [`Exit::Host`] if the host has no room for it.
pub(super) fn map(len: Bytes) -> Result<Mapping, Failure> {
    Mapping::builder(len).huge_pages(false).anonymous().map_err(|error| memory(&error))
}

/// Empties a mapping: the next access or operation finds no page.
///
/// # Errors
/// [`Exit::Host`] if the kernel refuses.
pub(super) fn empty(mapping: &Mapping) -> Result<(), Failure> {
    mapping.advise(mapping.range(), Advice::DontNeed).map_err(|error| memory(&error))
}

/// Repeats an operation on what is left of `len` until all is done.
///
/// # Errors
/// [`Exit::Host`] if it stops for a reason that does not pass.
pub(super) fn complete(
    name: &str,
    len: Bytes,
    mut operation: impl FnMut(Bytes, Bytes) -> Outcome,
) -> Result<(), Failure> {
    let mut done = Bytes::ZERO;
    loop {
        let outcome = operation(done, Bytes(len.0 - done.0));
        done.0 += outcome.done.0;
        match outcome.stopped {
            None => return Ok(()),
            Some(Situation::Retry(_)) => {}
            Some(situation) => {
                return Err(Failure::new(Exit::Host, format_args!("{name}: {situation}")));
            }
        }
    }
}

/// Reports that memory cannot be had or changed.
pub(super) fn memory(error: &MapError) -> Failure {
    Failure::new(Exit::Host, error)
}

/// Touches every page.
fn filled(mapping: Mapping) -> Mapping {
    for page in mapping.range().chunks(mapping.page_size().bytes()) {
        mapping.store_u64(page.start().since(mapping.range().start()), 1);
    }
    mapping
}
