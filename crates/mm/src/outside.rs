//! Waiting for what is no part of a kernel: the timers, networks and disks of whoever runs one.
//!
//! Tasks that also do other things than operations, such as a pager that fetches over a simulated
//! network, sleep here, so that the runner knows that they cannot go on.

use crate::id::ThreadId;
use crate::kernel::Kernel;
use crate::sched::On;

impl Kernel {
    /// Sleeps until [`Kernel::wake_outside`] is called with the same number, or the thread is
    /// signalled; returns whether it was. It may wake for no reason, so that callers look again.
    pub async fn wait_outside(&self, who: ThreadId, number: u64) -> bool {
        if self.interrupted(who) {
            return true;
        }
        self.wait(On::Outside(number)).await;
        self.interrupted(who)
    }

    /// Lets go on who waits for this number.
    pub fn wake_outside(&self, number: u64) {
        self.tasks().wake(On::Outside(number));
    }
}
