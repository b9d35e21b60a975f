//! Why a userfaultfd could not be opened on another process, and what to do about it.

use rustix::io::Errno;

/// Why attaching to a process failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// There is no process with this id.
    #[error("no process {0}")]
    NoProcess(u32),
    /// The id names a thread, not a process.
    #[error("{tid} is a thread of process {process}")]
    Thread {
        /// The id given.
        tid: u32,
        /// The process it belongs to.
        process: u32,
    },
    /// The process is this one.
    #[error("process {0} is the snapshotter itself")]
    Oneself(u32),
    /// The process is part of the kernel and has no memory of its own.
    #[error("process {0} is a kernel thread and has no memory of its own")]
    KernelThread(u32),
    /// The process has ended and waits for its parent.
    #[error("process {0} is a zombie: its memory is gone")]
    Zombie(u32),
    /// Somebody else traces the process.
    #[error("process {pid} is already traced by process {tracer} ({name})")]
    AlreadyTraced {
        /// The process.
        pid: u32,
        /// Who traces it.
        tracer: u32,
        /// The tracer's name.
        name: String,
    },
    /// The process runs 32-bit code.
    #[error("process {0} is a 32-bit program")]
    ThirtyTwoBit(u32),
    /// The kernel does not allow tracing the process.
    #[error("not permitted to trace process {pid}: {reason}")]
    NotPermitted {
        /// The process.
        pid: u32,
        /// The rule that forbids it.
        reason: &'static str,
        /// How to be permitted.
        remedy: &'static str,
    },
    /// The process has seccomp filters that could end it, and they cannot be suspended.
    #[error(
        "process {0} runs under a seccomp filter, which might end it for opening a userfaultfd"
    )]
    Seccomp(u32),
    /// No thread of the process could be stopped.
    #[error("no thread of process {pid} stopped within {seconds} s ({state})")]
    Unresponsive {
        /// The process.
        pid: u32,
        /// How long each thread was given.
        seconds: u64,
        /// What the last thread tried is doing.
        state: String,
    },
    /// The process may not open a userfaultfd, nor could it be given one.
    #[error("process {pid} may not open a userfaultfd: the system call gave {syscall}, {device}")]
    Refused {
        /// The process.
        pid: u32,
        /// What the system call gave.
        syscall: Errno,
        /// How `/dev/userfaultfd` failed.
        device: String,
    },
    /// The kernel has no userfaultfd.
    #[error("this kernel has no userfaultfd")]
    NoUserfaultfd,
    /// The process has used up its file descriptors.
    #[error("process {0} has no file descriptor left to open a userfaultfd with")]
    DescriptorLimit(u32),
    /// No system-call instruction was found to borrow.
    #[error("process {0} has no system-call instruction in its executable memory")]
    NoInstruction(u32),
    /// The process replaced its program every time it was to be stopped.
    #[error("process {0} keeps replacing its program")]
    Replaced(u32),
    /// The process ended meanwhile.
    #[error("process {0} ended while it was being attached to")]
    Ended(u32),
    /// This architecture is not supported.
    #[error("attaching is written for x86-64 and aarch64 only")]
    Architecture,
    /// A request to the kernel failed in an unexpected way.
    #[error("{what} of process {pid}: {errno}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The process.
        pid: u32,
        /// How it failed.
        errno: Errno,
    },
}

impl AttachError {
    /// Says what the user can do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            Self::NoProcess(_) => "list processes with `ps -e`".into(),
            Self::Thread { process, .. } => format!("name the process: {process}"),
            Self::Oneself(_) => "name another process".into(),
            Self::KernelThread(_) => "name a user process".into(),
            Self::Zombie(pid) => format!("see who should reap it with `ps -o ppid= -p {pid}`"),
            Self::AlreadyTraced { tracer, name, .. } => {
                format!("detach or end the tracer: {name}, process {tracer}")
            }
            Self::ThirtyTwoBit(_) => "take a core with gcore instead".into(),
            Self::NotPermitted { remedy, .. } => (*remedy).into(),
            Self::Seccomp(_) => {
                "run as root in the initial user namespace, where filters can be suspended".into()
            }
            Self::Unresponsive { .. } => {
                "wait until its disk or network access is over and try again".into()
            }
            Self::Refused { .. } => "run as root, give this user the device with \
                 `setfacl -m u:$USER:rw /dev/userfaultfd`, or allow the call to all with \
                 `sysctl vm.unprivileged_userfaultfd=1`"
                .into(),
            Self::NoUserfaultfd => {
                "use a kernel built with CONFIG_USERFAULTFD; `faultless doctor` tells more".into()
            }
            Self::DescriptorLimit(pid) => {
                format!("raise its limit with `prlimit --pid {pid} --nofile=…`")
            }
            Self::NoInstruction(_) | Self::Architecture => "take a core with gcore instead".into(),
            Self::Replaced(_) => "try again once it runs the program you mean".into(),
            Self::Ended(_) => "start it again and try again".into(),
            Self::System { .. } => "see what this host offers with `faultless doctor`".into(),
        }
    }
}
