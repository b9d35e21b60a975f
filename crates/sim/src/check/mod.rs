//! What must hold of a run, whatever went wrong in it.
//!
//! Whoever runs a simulation writes down what was done to which page, from when to when, in a
//! [`History`]. Each checker reads the whole history afterwards and knows one rule:
//!
//! | file | the rule |
//! |---|---|
//! | `content` | every read equals the last write |
//! | `once` | no page is installed twice |
//! | `liveness` | every fault ends within so many steps |
//! | `stale` | nothing of before a discard is read after it |
//! | `leak` | nothing is left when everything is over |
//!
//! # Concurrency
//! Deeds overlap. Of two that do, either may have come first, so a rule is broken only if no order
//! of overlapping deeds keeps it.

mod content;
mod history;
mod leak;
mod liveness;
mod once;
mod stale;

use std::fmt;

pub use history::{Deed, DeedId, History, Page, Step, What, Word};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The checker.
    pub checker: &'static str,
    /// What it found.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// A rule, by name.
type Checker = (&'static str, fn(&History) -> Result<(), String>);

/// Every checker. Liveness comes first: what never ended explains what others find.
const CHECKERS: &[Checker] = &[
    ("liveness", liveness::check),
    ("stale", stale::check),
    ("content", content::check),
    ("once", once::check),
    ("leak", leak::check),
];

/// Checks every rule and returns those that were broken.
#[must_use]
pub fn check(history: &History) -> Vec<Finding> {
    let broken =
        |(checker, check): &Checker| check(history).err().map(|what| Finding { checker, what });
    CHECKERS.iter().filter_map(broken).collect()
}
