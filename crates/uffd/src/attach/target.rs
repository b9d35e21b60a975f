//! What can be learnt about a process before touching it.

use std::fs;
use std::os::unix::fs::FileExt;

use faultless_pages::{Bytes, Va, VaRange};
use rustix::io::Errno;

use super::error::AttachError;
use crate::ptrace::GeneralRegs;

/// A process that can be attached to, as far as `/proc` tells.
pub(super) struct Candidate {
    pub(super) pid: u32,
    /// Whether seccomp filters are installed.
    pub(super) filtered: bool,
    /// Threads to borrow, the likeliest first.
    pub(super) threads: Vec<u32>,
}

impl Candidate {
    /// Looks at process `pid` and refuses what cannot be attached to.
    pub(super) fn look(pid: u32) -> Result<Candidate, AttachError> {
        if pid == std::process::id() {
            return Err(AttachError::Oneself(pid));
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .map_err(|_| AttachError::NoProcess(pid))?;
        let field = |name| field(&status, name);
        let process = field("Tgid").and_then(|id| id.parse().ok()).unwrap_or(pid);
        if process != pid {
            return Err(AttachError::Thread { tid: pid, process });
        }
        let has_memory = field("VmSize").is_some();
        let state = field("State").unwrap_or_default();
        let threads = threads(pid);
        if (state.starts_with('Z') || state.starts_with('X')) && threads.is_empty() {
            return Err(AttachError::Zombie(pid));
        }
        if !has_memory && !state.starts_with('Z') {
            // A process that ends gives its memory back before it is a zombie.
            let kernel = is_kernel_thread(&stat(pid, pid).unwrap_or_default());
            return Err(if kernel {
                AttachError::KernelThread(pid)
            } else {
                AttachError::Ended(pid)
            });
        }
        if let Some(tracer) = tracer(pid, &status) {
            let name = fs::read_to_string(format!("/proc/{tracer}/comm")).unwrap_or_default();
            return Err(AttachError::AlreadyTraced { pid, tracer, name: name.trim().into() });
        }
        if is_32_bit(pid) {
            return Err(AttachError::ThirtyTwoBit(pid));
        }
        let filtered = field("Seccomp").is_some_and(|mode| mode != "0");
        Ok(Candidate { pid, filtered, threads })
    }
}

/// Returns a field of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Returns who traces the process or one of its threads.
fn tracer(pid: u32, status: &str) -> Option<u32> {
    let of = |status: &str| field(status, "TracerPid")?.parse().ok().filter(|&id| id != 0);
    of(status).or_else(|| {
        threads(pid)
            .into_iter()
            .find_map(|tid| of(&fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?))
    })
}

/// Returns the threads that can be stopped: those asleep or running first, those in
/// uninterruptible sleep last; ended ones and the kernel's helpers (io_uring, vhost) not at all.
fn threads(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut found: Vec<(bool, u32)> = tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|tid: u32| {
            let (name, state) = name_and_state(pid, tid)?;
            let helper = name.starts_with("iou-") || name.starts_with("vhost-");
            (!matches!(state, 'Z' | 'X') && !helper).then_some((state == 'D', tid))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, tid)| tid).collect()
}

/// Says whether a thread has ended, reaped or not.
pub(super) fn has_ended(pid: u32, tid: u32) -> bool {
    name_and_state(pid, tid).is_none_or(|(_, state)| matches!(state, 'Z' | 'X'))
}

/// Reads a thread's name and the letter of its state; `None` if there is no such thread.
fn name_and_state(pid: u32, tid: u32) -> Option<(String, char)> {
    let stat = stat(pid, tid)?;
    let (head, rest) = stat.rsplit_once(") ")?;
    Some((head.split_once('(')?.1.to_owned(), rest.chars().next()?))
}

fn stat(pid: u32, tid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).ok()
}

/// Says whether a `/proc/PID/stat` is that of a kernel thread: its flags have `PF_KTHREAD`.
fn is_kernel_thread(stat: &str) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    /// Where the flags are, counted from the state.
    const FLAGS: usize = 6;
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let flags = rest.split(' ').nth(FLAGS).and_then(|flags| flags.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// Says whether the process runs a 32-bit program.
fn is_32_bit(pid: u32) -> bool {
    const EI_CLASS: u64 = 4;
    const ELFCLASS32: u8 = 1;
    let mut class = [0];
    fs::File::open(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe.read_exact_at(&mut class, EI_CLASS).is_ok() && class[0] == ELFCLASS32)
}

/// Finds a system-call instruction in executable memory, in the vdso first.
pub(super) fn find_instruction(pid: u32, memory: &fs::File) -> Result<Va, AttachError> {
    // Pieces overlap by less than an instruction, so that none is missed at a seam.
    const PIECE: u64 = 1 << 20;
    const OVERLAP: u64 = 16;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
        .map_err(|error| system(pid, "reading the memory map", &error))?;
    let mut executable: Vec<(bool, VaRange)> = maps.lines().filter_map(executable_range).collect();
    executable.sort_unstable();
    let mut buffer = vec![0; usize::try_from(PIECE).expect("a mebibyte")];
    for piece in executable.iter().flat_map(|(_, range)| range.chunks(Bytes(PIECE - OVERLAP))) {
        let read = memory.read_at(&mut buffer, piece.start().0).unwrap_or(0);
        if let Some(offset) = find(&buffer[..read]) {
            return Ok(piece.start().add(Bytes::from(offset)));
        }
    }
    Err(AttachError::NoInstruction(pid))
}

/// Finds the instruction in a piece of memory that starts aligned.
fn find(memory: &[u8]) -> Option<usize> {
    memory
        .windows(GeneralRegs::SYSCALL_INSTRUCTION.len())
        .step_by(GeneralRegs::INSTRUCTION_ALIGN)
        .position(|window| window == GeneralRegs::SYSCALL_INSTRUCTION)
        .map(|index| index * GeneralRegs::INSTRUCTION_ALIGN)
}

/// Reads a line of the memory map; executable ones sort with the vdso first.
///
/// `[vsyscall]` is left out: it is emulated by the kernel, and nothing else runs there.
fn executable_range(line: &str) -> Option<(bool, VaRange)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let parse = |text| u64::from_str_radix(text, 16).ok().map(Va);
    let executable = words.next()?.as_bytes().get(2) == Some(&b'x');
    let name = words.nth(3).unwrap_or_default();
    (executable && name != "[vsyscall]")
        .then_some((name != "[vdso]", VaRange::new(parse(start)?, parse(end)?)))
}

/// Wraps an error of the standard library.
pub(super) fn system(pid: u32, what: &'static str, error: &std::io::Error) -> AttachError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    match errno {
        _ if threads(pid).is_empty() => AttachError::Ended(pid),
        Errno::ACCESS | Errno::PERM => super::not_permitted(pid),
        Errno::SRCH => AttachError::Ended(pid),
        errno => AttachError::System { what, pid, errno },
    }
}

/// Describes what a thread is doing, for an error that it does not stop.
pub(super) fn describe(pid: u32, tid: u32) -> String {
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).unwrap_or_default()
    };
    let status = read("status");
    let state = field(&status, "State").unwrap_or("gone").to_owned();
    let waits = read("wchan");
    format!("thread {tid}: state {state}, in {}", if waits.is_empty() { "?" } else { &waits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vdso_comes_first_and_vsyscall_never() {
        let lines = [
            "00400000-00401000 r-xp 00000000 fe:00 1 /bin/true",
            "7ffc0000-7ffc2000 r-xp 00000000 00:00 0 [vdso]",
            "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]",
            "7ffb0000-7ffb2000 rw-p 00000000 00:00 0 [stack]",
        ];
        let mut found: Vec<_> = lines.into_iter().filter_map(executable_range).collect();
        found.sort_unstable();
        let starts: Vec<_> = found.iter().map(|(_, range)| range.start().0).collect();
        assert_eq!(starts, [0x7ffc_0000, 0x40_0000]);
    }

    #[test]
    fn a_process_that_has_given_its_memory_back_is_no_kernel_thread() {
        let kernel = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0";
        let ending = "77 (a) b) R 1 77 1 0 -1 4194308 0 0 0";
        assert!(is_kernel_thread(kernel) && !is_kernel_thread(ending) && !is_kernel_thread(""));
    }

    #[test]
    fn kernel_threads_ourselves_and_nobody_are_refused() {
        assert!(matches!(Candidate::look(2), Err(AttachError::KernelThread(2))));
        let own = std::process::id();
        assert!(matches!(Candidate::look(own), Err(AttachError::Oneself(_))));
        assert!(matches!(Candidate::look(4_194_305), Err(AttachError::NoProcess(_))));
    }
}
