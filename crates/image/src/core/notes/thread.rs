//! Notes of one thread: `struct elf_prstatus` and its other register sets.

use super::super::elf::{note, u64_at};
use super::super::machine::Machine;
use super::NotesError;

/// Bytes of `struct elf_prstatus` before the general registers.
const HEAD_LEN: usize = 112;
/// Bytes behind them: `pr_fpvalid` and padding.
const FOOT_LEN: usize = 8;

/// The signal a thread was met with; all zero for a thread that simply ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SignalInfo {
    /// Signal number; debuggers print what is not 0 as the cause of the core.
    pub signo: i32,
    /// Why it was sent (`si_code`).
    pub code: i32,
    /// Its `si_errno`.
    pub errno: i32,
}

impl SignalInfo {
    /// Returns the `siginfo_t` that says no more than this.
    pub(super) fn to_siginfo(self) -> [u8; 128] {
        let mut out = [0; 128];
        // siginfo_t orders errno before code, elf_siginfo behind it.
        out[0..4].copy_from_slice(&self.signo.to_le_bytes());
        out[4..8].copy_from_slice(&self.errno.to_le_bytes());
        out[8..12].copy_from_slice(&self.code.to_le_bytes());
        out
    }
}

/// Processor time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThreadTimes {
    /// In user mode.
    pub user_us: u64,
    /// In the kernel.
    pub system_us: u64,
    /// Of reaped children, in user mode.
    pub children_user_us: u64,
    /// Of reaped children, in the kernel.
    pub children_system_us: u64,
}

/// A register set beside the general registers, as `PTRACE_GETREGSET` gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Regset {
    /// Its note type, e.g. [`note::FPREGSET`] or [`note::X86_XSTATE`].
    pub kind: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Regset {
    /// Returns the owner the kernel gives the note.
    pub(super) fn owner(&self) -> &'static str {
        match self.kind {
            note::FPREGSET => note::OWNER_CORE,
            _ => note::OWNER_LINUX,
        }
    }
}

/// One thread.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ThreadNotes {
    /// Thread id.
    pub tid: u32,
    /// Process id of the parent.
    pub ppid: u32,
    /// Process group.
    pub pgrp: u32,
    /// Session.
    pub sid: u32,
    /// The signal it was met with.
    pub signal: SignalInfo,
    /// Pending signals, one bit each.
    pub sigpend: u64,
    /// Blocked signals, one bit each.
    pub sighold: u64,
    /// Its processor time.
    pub times: ThreadTimes,
    /// General registers as `PTRACE_GETREGSET` with `NT_PRSTATUS` gives them: 216 bytes on
    /// x86-64, 272 on aarch64.
    pub general: Vec<u8>,
    /// The other register sets, in the kernel's order (`FPREGSET` first).
    pub regsets: Vec<Regset>,
}

impl ThreadNotes {
    /// Writes `struct elf_prstatus`.
    pub(super) fn encode(&self, machine: Machine) -> Result<Vec<u8>, NotesError> {
        let expected = machine.general_len();
        if self.general.len() != expected {
            return Err(NotesError::RegisterSize {
                tid: self.tid,
                machine,
                expected,
                found: self.general.len(),
            });
        }
        let mut out = Vec::with_capacity(HEAD_LEN + expected + FOOT_LEN);
        out.extend(self.signal.signo.to_le_bytes());
        out.extend(self.signal.code.to_le_bytes());
        out.extend(self.signal.errno.to_le_bytes());
        // pr_cursig is 16 bits and padded to 8 bytes; signals number 64.
        out.extend((self.signal.signo & 0xff).to_le_bytes());
        out.extend(self.sigpend.to_le_bytes());
        out.extend(self.sighold.to_le_bytes());
        for id in [self.tid, self.ppid, self.pgrp, self.sid] {
            out.extend(id.to_le_bytes());
        }
        for time_us in [
            self.times.user_us,
            self.times.system_us,
            self.times.children_user_us,
            self.times.children_system_us,
        ] {
            out.extend((time_us / 1_000_000).to_le_bytes());
            out.extend((time_us % 1_000_000).to_le_bytes());
        }
        assert_eq!(out.len(), HEAD_LEN, "the head of elf_prstatus");
        out.extend(&self.general);
        let has_fp = self.regsets.iter().any(|set| set.kind == note::FPREGSET);
        out.extend(u64::from(has_fp).to_le_bytes());
        Ok(out)
    }
}

/// What a reader takes out of `struct elf_prstatus`.
pub(crate) struct Status {
    pub(crate) tid: u32,
    pub(crate) signo: i32,
    pub(crate) general: Vec<u64>,
}

/// Reads `struct elf_prstatus`; `None` if it is too short for the machine.
pub(crate) fn decode_status(machine: Machine, bytes: &[u8]) -> Option<Status> {
    let general = bytes.get(HEAD_LEN..HEAD_LEN + machine.general_len())?;
    let (words, _) = general.as_chunks::<8>();
    let head = |at: usize| u64_at(bytes, at).to_le_bytes();
    Some(Status {
        tid: u32::from_le_bytes(head(32)[..4].try_into().expect("four bytes")),
        // pr_cursig; the elf_siginfo before it is not filled by every writer.
        signo: i32::from(i16::from_le_bytes(head(8)[4..6].try_into().expect("two bytes"))),
        general: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prstatus_has_the_kernels_size_and_fields() {
        for (machine, size) in [(Machine::X86_64, 336), (Machine::Aarch64, 392)] {
            let thread = ThreadNotes {
                tid: 77,
                ppid: 1,
                signal: SignalInfo { signo: 11, code: 2, errno: 3 },
                times: ThreadTimes { user_us: 3_000_005, ..ThreadTimes::default() },
                general: (0u8..=255).cycle().take(machine.general_len()).collect(),
                regsets: vec![Regset { kind: note::FPREGSET, bytes: vec![] }],
                ..ThreadNotes::default()
            };
            let bytes = thread.encode(machine).unwrap();
            assert_eq!(bytes.len(), size);
            assert_eq!(bytes[0..4], 11i32.to_le_bytes());
            assert_eq!(bytes[4..8], 2i32.to_le_bytes());
            assert_eq!(bytes[8..12], 3i32.to_le_bytes());
            assert_eq!(bytes[12..14], 11i16.to_le_bytes());
            assert_eq!(bytes[32..36], 77u32.to_le_bytes());
            assert_eq!(bytes[36..40], 1u32.to_le_bytes());
            assert_eq!(bytes[48..56], 3u64.to_le_bytes());
            assert_eq!(bytes[56..64], 5u64.to_le_bytes());
            assert_eq!(bytes[112..115], [0, 1, 2]);
            assert_eq!(bytes[size - 8..size - 4], 1u32.to_le_bytes());
            let status = decode_status(machine, &bytes).unwrap();
            assert_eq!((status.tid, status.signo), (77, 11));
            assert_eq!(status.general.len() * 8, machine.general_len());
        }
    }

    #[test]
    fn registers_of_the_wrong_size_are_refused() {
        let thread = ThreadNotes { general: vec![0; 215], ..ThreadNotes::default() };
        let error = thread.encode(Machine::X86_64).unwrap_err();
        assert!(matches!(error, NotesError::RegisterSize { found: 215, .. }));
    }
}
