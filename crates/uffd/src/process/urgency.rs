//! Not waiting for a turn, for a moment.
//!
//! What stops another process should not itself stand in the queue for a processor meanwhile:
//! [`Urgency`] puts the calling thread before all ordinary ones.
//!
//! Niceness would not do. Where the kernel groups threads by session (`sched_autogroup_enabled`,
//! the default of most distributions) or by control group, it counts only within a group: one busy
//! terminal still takes half of the processor from another, whatever their niceness.

use std::marker::PhantomData;

use rustix::io::Errno;

use crate::sys::last_errno;

/// The lowest of the real-time priorities: before every ordinary thread, behind all that have a
/// reason of their own to be real-time.
const PRIORITY: libc::c_int = 1;

/// Keeps the calling thread urgent until dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the urgency"]
pub struct Urgency {
    before: libc::c_int,
    /// It is the thread's, so it stays there.
    _thread: PhantomData<*const ()>,
}

impl Urgency {
    /// Makes the calling thread real-time (`SCHED_FIFO`); threads it starts are ordinary ones.
    ///
    /// Meant for milliseconds: a processor that runs an urgent thread runs nothing ordinary.
    ///
    /// # Errors
    /// | errno | meaning |
    /// |---|---|
    /// | `PERM` | no `CAP_SYS_NICE`, and `RLIMIT_RTPRIO` is 0; or a control group without budget |
    ///
    /// # Kernel
    /// `sched_setscheduler(2)`, with `SCHED_RESET_ON_FORK` (2.6.32).
    pub fn begin() -> Result<Urgency, Errno> {
        // SAFETY: takes numbers only; 0 is the calling thread.
        let before = unsafe { libc::sched_getscheduler(0) };
        if before < 0 {
            return Err(last_errno());
        }
        set(libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, PRIORITY)?;
        Ok(Urgency { before, _thread: PhantomData })
    }
}

impl Drop for Urgency {
    fn drop(&mut self) {
        let ordinary = self.before & !libc::SCHED_RESET_ON_FORK;
        // A thread that was real-time before stays so, as the least of them. One without
        // CAP_SYS_NICE may not clear the flag: then its children stay ordinary.
        let priority = if is_real_time(ordinary) { PRIORITY } else { 0 };
        if set(self.before, priority).is_err() {
            let _ = set(self.before | libc::SCHED_RESET_ON_FORK, priority);
        }
    }
}

fn is_real_time(policy: libc::c_int) -> bool {
    policy == libc::SCHED_FIFO || policy == libc::SCHED_RR
}

/// Sets policy and priority of the calling thread.
fn set(policy: libc::c_int, priority: libc::c_int) -> Result<(), Errno> {
    // SAFETY: all-zero is a valid value of this plain struct, which has more fields on some libcs.
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = priority;
    // SAFETY: 0 is the calling thread; `param` is read only.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const param) } {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: takes numbers only.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn urgency_ends_with_its_guard_and_is_not_inherited() {
        let before = policy();
        match Urgency::begin() {
            Ok(urgency) => {
                assert!(is_real_time(policy() & !libc::SCHED_RESET_ON_FORK));
                let child = std::thread::spawn(policy).join().expect("a thread");
                assert!(!is_real_time(child));
                drop(urgency);
            }
            Err(errno) => assert_eq!(errno, Errno::PERM),
        }
        assert_eq!(policy() & !libc::SCHED_RESET_ON_FORK, before);
    }
}
