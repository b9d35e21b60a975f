//! Error numbers as people read them: the symbol first, because that is what manuals list.

use std::fmt;

use rustix::io::Errno;

/// An errno that prints as `EACCES: permission denied`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described(pub Errno);

impl Described {
    /// Returns the symbol, `None` for an errno that no call of this crate returns.
    #[must_use]
    pub fn symbol(self) -> Option<&'static str> {
        KNOWN.iter().find(|(errno, ..)| *errno == self.0).map(|&(_, symbol, _)| symbol)
    }
}

/// The numbers the calls of this crate return, and a few words for each.
const KNOWN: &[(Errno, &str, &str)] = &[
    (Errno::PERM, "EPERM", "operation not permitted"),
    (Errno::NOENT, "ENOENT", "no such file or directory"),
    (Errno::SRCH, "ESRCH", "no such process"),
    (Errno::INTR, "EINTR", "interrupted"),
    (Errno::IO, "EIO", "input/output error"),
    (Errno::NXIO, "ENXIO", "no such device or address"),
    (Errno::BADF, "EBADF", "not an open descriptor"),
    (Errno::AGAIN, "EAGAIN", "try again"),
    (Errno::NOMEM, "ENOMEM", "out of memory"),
    (Errno::ACCESS, "EACCES", "permission denied"),
    (Errno::FAULT, "EFAULT", "bad address"),
    (Errno::BUSY, "EBUSY", "busy"),
    (Errno::EXIST, "EEXIST", "already exists"),
    (Errno::NODEV, "ENODEV", "no such device"),
    (Errno::INVAL, "EINVAL", "invalid argument"),
    (Errno::NFILE, "ENFILE", "too many open files on this host"),
    (Errno::MFILE, "EMFILE", "too many open files in this process"),
    (Errno::NOTTY, "ENOTTY", "not a device of this kind"),
    (Errno::NOSPC, "ENOSPC", "no space left"),
    (Errno::NOSYS, "ENOSYS", "the kernel has no such call"),
    (Errno::HWPOISON, "EHWPOISON", "memory failure"),
];

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KNOWN.iter().find(|(errno, ..)| *errno == self.0) {
            Some((_, symbol, words)) => write!(f, "{symbol}: {words}"),
            None => write!(f, "errno {}", self.0.raw_os_error()),
        }
    }
}

/// Prints what an errno means for an operation, where that is known, and its description elsewhere.
pub(crate) struct Explained(pub(crate) Option<&'static str>, pub(crate) Errno);

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(meaning) => f.write_str(meaning),
            None => Described(self.1).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_print_their_symbol_and_others_their_number() {
        assert_eq!(Described(Errno::ACCESS).to_string(), "EACCES: permission denied");
        assert_eq!(Described(Errno::ACCESS).symbol(), Some("EACCES"));
        assert_eq!(Described(Errno::from_raw_os_error(4000)).to_string(), "errno 4000");
    }
}
