//! What threads do to memory, an operation a file.
//!
//! An operation is an `async` method of [`Kernel`](crate::Kernel) in a file of its own; what it
//! does to the state between two awaits is a method of `State` beside it. It awaits where the
//! kernel takes a lock ([`Kernel::lock`](crate::Kernel)), gives one back (`Guard::release`) or
//! sleeps, and borrows the state only between such points.
//!
//! | file | is |
//! |---|---|
//! | `access` | loads and stores of threads, of system calls, of other processes |
//! | `fault`, `fault_anonymous`, `fault_object`, `fault_write` | an access that finds no way |
//! | `fault_around` | the neighbours that a load brings along |
//! | `map`, `unmap`, `remap`, `transfer`, `protect`, `pin_down` | changes of the map |
//! | `brk` | the heap |
//! | `advise`, `drop_pages`, `guard` | advice on memory |
//! | `object` | making, reading, writing, sealing objects |
//! | `punch` | holes in objects, punched or cut off at the end |
//! | `cache` | the page cache of objects |
//! | `fork`, `exec`, `exit` | processes |
//! | `area_lock` | finding and locking areas and tables |
//! | `fault_hugetlb` | memory of the hugetlb pool |
//! | `fault_huge`, `collapse` | transparent huge pages: coming by a fault, made of base pages |
//! | `split` | huge entries to base entries, huge pages to base pages |
//! | `walk` | visiting every entry that maps a page |
//! | `age`, `merge`, `migrate`, `swap_out` | what the kernel does to pages on its own |
//! | `swap_in` | a fault at a page in swap |
//! | `pin`, `unshare` | holding on to pages |

mod access;
mod advise;
mod age;
mod area_lock;
mod brk;
mod cache;
mod collapse;
mod drop_pages;
mod exec;
mod exit;
mod fault;
mod fault_anonymous;
mod fault_around;
mod fault_huge;
mod fault_hugetlb;
mod fault_object;
mod fault_write;
mod fork;
mod guard;
mod map;
mod merge;
mod migrate;
mod object;
mod pin;
mod pin_down;
mod protect;
mod punch;
mod remap;
mod split;
mod swap_in;
mod swap_out;
mod transfer;
mod unmap;
mod unshare;
mod walk;

pub use access::Stop;
pub(crate) use access::{Access, From};
pub use advise::Advice;
pub use age::Age;
pub(crate) use fault::Fault;
pub use map::{Behind, MapRequest};
pub use object::NewObject;
pub use remap::RemapRequest;
