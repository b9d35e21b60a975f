//! Holding the program back from dropping memory that is not saved yet (`--exact`).
//!
//! Without this, pages the program frees during the snapshot are recorded as freed: the kernel
//! announces most discards, but lets them go on the moment the announcement is read. Here every
//! thread stops at the entry of each system call, and a call that would drop memory waits until
//! the saver has settled it. All other calls go on at once; they are slowed by two stops each.
//!
//! What cannot be held: a SIGKILL, discards by other processes that share the memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread;
use std::time::Duration;

use faultless_pages::{Va, VaRange};
use faultless_uffd::ptrace::{Resume, Stop, Tracee, sysno, try_wait_any};
use rustix::fd::AsFd;
use rustix::io::Errno;

/// Everything there is.
const ALL: VaRange = VaRange::new(Va(0), Va(u64::MAX));

/// A request to the saver: settle this range, then give the ticket back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// Names the thread that waits.
    pub(super) ticket: u64,
    /// What it is about to drop.
    pub(super) range: VaRange,
}

/// The ways between the tracing and the saving thread.
pub(super) struct Ways<'a, W: AsFd> {
    /// Requests to the saver.
    pub(super) holds: Sender<Hold>,
    /// Wakes the saver.
    pub(super) bell: W,
    /// Tickets of settled requests.
    pub(super) settled: Receiver<u64>,
    /// Set when everything is saved or the snapshot is given up.
    pub(super) over: &'a AtomicBool,
}

/// What the tracing thread knows about the memory map of the cut.
pub(super) struct Map {
    /// The end of the heap: what `brk` gives back lies below.
    pub(super) heap_end: Va,
    /// All mappings, for calls that name only an address.
    pub(super) mappings: Vec<VaRange>,
    /// Whether the process has shared memory, which can be cut through a descriptor.
    pub(super) has_shared: bool,
}

/// A process whose memory-dropping calls are held.
pub(super) struct Warden<'a, W: AsFd> {
    pid: u32,
    tracees: BTreeMap<u32, Tracee>,
    /// Threads at the start of their exit.
    exiting: BTreeSet<u32>,
    map: Map,
    ways: Ways<'a, W>,
    held: u64,
}

impl<'a, W: AsFd> Warden<'a, W> {
    /// Takes over the stopped threads and lets them run, each to its next system call.
    pub(super) fn resume(
        pid: u32,
        mut tracees: BTreeMap<u32, Tracee>,
        map: Map,
        ways: Ways<'a, W>,
    ) -> Warden<'a, W> {
        for tracee in tracees.values_mut() {
            go_on(tracee, 0);
        }
        Warden { pid, tracees, exiting: BTreeSet::new(), map, ways, held: 0 }
    }

    /// Watches until the snapshot is over, then lets the threads go; returns how many calls were
    /// held.
    pub(super) fn watch(mut self) -> u64 {
        // A stop comes within microseconds of the call that causes it; sleeping for it would
        // slow every system call of the program down by the length of the sleep.
        const SPINS: u32 = 5_000;
        let mut idle = 0;
        while !self.ways.over.load(Ordering::Acquire) {
            while let Ok(ticket) = self.ways.settled.try_recv() {
                self.settled(ticket);
            }
            match try_wait_any() {
                Ok(Some((tid, stop))) => {
                    idle = 0;
                    self.stopped(tid, stop);
                }
                Ok(None) if idle < SPINS => {
                    idle += 1;
                    thread::yield_now();
                }
                Ok(None) => thread::sleep(Duration::from_micros(50)),
                Err(_) => break,
            }
        }
        let held = self.held;
        self.let_go();
        held
    }

    /// Deals with one stop.
    fn stopped(&mut self, tid: u32, stop: Stop) {
        if stop == Stop::Ended {
            self.tracees.remove(&tid);
            self.exiting.remove(&tid);
            return;
        }
        if !self.tracees.contains_key(&tid) && !self.adopt(tid, stop) {
            return;
        }
        let hold = match stop {
            Stop::Syscall => self.dropped_by_call(tid),
            Stop::Event(EVENT_EXIT) => self.dropped_by_exit(tid),
            _ => None,
        };
        let Some(tracee) = self.tracees.get_mut(&tid) else { return };
        tracee.note(stop);
        match (hold, stop) {
            (Some(range), _) => {
                self.held += 1;
                let _ = self.ways.holds.send(Hold { ticket: u64::from(tid), range });
                let _ = rustix::io::write(&self.ways.bell, &1u64.to_ne_bytes());
            }
            (None, Stop::Signal(signal)) => go_on(tracee, signal),
            (None, Stop::Group(_)) => {
                let _ = tracee.listen();
            }
            (None, _) => go_on(tracee, 0),
        }
    }

    /// Lets a thread go on whose memory is settled.
    fn settled(&mut self, ticket: u64) {
        let tid = u32::try_from(ticket).expect("tickets are thread ids");
        if let Some(tracee) = self.tracees.get_mut(&tid) {
            go_on(tracee, 0);
        }
    }

    /// Takes a thread over that the kernel seized because its creator is traced; a process that
    /// was made in an unusual way is let go instead.
    fn adopt(&mut self, tid: u32, stop: Stop) -> bool {
        let Some(mut tracee) = Tracee::adopt(tid) else { return false };
        tracee.note(stop);
        if fs::exists(format!("/proc/{}/task/{tid}", self.pid)).unwrap_or(false) {
            self.tracees.insert(tid, tracee);
            return true;
        }
        let _ = tracee.detach(0);
        false
    }

    /// Returns what the call a thread is about to make would drop.
    fn dropped_by_call(&self, tid: u32) -> Option<VaRange> {
        let (number, arguments) = self.tracees.get(&tid)?.syscall_entry().ok()??;
        dropped(&self.map, number, arguments)
    }

    /// Returns everything if a thread's exit takes the address space with it.
    fn dropped_by_exit(&mut self, tid: u32) -> Option<VaRange> {
        self.exiting.insert(tid);
        (self.exiting.len() == self.tracees.len()).then_some(ALL)
    }

    /// Lets all threads go for good.
    fn let_go(self) {
        for (_, mut tracee) in self.tracees {
            let mut signal = 0;
            // A running thread can be let go only once it has stopped.
            if !tracee.is_stopped() {
                let _ = tracee.interrupt();
                if let Ok(Stop::Signal(met)) = tracee.wait_within(PATIENCE) {
                    signal = met;
                }
            }
            // A thread that is gone needs no letting go; one that does not stop is let go by the
            // kernel when this thread ends.
            let _ = tracee.detach(signal);
        }
    }
}

/// How long a thread is waited for in the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// `PTRACE_EVENT_EXIT`.
const EVENT_EXIT: i32 = 6;

/// Lets a thread run to its next system call.
fn go_on(tracee: &mut Tracee, signal: i32) {
    match tracee.resume(Resume::ToSyscall, signal) {
        // It ended meanwhile; its end is reported.
        Ok(()) | Err(Errno::SRCH) => {}
        Err(_) => {
            let _ = tracee.resume(Resume::Continue, signal);
        }
    }
}

/// Returns the memory a system call would drop or move, as far as its arguments tell.
fn dropped(map: &Map, number: u64, arguments: [u64; 6]) -> Option<VaRange> {
    const MAP_FIXED: u64 = 0x10;
    const MREMAP_FIXED: u64 = 2;
    const SHM_REMAP: u64 = 0o40_000;
    const FALLOC_FL_KEEP_SIZE: u64 = 1;
    let [a, b, c, d, _, _] = arguments;
    let range = |start: u64, len: u64| {
        let end = start.saturating_add(len).min(ALL.end().0);
        (start < end).then(|| VaRange::new(Va(start), Va(end)))
    };
    match i64::try_from(number).ok()? {
        sysno::MUNMAP => range(a, b),
        sysno::MMAP if d & MAP_FIXED != 0 => range(a, b),
        // Whatever it overwrites may lie anywhere.
        sysno::MREMAP if d & MREMAP_FIXED != 0 => Some(ALL),
        // A settled range need not be followed; the order of two moves at once is unknowable.
        sysno::MREMAP => range(a, b),
        sysno::MADVISE if DISCARDING.contains(&c) => range(a, b),
        sysno::BRK if a != 0 => range(a, map.heap_end.0.saturating_sub(a)),
        sysno::SHMDT => map.mappings.iter().copied().find(|mapping| mapping.start() == Va(a)),
        sysno::SHMAT if c & SHM_REMAP != 0 => Some(ALL),
        sysno::EXECVE | sysno::EXECVEAT | sysno::PROCESS_MADVISE => Some(ALL),
        sysno::FTRUNCATE if map.has_shared => Some(ALL),
        sysno::FALLOCATE if map.has_shared && b & !FALLOC_FL_KEEP_SIZE != 0 => Some(ALL),
        _ => None,
    }
}

/// `madvise` advice that drops content: DONTNEED, FREE, REMOVE, DONTNEED_LOCKED, GUARD_INSTALL.
const DISCARDING: [u64; 5] = [4, 8, 9, 24, 102];

/// Returns the end of the heap among mappings, or 0.
pub(super) fn heap_end(vmas: &[crate::vma::Vma]) -> Va {
    let heap = vmas.iter().filter(|vma| vma.name.as_os_str() == "[heap]");
    heap.map(|vma| vma.range.end()).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use faultless_pages::Bytes;

    use super::*;

    fn of(number: i64, arguments: [u64; 6]) -> Option<VaRange> {
        let map = Map {
            heap_end: Va(0x9000),
            mappings: vec![VaRange::of(Va(0x4000), Bytes(0x3000))],
            has_shared: false,
        };
        dropped(&map, number.cast_unsigned(), arguments)
    }

    fn range(start: u64, end: u64) -> Option<VaRange> {
        Some(VaRange::new(Va(start), Va(end)))
    }

    #[test]
    fn calls_that_drop_memory_are_held_for_exactly_that_memory() {
        assert_eq!(of(sysno::MUNMAP, [0x1000, 0x2000, 0, 0, 0, 0]), range(0x1000, 0x3000));
        assert_eq!(of(sysno::MMAP, [0x1000, 0x2000, 3, 0x32, 0, 0]), range(0x1000, 0x3000));
        assert_eq!(of(sysno::MMAP, [0x1000, 0x2000, 3, 0x22, 0, 0]), None);
        assert_eq!(of(sysno::MREMAP, [0x1000, 0x3000, 0x1000, 0, 0, 0]), range(0x1000, 0x4000));
        assert_eq!(of(sysno::MREMAP, [0, 0x1000, 0x1000, 3, 0x7000, 0]), Some(ALL));
        assert_eq!(of(sysno::MADVISE, [0x1000, 0x1000, 4, 0, 0, 0]), range(0x1000, 0x2000));
        assert_eq!(of(sysno::MADVISE, [0x1000, 0x1000, 14, 0, 0, 0]), None);
        assert_eq!(of(sysno::BRK, [0x8000, 0, 0, 0, 0, 0]), range(0x8000, 0x9000));
        assert_eq!(of(sysno::BRK, [0xa000, 0, 0, 0, 0, 0]), None);
        assert_eq!(of(sysno::BRK, [0, 0, 0, 0, 0, 0]), None);
        assert_eq!(of(sysno::SHMDT, [0x4000, 0, 0, 0, 0, 0]), range(0x4000, 0x7000));
        assert_eq!(of(sysno::EXECVE, [0; 6]), Some(ALL));
        assert_eq!(of(sysno::FTRUNCATE, [0; 6]), None);
        assert_eq!(of(sysno::MUNMAP, [0x1000, u64::MAX, 0, 0, 0, 0]), range(0x1000, u64::MAX));
    }
}
