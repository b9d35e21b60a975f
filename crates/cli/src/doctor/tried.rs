//! The result of trying something: it works, or it fails with a cause.

use faultless_uffd::Described;
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
            Err(errno) => Tried::fails(errno, Described(errno).to_string()),
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

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn errno_name<S: serde::Serializer>(errno: &Option<Errno>, out: S) -> Result<S::Ok, S::Error> {
    match errno {
        None => out.serialize_none(),
        Some(errno) => match Described(*errno).symbol() {
            Some(symbol) => out.serialize_str(symbol),
            None => out.serialize_str(&errno.raw_os_error().to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_its_meaning_and_its_symbol() {
        let tried = Tried::from_errno(Err(Errno::PERM));
        assert_eq!(tried.words(), "EPERM: operation not permitted");
        let json = serde_json::to_value(&tried).expect("a plain value");
        assert_eq!(json["errno"], "EPERM");
        assert_eq!(json["result"], "fails");
    }
}
