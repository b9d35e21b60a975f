//! The operations on registered ranges, one file each.
//!
//! Each file holds the mode of its operation, the raw form on [`Uffd`] and the safe
//! form on [`ForeignUffd`](crate::ForeignUffd).

use std::os::fd::AsFd;

use faultless_pages::Bytes;
use rustix::ioctl::Opcode;

use crate::outcome::classify;
use crate::{Outcome, Uffd, call};

mod continue_;
mod copy;
mod move_pages;
mod poison;
mod rw_protect;
mod set_mode;
mod unregister;
mod wake;
mod write_protect;
mod zeropage;

pub use continue_::ContinueMode;
pub use copy::CopyMode;
pub use move_pages::MoveMode;
pub use poison::PoisonMode;
pub use rw_protect::RwpMode;
pub use write_protect::WpMode;
pub use zeropage::ZeropageMode;

/// Issues a request on `len` bytes and reads its progress with `out`.
///
/// # Safety
/// As for [`call::request`].
unsafe fn resolve<const NUMBER: Opcode, T>(
    uffd: &Uffd,
    mut arg: T,
    len: Bytes,
    out: fn(&T) -> i64,
) -> Outcome {
    // SAFETY: the caller's promise is the same.
    let result = unsafe { call::request::<NUMBER, T>(uffd.as_fd(), &mut arg) };
    classify(result, out(&arg), len, uffd.has_events())
}

/// Sets the bits of a mode whose condition holds.
fn bits<const N: usize>(modes: [(bool, u64); N]) -> u64 {
    modes.into_iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum()
}
