//! How a body ends, and the comparisons that end it.

use std::fmt::{self, Debug};
use std::panic::Location;

/// Why a body did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The world lacks what the body needs; the text says what.
    Skip(String),
    /// The world behaves differently; the text says where and how.
    Diverges(String),
    /// The world broke down and nothing can be said about its behaviour.
    Broken(String),
}

/// What a body and everything it is written with return.
pub type Verdict<T = ()> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Skip(why) => write!(f, "skipped: {why}"),
            Failure::Diverges(how) => write!(f, "diverges: {how}"),
            Failure::Broken(why) => write!(f, "world broken: {why}"),
        }
    }
}

/// Ends the body because the world lacks something.
///
/// # Errors
/// Always [`Failure::Skip`].
pub fn skip<T>(why: impl Into<String>) -> Verdict<T> {
    Err(Failure::Skip(why.into()))
}

/// Ends the body with a divergence at the caller's line.
///
/// # Errors
/// Always [`Failure::Diverges`].
#[track_caller]
pub fn diverges<T>(how: impl fmt::Display) -> Verdict<T> {
    let place = Location::caller();
    let file = place.file().rsplit('/').next().unwrap_or_default();
    Err(Failure::Diverges(format!("{how} ({file}:{})", place.line())))
}

/// Compares what the world did with what it promises.
///
/// # Errors
/// [`Failure::Diverges`] when they differ.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "bodies compare literals and temporaries")]
pub fn expect<T: PartialEq + Debug>(what: &str, got: T, want: T) -> Verdict {
    if got == want { Ok(()) } else { diverges(format!("{what}: got {got:?}, want {want:?}")) }
}

/// Checks a condition on what the world did.
///
/// # Errors
/// [`Failure::Diverges`] when it does not hold.
#[track_caller]
pub fn ensure(holds: bool, what: impl fmt::Display) -> Verdict {
    if holds { Ok(()) } else { diverges(what) }
}
