//! The result of trying something: it works, or it fails with a cause.

use rustix::io::Errno;
use serde::Serialize;

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(crate) enum Tried {
    /// It works.
    Works,
    /// It fails.
    Fails {
        /// The kernel's answer, where it gave one.
        #[serde(serialize_with = "errno_name")]
        errno: Option<Errno>,
        /// What the answer means.
        cause: String,
    },
    /// It could not be tried, for want of something else.
    Untried {
        /// What was wanting.
        cause: String,
    },
}

impl Tried {
    /// Takes the kernel's answer.
    pub(crate) fn from_errno(result: Result<(), Errno>) -> Tried {
        match result {
            Ok(()) => Tried::Works,
            Err(errno) => Tried::fails(errno, describe(errno)),
        }
    }

    /// Says that the kernel refused, and what its answer means.
    pub(crate) fn fails(errno: Errno, cause: impl Into<String>) -> Tried {
        Tried::Fails { errno: Some(errno), cause: cause.into() }
    }

    /// Says why there was nothing to try with.
    pub(crate) fn untried(cause: impl Into<String>) -> Tried {
        Tried::Untried { cause: cause.into() }
    }

    /// Says whether it works.
    pub(crate) fn works(&self) -> bool {
        matches!(self, Tried::Works)
    }

    /// Returns the kernel's refusal.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Tried::Fails { errno, .. } => *errno,
            _ => None,
        }
    }

    /// Prints the result in a few words.
    pub(crate) fn words(&self) -> &str {
        match self {
            Tried::Works => "works",
            Tried::Fails { cause, .. } | Tried::Untried { cause } => cause,
        }
    }

    /// Prints the result in one short word, for a cell.
    pub(crate) fn cell(&self) -> &'static str {
        match self {
            Tried::Works => "yes",
            Tried::Fails { .. } => "no",
            Tried::Untried { .. } => "-",
        }
    }
}

/// Names the errnos a doctor meets as the manual pages do, the others as the system does.
pub(super) fn describe(errno: Errno) -> String {
    match name(errno) {
        Some(name) => format!("{} ({name})", meaning(errno)),
        None => errno.to_string(),
    }
}

fn meaning(errno: Errno) -> String {
    // "Operation not permitted (os error 1)" without the number.
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

/// Returns the symbol of an errno.
pub(crate) fn name(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::PERM => "EPERM",
        Errno::NOENT => "ENOENT",
        Errno::SRCH => "ESRCH",
        Errno::INTR => "EINTR",
        Errno::IO => "EIO",
        Errno::NXIO => "ENXIO",
        Errno::NODEV => "ENODEV",
        Errno::AGAIN => "EAGAIN",
        Errno::NOMEM => "ENOMEM",
        Errno::ACCESS => "EACCES",
        Errno::FAULT => "EFAULT",
        Errno::BUSY => "EBUSY",
        Errno::EXIST => "EEXIST",
        Errno::INVAL => "EINVAL",
        Errno::MFILE => "EMFILE",
        Errno::NOTTY => "ENOTTY",
        Errno::NOSYS => "ENOSYS",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        _ => return None,
    })
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn errno_name<S: serde::Serializer>(errno: &Option<Errno>, out: S) -> Result<S::Ok, S::Error> {
    match errno {
        None => out.serialize_none(),
        Some(errno) => match name(*errno) {
            Some(name) => out.serialize_str(name),
            None => out.serialize_str(&format!("E{}", errno.raw_os_error())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_meaning_and_its_symbol() {
        let tried = Tried::from_errno(Err(Errno::PERM));
        assert_eq!(tried.words(), "operation not permitted (EPERM)");
        let json = serde_json::to_value(&tried).expect("a plain value");
        assert_eq!(json["errno"], "EPERM");
        assert_eq!(json["result"], "fails");
    }
}
