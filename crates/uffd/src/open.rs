//! Getting a userfaultfd from the kernel: by device, by system call, or from another process.
//!
//! The device (`/dev/userfaultfd`, since Linux 6.1) obeys file permissions; the system call obeys
//! a sysctl and a capability, and container runtimes filter it. Either may be closed where the
//! other is open, so both are tried, and an error names both.

use std::fmt;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use faultless_uapi::UFFD_USER_MODE_ONLY;
use faultless_uapi::ioctl::USERFAULTFD_IOC_NEW;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

use crate::errno::Described;
use crate::{Features, Ioctls, Refusal, Uffd, Wanted};

/// The device file of userfaultfd.
const DEVICE: &str = "/dev/userfaultfd";

/// How to open a userfaultfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Report only faults from user mode. A fault inside a system call then fails that call with
    /// EFAULT instead of waiting. In return the system call needs no privilege (Linux 5.11).
    pub user_mode_only: bool,
    /// Reading an empty queue returns at once. Needed for polling: the kernel reports an error
    /// when a blocking userfaultfd is polled. Default true.
    pub nonblocking: bool,
    /// Close the descriptor when the process executes another program. Default true.
    pub cloexec: bool,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions { user_mode_only: false, nonblocking: true, cloexec: true }
    }
}

impl OpenOptions {
    /// Returns the flags of the system call, which are also the argument of the device's request.
    fn flags(self) -> u32 {
        let mut flags = UserfaultfdFlags::empty();
        flags.set(UserfaultfdFlags::CLOEXEC, self.cloexec);
        flags.set(UserfaultfdFlags::NONBLOCK, self.nonblocking);
        flags.bits() | if self.user_mode_only { UFFD_USER_MODE_ONLY } else { 0 }
    }
}

/// Where a userfaultfd came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// `/dev/userfaultfd`.
    Device,
    /// The system call, with kernel-mode faults reported.
    Syscall,
    /// The system call, restricted to faults from user mode.
    SyscallUserModeOnly,
    /// Another process, or a FORK event.
    Received,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Route::Device => DEVICE,
            Route::Syscall => "the system call userfaultfd",
            Route::SyscallUserModeOnly => "the system call userfaultfd, user mode only",
            Route::Received => "another process",
        })
    }
}

/// One step on the way to a userfaultfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Opening the device file.
    OpenDevice,
    /// Asking the device for a userfaultfd.
    NewOnDevice,
    /// The system call.
    Syscall,
    /// The system call, restricted to faults from user mode.
    SyscallUserModeOnly,
    /// The handshake on a fresh descriptor, as a probe does it.
    Handshake,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::OpenDevice => "opening /dev/userfaultfd",
            Step::NewOnDevice => "asking /dev/userfaultfd",
            Step::Syscall => "the system call userfaultfd",
            Step::SyscallUserModeOnly => "the system call userfaultfd(UFFD_USER_MODE_ONLY)",
            Step::Handshake => "the handshake",
        })
    }
}

/// A step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried.
    pub step: Step,
    /// The kernel's answer.
    pub errno: Errno,
}

impl Attempt {
    /// Says whether the next route may be open though this one is closed. Other errors, such as
    /// EMFILE, would meet the next route as well.
    fn falls_through(self) -> bool {
        matches!(
            self.errno,
            Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::NODEV | Errno::NXIO
            // Something else is mounted where the device should be.
            | Errno::NOTTY
        )
    }

    /// Returns what would make this step succeed, as a command where there is one.
    fn remedy(self) -> &'static str {
        match (self.step, self.errno) {
            (Step::OpenDevice, Errno::ACCESS | Errno::PERM) => {
                "as root, run `setfacl -m u:USER:rw /dev/userfaultfd`"
            }
            (Step::OpenDevice, Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
                "give a container `--device /dev/userfaultfd` (the device exists since Linux 6.1)"
            }
            (Step::Syscall, Errno::PERM) => {
                "as root, run `sysctl vm.unprivileged_userfaultfd=1`, or grant CAP_SYS_PTRACE, or \
                 open with UFFD_USER_MODE_ONLY if faults inside system calls may fail"
            }
            (Step::SyscallUserModeOnly, Errno::PERM) => {
                "let the seccomp filter of the container pass `userfaultfd`"
            }
            (Step::SyscallUserModeOnly, Errno::INVAL) => {
                "UFFD_USER_MODE_ONLY needs Linux 5.11; open without it"
            }
            (Step::Syscall | Step::SyscallUserModeOnly, Errno::NOSYS) => {
                "use a kernel built with CONFIG_USERFAULTFD, or let the seccomp filter pass \
                 `userfaultfd`"
            }
            (Step::Handshake, _) => "let the seccomp filter of the container pass `ioctl`",
            (_, Errno::MFILE) => "raise `ulimit -n`",
            (_, Errno::NFILE) => "as root, raise `sysctl fs.file-max`",
            (Step::OpenDevice | Step::NewOnDevice, _) => {
                "check that /dev/userfaultfd is the device listed in /proc/misc"
            }
            _ => "see userfaultfd(2)",
        }
    }
}

/// No userfaultfd could be opened. Names every step tried, its answer and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// The steps tried, in order; never empty.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot open a userfaultfd")?;
        for (index, attempt) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{}: {}", attempt.step, Described(attempt.errno))?;
            write!(f, " ({})", attempt.remedy())?;
        }
        Ok(())
    }
}

impl std::error::Error for OpenError {}

/// A userfaultfd before its handshake: it can do nothing else yet.
#[derive(Debug)]
pub struct UnboundUffd {
    pub(crate) fd: OwnedFd,
    pub(crate) route: Route,
}

impl UnboundUffd {
    /// Takes a userfaultfd that another process made, or that came with a FORK event.
    ///
    /// Nothing is checked yet: [`handshake`](UnboundUffd::handshake) and
    /// [`adopt`](UnboundUffd::adopt) refuse a descriptor of another kind.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> UnboundUffd {
        UnboundUffd { fd, route: Route::Received }
    }

    /// Returns where the descriptor came from.
    #[must_use]
    pub fn route(&self) -> Route {
        self.route
    }

    /// Gives the descriptor up.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl Uffd {
    /// Opens a userfaultfd for the memory of this process.
    ///
    /// Tries the device first, because it also serves inside containers that filter the system
    /// call, then the system call.
    ///
    /// # Errors
    /// | errno of a step | meaning | what happens |
    /// |---|---|---|
    /// | EACCES, EPERM, ENOENT, ENODEV, ENXIO, ENOTTY | this route is closed | the next is tried |
    /// | EMFILE, ENFILE, ENOMEM | no room for a descriptor | reported at once |
    /// | EINVAL | a flag is unknown to this kernel | reported at once |
    ///
    /// # Kernel
    /// System call since 4.3, `UFFD_USER_MODE_ONLY` since 5.11, device since 6.1; `userfaultfd(2)`.
    pub fn open(options: &OpenOptions) -> Result<UnboundUffd, OpenError> {
        open_with(*options, Path::new(DEVICE))
    }

    /// Opens a userfaultfd for the memory of this process by one route only, to learn whether it
    /// is open. The route decides about `user_mode_only` where it says so.
    ///
    /// # Errors
    /// The step that failed, as for [`Uffd::open`].
    ///
    /// # Panics
    /// For [`Route::Received`]: nothing can be opened there.
    pub fn open_by(route: Route, options: &OpenOptions) -> Result<UnboundUffd, Attempt> {
        let restricted = |user_mode_only| OpenOptions { user_mode_only, ..*options };
        let fd = match route {
            Route::Device => open_device(*options, Path::new(DEVICE)),
            Route::Syscall => open_syscall(restricted(false), Step::Syscall),
            Route::SyscallUserModeOnly => open_syscall(restricted(true), Step::SyscallUserModeOnly),
            Route::Received => panic!("a userfaultfd is received, not opened"),
        }?;
        Ok(UnboundUffd { fd, route })
    }
}

/// Opens a userfaultfd, with the device at `device`.
fn open_with(options: OpenOptions, device: &Path) -> Result<UnboundUffd, OpenError> {
    let first = match open_device(options, device) {
        Ok(fd) => return Ok(UnboundUffd { fd, route: Route::Device }),
        Err(attempt) if attempt.falls_through() => attempt,
        Err(attempt) => return Err(OpenError { attempts: vec![attempt] }),
    };
    let (step, route) = if options.user_mode_only {
        (Step::SyscallUserModeOnly, Route::SyscallUserModeOnly)
    } else {
        (Step::Syscall, Route::Syscall)
    };
    open_syscall(options, step)
        .map(|fd| UnboundUffd { fd, route })
        .map_err(|second| OpenError { attempts: vec![first, second] })
}

fn open_syscall(options: OpenOptions, step: Step) -> Result<OwnedFd, Attempt> {
    // SAFETY: making the descriptor changes no memory; what it can do is behind the operations
    // of this crate.
    unsafe { userfaultfd(UserfaultfdFlags::from_bits_retain(options.flags())) }
        .map_err(|errno| Attempt { step, errno })
}

fn open_device(options: OpenOptions, device: &Path) -> Result<OwnedFd, Attempt> {
    let failed = |step| move |errno| Attempt { step, errno };
    let device = rustix::fs::open(device, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed(Step::OpenDevice))?;
    // SAFETY: the request takes an integer and touches no memory; [K4] another kind of device
    // refuses it.
    unsafe { ioctl(&device, NewUserfaultfd { flags: options.flags() }) }
        .map_err(failed(Step::NewOnDevice))
}

/// The request `USERFAULTFD_IOC_NEW`: its argument is an integer, its result a descriptor.
struct NewUserfaultfd {
    flags: u32,
}

// SAFETY: `as_ptr` carries the integer the request expects, no memory is written, and the output
// is made of the descriptor the kernel returns.
unsafe impl Ioctl for NewUserfaultfd {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        USERFAULTFD_IOC_NEW
    }

    fn as_ptr(&mut self) -> *mut libc::c_void {
        std::ptr::without_provenance_mut(self.flags as usize)
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _extract_output: *mut libc::c_void,
    ) -> Result<OwnedFd, Errno> {
        // SAFETY: [K2] the request succeeded, so `out` is a new descriptor.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}

/// What userfaultfd can do on this kernel, for this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Every feature the kernel supports.
    pub features: Features,
    /// The requests a userfaultfd takes besides those of registered ranges.
    pub api_ioctls: Ioctls,
    /// The way that opened one.
    pub route: Route,
}

/// Asks the kernel what it supports.
///
/// A handshake cannot be taken back, so a throw-away descriptor is opened for it; restricted to
/// user mode if nothing more is allowed.
///
/// # Errors
/// That of [`Uffd::open`], with the steps of both tries.
pub fn probe() -> Result<Capabilities, OpenError> {
    let unbound = Uffd::open(&OpenOptions::default()).or_else(|mut error| {
        let options = OpenOptions { user_mode_only: true, ..OpenOptions::default() };
        Uffd::open(&options).map_err(|again| {
            error.attempts.extend(again.attempts.last());
            error
        })
    })?;
    let route = unbound.route;
    let uffd = unbound.handshake(Wanted::default()).map_err(|error| {
        // A kernel refuses none of this; a filter of system calls may.
        let errno = match error.refusal {
            Refusal::Other(errno) => errno,
            _ => Errno::INVAL,
        };
        OpenError { attempts: vec![Attempt { step: Step::Handshake, errno }] }
    })?;
    Ok(Capabilities { features: uffd.supported(), api_ioctls: uffd.api_ioctls(), route })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_each_step_its_errno_and_the_way_out() {
        let error = OpenError {
            attempts: vec![
                Attempt { step: Step::OpenDevice, errno: Errno::ACCESS },
                Attempt { step: Step::Syscall, errno: Errno::PERM },
            ],
        };
        let text = error.to_string();
        for part in [
            "opening /dev/userfaultfd: EACCES: permission denied",
            "setfacl -m u:USER:rw /dev/userfaultfd",
            "the system call userfaultfd: EPERM",
            "sysctl vm.unprivileged_userfaultfd=1",
            "CAP_SYS_PTRACE",
            "UFFD_USER_MODE_ONLY",
        ] {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
    }

    #[test]
    fn closed_routes_fall_through_and_lack_of_room_does_not() {
        for errno in [Errno::ACCESS, Errno::PERM, Errno::NOENT, Errno::NODEV, Errno::NXIO] {
            assert!(Attempt { step: Step::OpenDevice, errno }.falls_through(), "{errno}");
        }
        assert!(!Attempt { step: Step::OpenDevice, errno: Errno::MFILE }.falls_through());
    }

    #[test]
    fn a_file_that_is_no_userfaultfd_device_falls_through_to_the_system_call() {
        for device in ["/nonexistent", "/dev/null"] {
            match open_with(OpenOptions::default(), Path::new(device)) {
                Ok(unbound) => assert_eq!(unbound.route(), Route::Syscall),
                Err(error) => {
                    let last = error.attempts.last().map(|attempt| attempt.step);
                    assert_eq!(last, Some(Step::Syscall), "{error}");
                }
            }
        }
    }
}
