//! What goes wrong when reaching into another process, and what to do about it.

use std::fmt;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::errno::Explained;

/// A way of reaching into another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessOp {
    /// `pidfd_open(2)`.
    Open,
    /// `pidfd_getfd(2)`.
    GetFd,
    /// `pidfd_send_signal(2)`.
    Signal,
    /// `poll(2)` on a pidfd.
    Wait,
    /// `process_vm_readv(2)`.
    ReadMemory,
    /// `process_vm_writev(2)`.
    WriteMemory,
    /// `process_madvise(2)`.
    Advise,
    /// Opening or reading `/proc/PID/pagemap`.
    Pagemap,
}

impl fmt::Display for ProcessOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProcessOp::Open => "open a pidfd of",
            ProcessOp::GetFd => "fetch a descriptor from",
            ProcessOp::Signal => "send a signal to",
            ProcessOp::Wait => "wait for the end of",
            ProcessOp::ReadMemory => "read memory of",
            ProcessOp::WriteMemory => "write memory of",
            ProcessOp::Advise => "give memory advice for",
            ProcessOp::Pagemap => "read the page table of",
        })
    }
}

/// An operation on another process that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {op} process {pid}: {}", Explained(meaning(*.op, *.errno), *.errno))]
pub struct ProcessError {
    /// What was tried.
    pub op: ProcessOp,
    /// The process it was tried on.
    pub pid: Pid,
    /// What the kernel answered.
    #[source]
    pub errno: Errno,
}

/// Returns the words for the errnos that have one meaning only.
fn meaning(op: ProcessOp, errno: Errno) -> Option<&'static str> {
    use ProcessOp as Op;
    Some(match (op, errno) {
        (_, Errno::SRCH | Errno::NOENT) => {
            "it is gone, or it has no memory of its own (a zombie or a kernel thread); \
             check the process id"
        }
        (Op::Advise, Errno::PERM) => {
            "not permitted; run as its owner with CAP_SYS_NICE and, where \
             kernel.yama.ptrace_scope forbids it, CAP_SYS_PTRACE"
        }
        (_, Errno::PERM | Errno::ACCESS) => {
            "not permitted; run as its owner and, where kernel.yama.ptrace_scope or its \
             dumpable flag forbids it, with CAP_SYS_PTRACE"
        }
        (Op::Open, Errno::INVAL) => {
            "it is a thread, not the leader of its process; give the process id"
        }
        (Op::Advise, Errno::INVAL) => "this kernel does not take this advice for this memory",
        (Op::GetFd, Errno::BADF) => "it has no such descriptor",
        (Op::Open | Op::GetFd, Errno::MFILE | Errno::NFILE) => {
            "no descriptor is free; raise the limit with ulimit -n"
        }
        (Op::ReadMemory | Op::WriteMemory, Errno::FAULT) => {
            "nothing is mapped at the first address, its protection forbids the access, or its \
             fault was refused"
        }
        (_, Errno::NOSYS) => "this kernel, or a seccomp filter, lacks the system call",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_thing_the_cause_and_the_next_step() {
        let error = ProcessError { op: ProcessOp::ReadMemory, pid: Pid::INIT, errno: Errno::PERM };
        assert_eq!(
            error.to_string(),
            "cannot read memory of process 1: not permitted; run as its owner and, where \
             kernel.yama.ptrace_scope or its dumpable flag forbids it, with CAP_SYS_PTRACE"
        );
    }

    #[test]
    fn an_errno_without_a_single_meaning_prints_its_symbol() {
        let error = ProcessError { op: ProcessOp::Wait, pid: Pid::INIT, errno: Errno::NOMEM };
        assert!(error.to_string().ends_with(": ENOMEM: out of memory"), "{error}");
    }
}
