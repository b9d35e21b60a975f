//! Looks on from another thread: a program that hangs is told and ended, and the run goes on; if
//! even that cannot be, the run ends with everything given back.

use std::sync::Arc;
use std::time::Duration;

use faultless_sim::conform::kernel::{Custody, Roster};
use faultless_sim::differential::print::as_test;
use faultless_sim::differential::watch::Watch;

use super::report::tell_result;

/// A program takes seconds at most, and no call of the kernel's world longer than a minute.
const LIMIT: Duration = Duration::from_secs(200);
/// How long a run may take to notice that its puppets are gone.
const GRACE: Duration = Duration::from_secs(70);
const LOOK: Duration = Duration::from_secs(1);

/// Looks on until the program ends.
pub(crate) fn look_on(watch: Arc<Watch>, roster: Roster, custody: Custody, patience: u32) {
    std::thread::spawn(move || {
        let overdue = || watch.overdue(LIMIT * patience);
        loop {
            std::thread::sleep(LOOK);
            let Some(program) = overdue() else { continue };
            println!("\nnot over after {LIMIT:?} x {patience}; its processes are ended:");
            println!("{}", as_test(&program, "hangs", &[]));
            roster.end_all();
            std::thread::sleep(GRACE * patience);
            if overdue() == Some(program) {
                println!("it goes on without them: the model hangs, or the kernel lets none go");
                tell_result("FAILED", 0, 1, 0);
                custody.end(1);
            }
        }
    });
}
