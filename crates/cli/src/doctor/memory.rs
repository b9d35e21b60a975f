//! Which modes and operations each type of memory takes, found out by using them.
//!
//! The kernel's own answer, the bitmap a registration returns, promises too much: it lists MOVE
//! for shared memory, where MOVE is refused. Every operation is therefore carried out once, on a
//! page mapped for the purpose.

use std::collections::BTreeMap;

use faultless_pages::{Bytes, PageSize};
use faultless_uffd::{
    Features, MapError, MapOp, Mapping, Minor, Missing, OpenOptions, ReadWriteProtect, Uffd,
    Wanted, WriteProtect, base_page_size,
};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::host::Pool;
use super::tried::Tried;

mod trial;

use trial::{Make, Trial};

/// What memory can be registered for, in the order of the report.
pub(super) const MODES: [&str; 4] = ["MISSING", "WP", "MINOR", "RWP"];

/// What can be done with it, in the order of the report.
pub(super) const OPERATIONS: [&str; 7] =
    ["COPY", "ZEROPAGE", "MOVE", "CONTINUE", "WRITEPROTECT", "POISON", "RWPROTECT"];

/// A type of memory.
#[derive(Debug, Serialize)]
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) modes: BTreeMap<&'static str, Tried>,
    pub(crate) operations: BTreeMap<&'static str, Tried>,
}

/// Tries every type of memory; none where no userfaultfd can be had.
pub(super) fn try_all(pools: &[Pool]) -> Vec<Kind> {
    // Features that only add to what can be tried; events would have this process wait for
    // itself, and SIGBUS would end it.
    let harmless = Features::all()
        - Features::EVENTS
        - Features::SIGBUS
        - Features::WP_ASYNC
        - Features::RWP_ASYNC;
    let plain = open(harmless);
    // Files take write-protection only where the kernel resolves it by itself.
    let tracking = open(harmless | Features::WP_ASYNC);
    let page = base_page_size().bytes();
    let mut kinds = Vec::new();
    if let Some(uffd) = &plain {
        kinds.push(examine("anonymous", uffd, &|| Mapping::anonymous(page)));
        kinds.push(examine("shared", uffd, &|| Mapping::memfd(page)));
        kinds.extend(pools.iter().filter_map(|pool| huge_pages(uffd, pool)));
    }
    if let Some(uffd) = &tracking {
        kinds.push(examine("file, tracked by WP_ASYNC", uffd, &|| program_file(page)));
    }
    kinds
}

/// Tries the pages of a pool; needs a free one.
fn huge_pages(uffd: &Uffd, pool: &Pool) -> Option<Kind> {
    let size = PageSize::new(Bytes(pool.page_bytes))?;
    let name = format!("huge pages of {size}");
    if pool.is_empty() {
        let untried = || Tried::untried("not tried: the pool has no free page");
        let all = |names: &[&'static str]| names.iter().map(|&name| (name, untried())).collect();
        return Some(Kind { name, modes: all(&MODES), operations: all(&OPERATIONS) });
    }
    Some(examine(&name, uffd, &|| Mapping::builder(size.bytes()).shared().hugetlb(size)))
}

/// Maps the beginning of this program: the one regular file that is surely there.
fn program_file(page: Bytes) -> Result<Mapping, MapError> {
    let refused = |errno| MapError { op: MapOp::Map, len: page, errno };
    let file = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    Mapping::file(file.map_err(refused)?, 0, page)
}

fn open(optional: Features) -> Option<Uffd> {
    let unbound = Uffd::open(&OpenOptions::default())
        .or_else(|_| Uffd::open(&OpenOptions { user_mode_only: true, ..Default::default() }));
    unbound.ok()?.handshake(Wanted { optional, ..Wanted::default() }).ok()
}

/// Tries one type of memory.
fn examine(name: &str, uffd: &Uffd, make: Make<'_>) -> Kind {
    let trial = Trial { uffd, make };
    Kind {
        name: name.to_owned(),
        modes: BTreeMap::from([
            ("MISSING", trial.register(Missing)),
            ("WP", trial.register(WriteProtect)),
            ("MINOR", trial.register(Minor)),
            ("RWP", trial.register(ReadWriteProtect)),
        ]),
        operations: BTreeMap::from([
            ("COPY", trial.copy()),
            ("ZEROPAGE", trial.zeropage()),
            ("MOVE", trial.move_pages()),
            ("CONTINUE", trial.continue_()),
            ("WRITEPROTECT", trial.write_protect()),
            ("POISON", trial.poison()),
            ("RWPROTECT", trial.rw_protect()),
        ]),
    }
}

impl Kind {
    /// Returns why the type could not be tried, if so.
    pub(super) fn untried(&self) -> Option<&str> {
        self.modes.values().find_map(|tried| match tried {
            Tried::Untried { cause } => Some(cause.as_str()),
            _ => None,
        })
    }
}
