//! The error of an operation that either happens or does not: REGISTER, UNREGISTER, WAKE and
//! `SET_MODE`. Operations that can stop half-way return [`crate::Outcome`] instead.

use std::fmt;

use faultless_pages::VaRange;
use rustix::io::Errno;

use crate::errno::Described;

/// An operation, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// REGISTER.
    Register,
    /// UNREGISTER.
    Unregister,
    /// WAKE.
    Wake,
    /// COPY.
    Copy,
    /// ZEROPAGE.
    Zeropage,
    /// MOVE.
    Move,
    /// CONTINUE.
    Continue,
    /// WRITEPROTECT.
    WriteProtect,
    /// RWPROTECT.
    RwProtect,
    /// POISON.
    Poison,
    /// `SET_MODE`.
    SetMode,
}

/// What an operation does to a range, as a verb.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Register => "register",
            Op::Unregister => "unregister",
            Op::Wake => "wake",
            Op::Copy => "copy to",
            Op::Zeropage => "zero",
            Op::Move => "move pages to",
            Op::Continue => "continue",
            Op::WriteProtect => "write-protect",
            Op::RwProtect => "read-write-protect",
            Op::Poison => "poison",
            Op::SetMode => "switch features of",
        })
    }
}

/// An operation the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpError {
    /// What was asked for.
    pub op: Op,
    /// Where. Empty for `SET_MODE`, which concerns the whole userfaultfd.
    pub range: VaRange,
    /// The kernel's answer.
    pub errno: Errno,
}

impl OpError {
    /// Says why this operation answers with this number, and what to do about it.
    fn advice(&self) -> Option<&'static str> {
        Some(match (self.op, self.errno) {
            (Op::Register, Errno::INVAL) => {
                "the range is not page aligned, holds no mapping, or holds memory that cannot \
                 have this mode; check the mode against the memory type and the granted features"
            }
            (Op::Register, Errno::PERM) => {
                "the range maps a file that may not be written; open it for writing or leave it out"
            }
            (Op::Register, Errno::BUSY) => {
                "another userfaultfd owns part of it, or this registration would drop \
                 write-protection; unregister it there first"
            }
            (Op::Register | Op::Unregister, Errno::NOMEM) => {
                "the process is gone or has too many mappings; raise vm.max_map_count if it lives"
            }
            (Op::Unregister, Errno::INVAL) => {
                "the range is not page aligned, holds no mapping, holds memory userfaultfd cannot \
                 have, or belongs to another userfaultfd; unregister exactly what was registered"
            }
            (Op::SetMode, Errno::INVAL) => {
                "only RWP_ASYNC can be switched, and only if RWP was granted; ask for RWP in the \
                 handshake (Linux 7.3)"
            }
            (_, Errno::INVAL) => "the range is not page aligned or empty; align it",
            (_, Errno::SRCH) => "the process is gone; drop the userfaultfd",
            _ => return None,
        })
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} ", self.op)?;
        if self.range.is_empty() {
            f.write_str("the userfaultfd")?;
        } else {
            write!(f, "{}", self.range)?;
        }
        match self.advice() {
            Some(advice) => write!(f, ": {} ({advice})", Described(self.errno)),
            None => write!(f, ": {}", Described(self.errno)),
        }
    }
}

impl std::error::Error for OpError {}

#[cfg(test)]
mod tests {
    use faultless_pages::Va;

    use super::*;

    #[test]
    fn messages_name_the_range_the_cause_and_the_next_step() {
        let range = VaRange::new(Va(0x1000), Va(0x2000));
        let error = OpError { op: Op::Register, range, errno: Errno::BUSY };
        let text = error.to_string();
        assert!(text.starts_with("cannot register 1000-2000: EBUSY: busy (another userfaultfd"));
        assert!(text.contains("unregister it there first"));
        let error = OpError { op: Op::SetMode, range: VaRange::default(), errno: Errno::SRCH };
        assert!(error.to_string().starts_with("cannot switch features of the userfaultfd: ESRCH"));
    }
}
