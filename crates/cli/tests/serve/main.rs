//! `faultless serve` on the running kernel: clients in every protocol, hostile ones, and a worker
//! that is killed under them.
//!
//! The clients are threads of this program, each with a userfaultfd of its own; the server is a
//! process of its own, so to it they are strangers.
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

mod client;
mod crowd;
mod hostile;
mod image;
mod lasting;
mod protocols;
mod server;

use faultless_uffd::{OpenOptions, Uffd};

/// Says why a test is left out, if nobody here may have a userfaultfd.
pub(crate) fn skips() -> bool {
    match Uffd::open(&OpenOptions::default()) {
        Ok(_) => false,
        Err(error) => {
            println!("skipped: {error}");
            true
        }
    }
}
