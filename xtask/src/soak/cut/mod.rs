//! `cargo xtask soak cut`: every snapshot of a busy process is a state that existed at one instant.
//!
//! | module | holds |
//! |---|---|
//! | [`snapshot`] | what the checker asks of a snapshot |
//! | [`layout`] | the stamper's memory, mirrored from `tests/targets/stamper.h` |
//! | [`writers`], [`slots`] | the promises, checked |
//! | [`check`], [`verdict`] | the checker and what it says |
//! | [`core_file`] | ELF cores as the checker's input |
//! | [`mod@run`] | the soak: take, check, count |

mod check;
mod core_file;
mod layout;
#[cfg(test)]
mod model;
mod run;
mod slots;
#[cfg(test)]
mod smear;
mod snapshot;
mod verdict;
mod writers;

pub(crate) use run::{Args, CheckArgs, check_files, run};
#[cfg(test)]
pub(crate) use run::{check_file, take_and_check};
#[cfg(test)]
pub(crate) use smear::{check_smear, spoil_stamped_page};
