//! Stopping every thread of a process at once, and reading what a core says about each.
//!
//! Stopped threads are only looked at: if this process dies, the kernel lets them go and they run
//! on as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use faultless_image::core::{Regset, ThreadNotes, note};
use faultless_uffd::ptrace::{Resume, Stop, TraceOptions, Tracee};
use rustix::io::Errno;

use super::error::SnapshotError;

/// How long one thread may take to stop: the others stand still meanwhile, so an error is better
/// than waiting for a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// The other register sets of a thread, in the order the kernel writes them.
#[cfg(target_arch = "x86_64")]
const REGSETS: &[u32] = &[note::FPREGSET, note::X86_XSTATE];
/// The other register sets of a thread, in the order the kernel writes them: floating point,
/// thread pointer, SVE, pointer authentication masks (which unwinders need).
#[cfg(target_arch = "aarch64")]
const REGSETS: &[u32] = &[note::FPREGSET, note::ARM_TLS, note::ARM_SVE, note::ARM_PAC_MASK];
/// The other register sets of a thread.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REGSETS: &[u32] = &[];

/// The threads of a process, seized; running or stopped.
#[derive(Debug)]
pub(super) struct Threads {
    pid: u32,
    options: TraceOptions,
    tracees: BTreeMap<u32, Tracee>,
}

impl Threads {
    /// Seizes every thread without stopping any, so that stopping them takes less time.
    pub(super) fn seize(pid: u32, options: TraceOptions) -> Result<Threads, SnapshotError> {
        let mut threads = Threads { pid, options, tracees: BTreeMap::new() };
        threads.seize_new()?;
        Ok(threads)
    }

    /// Stops every thread.
    ///
    /// Threads that were created meanwhile are found by looking again: once all that were seen
    /// stand still, no new one can be created.
    pub(super) fn stop(&mut self) -> Result<(), SnapshotError> {
        let mut fresh: Vec<u32> = self.tracees.keys().copied().collect();
        self.interrupt(&fresh);
        loop {
            self.wait(&fresh)?;
            fresh = self.seize_new()?;
            if fresh.is_empty() {
                break;
            }
            self.interrupt(&fresh);
        }
        if self.tracees.is_empty() { Err(SnapshotError::Ended { saved: None }) } else { Ok(()) }
    }

    /// Asks threads to stop; one that is gone is noticed by waiting for it.
    fn interrupt(&self, tids: &[u32]) {
        for tid in tids {
            if let Some(tracee) = self.tracees.get(tid) {
                let _ = tracee.interrupt();
            }
        }
    }

    /// Seizes the threads not seized yet and returns their ids.
    fn seize_new(&mut self) -> Result<Vec<u32>, SnapshotError> {
        let mut fresh = Vec::new();
        for tid in tids(self.pid) {
            if self.tracees.contains_key(&tid) {
                continue;
            }
            match Tracee::seize(tid, self.options) {
                Ok(tracee) => {
                    self.tracees.insert(tid, tracee);
                    fresh.push(tid);
                }
                // It ended, is about to, or is a helper of the kernel that shows as a thread.
                Err(Errno::SRCH) => {}
                Err(Errno::PERM) if !is_traceable(self.pid, tid) => {}
                Err(errno) => {
                    return Err(SnapshotError::trace(self.pid, "seizing a thread", errno));
                }
            }
        }
        Ok(fresh)
    }

    /// Waits until all of `tids` stand still.
    ///
    /// The leader comes last: if the process was killed, the kernel tells of the leader's end only
    /// after the ends of all other threads we trace were taken note of.
    fn wait(&mut self, tids: &[u32]) -> Result<(), SnapshotError> {
        let leader = self.pid;
        let (last, first): (Vec<u32>, Vec<u32>) = tids.iter().partition(|&&tid| tid == leader);
        for tid in first.into_iter().chain(last) {
            let Some(tracee) = self.tracees.get_mut(&tid) else { continue };
            match stand_still(tracee) {
                Ok(true) => {}
                Ok(false) => {
                    self.tracees.remove(&tid);
                }
                Err(Errno::TIMEDOUT) => {
                    let wchan = fs::read_to_string(format!("/proc/{}/task/{tid}/wchan", self.pid));
                    return Err(SnapshotError::Unresponsive {
                        tid,
                        seconds: PATIENCE.as_secs(),
                        wchan: wchan.unwrap_or_default(),
                    });
                }
                Err(errno) => {
                    return Err(SnapshotError::trace(self.pid, "stopping a thread", errno));
                }
            }
        }
        Ok(())
    }

    /// Reads the registers of every stopped thread, the leader first.
    pub(super) fn notes(&self) -> Result<Vec<ThreadNotes>, SnapshotError> {
        let leader = self.tracees.get(&self.pid);
        let others = self.tracees.values().filter(|tracee| tracee.tid() != self.pid);
        leader
            .into_iter()
            .chain(others)
            .map(|tracee| {
                read(tracee)
                    .map_err(|errno| SnapshotError::trace(self.pid, "reading registers", errno))
            })
            .collect()
    }

    /// Returns the threads, to go on tracing them.
    pub(super) fn into_tracees(self) -> BTreeMap<u32, Tracee> {
        self.tracees
    }

    /// Lets every thread go.
    pub(super) fn release(self) {
        for tracee in self.tracees.into_values() {
            // A thread that is gone needs no letting go.
            let _ = tracee.detach(0);
        }
    }
}

/// Waits until a thread stands still; `false` if it ended instead.
fn stand_still(tracee: &mut Tracee) -> Result<bool, Errno> {
    loop {
        match tracee.wait_within(PATIENCE) {
            Ok(Stop::Interrupted | Stop::Group(_)) => return Ok(true),
            Ok(Stop::Ended) | Err(Errno::CHILD) => return Ok(false),
            // A signal that came first is delivered; the interrupt stop follows.
            Ok(Stop::Signal(signal)) => tracee.resume(Resume::Continue, signal)?,
            Ok(Stop::Syscall | Stop::Event(_)) => tracee.resume(Resume::Continue, 0)?,
            Err(errno) => return Err(errno),
        }
    }
}

/// Reads what only a stopped thread tells; what `/proc` tells is added after the pause.
fn read(tracee: &Tracee) -> Result<ThreadNotes, Errno> {
    let regsets = REGSETS
        .iter()
        .filter_map(|&kind| Some(Regset { kind, bytes: tracee.regset(kind).ok()? }))
        .collect();
    Ok(ThreadNotes {
        tid: tracee.tid(),
        sighold: tracee.signal_mask()?,
        general: tracee.general_regs()?.to_bytes().collect(),
        regsets,
        ..ThreadNotes::default()
    })
}

/// Lists the threads of a process.
fn tids(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Says whether a thread runs the program: not ended, and no helper of the kernel.
fn is_traceable(pid: u32, tid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    let helper = stat.contains("(iou-") || stat.contains("(vhost-");
    !helper && !matches!(state, None | Some('Z' | 'X'))
}
