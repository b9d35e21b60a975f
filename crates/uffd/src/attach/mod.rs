//! A userfaultfd on another process.
//!
//! A userfaultfd belongs to the address space of the process that opened it. [`attach`] makes an
//! unmodified process open one: a thread is stopped, made to make that one system call, and put
//! back exactly (`inject`). The descriptor is fetched with `pidfd_getfd` and closed in the target,
//! so that ours is the only one: when this process dies, however it dies, the kernel unregisters
//! every range and lets every waiting thread go. Everything else (the handshake, registration,
//! protection) is done from outside.
//!
//! The borrowing is done by a forked guardian that outlives this process (`guardian`).
//!
//! # What the target can notice
//! One of its threads stops for some microseconds. Calls that the kernel ends with `EINTR` on any
//! stop, such as `epoll_wait`, do so, as under any debugger.
//!
//! # Supported
//! x86-64 and aarch64, Linux 5.7 and later.

mod device;
mod error;
mod guardian;
mod holders;
mod inject;
mod target;

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

pub use error::AttachError;
pub use holders::other_holder;

use guardian::{Errand, Guardian, Report};
use target::Candidate;

use crate::ptrace::TraceOptions;
use crate::{UnboundForeignUffd, UnboundUffd};

/// How long one thread is given to stop before the next one is tried.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many threads are tried.
const ATTEMPTS: usize = 3;
/// How often, and how long apart, a process found in the middle of an `execve` is tried again: its
/// new address space has no code for the first milliseconds, under emulation for many more.
const REPLACED_TRIES: u32 = 100;
const REPLACED_NAP: Duration = Duration::from_millis(20);

/// What attaching to a process yields.
#[derive(Debug)]
pub struct Attachment {
    /// The userfaultfd, before its handshake; the only descriptor of it.
    pub uffd: UnboundForeignUffd,
    /// The process, immune to the reuse of its id.
    pub pidfd: OwnedFd,
    /// The memory of the process, by address.
    ///
    /// It stays bound to the address space the userfaultfd belongs to: after an `execve` reads
    /// find the end of the file instead of the new program.
    pub memory: File,
    /// Whether the device was needed because the target may not make the system call.
    pub by_device: bool,
}

/// Opens a userfaultfd on process `pid`.
///
/// # Errors
/// [`AttachError`] names what is in the way and the next step. The target is left as it was.
pub fn attach(pid: u32) -> Result<Attachment, AttachError> {
    if cfg!(not(any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return Err(AttachError::Architecture);
    }
    for _ in 1..REPLACED_TRIES {
        match attach_once(pid) {
            Err(AttachError::NoInstruction(_) | AttachError::Replaced(_)) => {
                std::thread::sleep(REPLACED_NAP);
            }
            outcome => return outcome,
        }
    }
    attach_once(pid)
}

/// Attaches unless the process is just replacing its program.
fn attach_once(pid: u32) -> Result<Attachment, AttachError> {
    let candidate = Candidate::look(pid)?;
    let pidfd = open_pidfd(pid)?;
    // Opened before the userfaultfd: if the target replaces its program in between, this file
    // belongs to the old address space and yields nothing, never the wrong memory.
    let memory = File::open(format!("/proc/{pid}/mem"))
        .map_err(|error| target::system(pid, "opening the memory", &error))?;
    let instruction = target::find_instruction(pid, &memory)?;
    let device = File::options().read(true).write(true).open("/dev/userfaultfd");
    let mut options = TraceOptions::SYSGOOD;
    if candidate.filtered {
        options = options.with(TraceOptions::SUSPEND_SECCOMP);
    }
    let errand = |tid: u32| Errand {
        tid: tid.cast_signed(),
        instruction: instruction.0,
        options,
        patience: PATIENCE,
        pidfd: pidfd.as_fd(),
        device: device.as_ref().ok().map(AsFd::as_fd),
    };
    let mut unresponsive = None;
    for &tid in candidate.threads.iter().take(ATTEMPTS) {
        match run(&candidate, &errand(tid), &device) {
            Ok((uffd, by_device)) => {
                // SAFETY: another process opened it: `Candidate::look` refuses this one.
                let uffd =
                    unsafe { UnboundForeignUffd::assume_foreign(UnboundUffd::from_fd(uffd)) };
                return Ok(Attachment { uffd, pidfd, memory, by_device });
            }
            Err(error @ AttachError::Unresponsive { .. }) => unresponsive = Some(error),
            // An ended thread refuses like one that belongs to somebody else.
            Err(_) if target::has_ended(pid, tid) => {}
            Err(error) => return Err(error),
        }
    }
    Err(unresponsive.unwrap_or(AttachError::Ended(pid)))
}

/// Sends a guardian and fetches what it makes the target open.
fn run(
    candidate: &Candidate,
    errand: &Errand<'_>,
    device: &std::io::Result<File>,
) -> Result<(OwnedFd, bool), AttachError> {
    let pid = candidate.pid;
    let guardian = Guardian::send(errand)
        .map_err(|error| target::system(pid, "forking a guardian", &error))?;
    let mut fetched = None;
    loop {
        match guardian.report() {
            Some(Report::Ready { number, by_device }) => {
                let uffd = pidfd_getfd(errand.pidfd, number, PidfdGetfdFlags::empty());
                guardian.acknowledge();
                fetched = Some((uffd, by_device));
            }
            Some(Report::Restored) => break,
            Some(report) => return Err(explain(candidate, errand.tid, report, device)),
            None => return Err(AttachError::Ended(pid)),
        }
    }
    match fetched {
        Some((Ok(uffd), by_device)) => Ok((uffd, by_device)),
        Some((Err(errno), _)) => {
            Err(AttachError::System { what: "fetching the descriptor", pid, errno })
        }
        None => Err(AttachError::Ended(pid)),
    }
}

/// Turns a guardian's bad report into an error.
fn explain(
    candidate: &Candidate,
    tid: i32,
    report: Report,
    device: &std::io::Result<File>,
) -> AttachError {
    let pid = candidate.pid;
    match report {
        Report::Unseizable(Errno::PERM | Errno::INVAL) if candidate.filtered => {
            AttachError::Seccomp(pid)
        }
        Report::Unseizable(Errno::PERM) => not_permitted(pid),
        Report::Replaced => AttachError::Replaced(pid),
        Report::Unresponsive => AttachError::Unresponsive {
            pid,
            seconds: PATIENCE.as_secs(),
            state: target::describe(pid, tid.cast_unsigned()),
        },
        Report::Refused { syscall: Errno::NOSYS, device: None } => AttachError::NoUserfaultfd,
        Report::Refused { syscall: Errno::MFILE, .. } => AttachError::DescriptorLimit(pid),
        Report::Refused { syscall, device: tried } => AttachError::Refused {
            pid,
            syscall,
            device: match (tried, device) {
                (Some(errno), _) => format!("opening it through /dev/userfaultfd gave {errno}"),
                (None, Err(error)) => format!("and /dev/userfaultfd cannot be opened: {error}"),
                (None, Ok(_)) => "and /dev/userfaultfd was not tried".into(),
            },
        },
        Report::Unseizable(Errno::SRCH) | Report::Ended => AttachError::Ended(pid),
        Report::Unseizable(errno) => AttachError::System { what: "seizing a thread", pid, errno },
        Report::Broken(errno) => AttachError::System { what: "borrowing a thread", pid, errno },
        Report::Ready { .. } | Report::Restored => AttachError::Ended(pid),
    }
}

/// Opens a descriptor of the process.
fn open_pidfd(pid: u32) -> Result<OwnedFd, AttachError> {
    let id = Pid::from_raw(pid.cast_signed()).ok_or(AttachError::NoProcess(pid))?;
    pidfd_open(id, PidfdFlags::empty()).map_err(|errno| match errno {
        Errno::SRCH => AttachError::NoProcess(pid),
        errno => AttachError::System { what: "opening a descriptor", pid, errno },
    })
}

/// Says which rule forbids tracing.
fn not_permitted(pid: u32) -> AttachError {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let (reason, remedy) = match scope.trim() {
        "1" => (
            "kernel.yama.ptrace_scope is 1, which allows only a process's ancestors to trace it",
            "run as root, or `sysctl kernel.yama.ptrace_scope=0`",
        ),
        "2" => (
            "kernel.yama.ptrace_scope is 2, which asks for CAP_SYS_PTRACE",
            "run as root, or `setcap cap_sys_ptrace+ep` the program",
        ),
        "3" => (
            "kernel.yama.ptrace_scope is 3, which forbids tracing until the next boot",
            "boot with another kernel.yama.ptrace_scope",
        ),
        _ => (
            "it belongs to another user, or holds privileges this process lacks",
            "run as root or as its owner, or `setcap cap_sys_ptrace+ep` the program",
        ),
    };
    AttachError::NotPermitted { pid, reason, remedy }
}
