//! What goes wrong with memory of one's own.

use std::fmt;

use faultless_pages::Bytes;
use rustix::io::Errno;

use super::Advice;
use crate::errno::Explained;

/// An operation on memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MapOp {
    /// Mapping anonymous memory or an object.
    Map,
    /// Mapping hugetlb memory.
    MapHuge,
    /// Making a memfd of the right size.
    CreateObject,
    /// Giving advice.
    Advise(Advice),
    /// Changing the protection.
    Protect,
    /// Resizing or moving a mapping.
    Remap,
    /// Sealing a memfd.
    Seal,
    /// Freeing part of an object.
    PunchHole,
    /// Mapping an object once more.
    Alias,
}

impl fmt::Display for MapOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MapOp::Map => "map",
            MapOp::MapHuge => "map huge pages for",
            MapOp::CreateObject => "create shared memory of",
            MapOp::Advise(advice) => return write!(f, "give the advice {advice:?} for"),
            MapOp::Protect => "change the protection of",
            MapOp::Remap => "resize or move a mapping to",
            MapOp::Seal => "seal the object behind",
            MapOp::PunchHole => "free in the object",
            MapOp::Alias => "map a second time",
        })
    }
}

/// An operation on memory of this process that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {op} {len} of memory: {}", Explained(meaning(*.op, *.errno), *.errno))]
pub struct MapError {
    /// What was tried.
    pub op: MapOp,
    /// On how much memory.
    pub len: Bytes,
    /// What the kernel answered.
    #[source]
    pub errno: Errno,
}

/// Returns the words for the errnos that have one meaning only.
fn meaning(op: MapOp, errno: Errno) -> Option<&'static str> {
    Some(match (op, errno) {
        (MapOp::MapHuge, Errno::NOMEM) => {
            "the pool has too few free pages; add some through \
             /sys/kernel/mm/hugepages/hugepages-*/nr_hugepages"
        }
        (MapOp::MapHuge | MapOp::CreateObject, Errno::INVAL | Errno::NODEV | Errno::OPNOTSUPP) => {
            "this kernel has no huge pages of this size; see /sys/kernel/mm/hugepages"
        }
        (MapOp::Map | MapOp::CreateObject | MapOp::Alias, Errno::NOMEM) => {
            "no room; raise ulimit -v, vm.max_map_count or vm.overcommit_memory"
        }
        (MapOp::Protect | MapOp::Remap, Errno::NOMEM) => {
            "no room, or too many mappings; raise vm.max_map_count"
        }
        (MapOp::Map | MapOp::Remap, Errno::INVAL) => {
            "no length, or an offset that is not at a page"
        }
        (MapOp::Advise(_), Errno::INVAL) => {
            "not at a page, or this kernel or this kind of memory does not take it"
        }
        (MapOp::Advise(_), Errno::FAULT) => "a page could not be faulted in",
        (MapOp::Map | MapOp::Protect, Errno::ACCESS) => {
            "the descriptor is not open for this access"
        }
        (_, Errno::MFILE | Errno::NFILE) => "no descriptor is free; raise the limit with ulimit -n",
        (MapOp::Seal, Errno::PERM) => "it does not take seals any more",
        (MapOp::Seal, Errno::BUSY) => "a writable mapping of it exists; unmap it first",
        (MapOp::Seal | MapOp::PunchHole | MapOp::Alias, Errno::BADF) => {
            "it is anonymous: there is no object behind it"
        }
        _ => return None,
    })
}
