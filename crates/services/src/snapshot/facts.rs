//! What a core says about the process beside memory and registers, read from `/proc`.
//!
//! None of it needs the process to stand still: it is read after the pause, and what cannot be
//! read any more stays zero.

use std::collections::BTreeMap;
use std::fs;

use faultless_image::core::{MappedFile, ProcessNotes, PsInfo, ThreadNotes, ThreadTimes};

use crate::vma::Vma;

/// Completes the notes of each thread.
pub(super) fn complete(pid: u32, threads: &mut [ThreadNotes]) {
    for thread in threads {
        let base = format!("/proc/{pid}/task/{}", thread.tid);
        let Some(stat) = Stat::read(&format!("{base}/stat")) else { continue };
        thread.ppid = stat.number(PPID);
        thread.pgrp = stat.number(PGRP);
        thread.sid = stat.number(SESSION);
        thread.times = ThreadTimes {
            user_us: stat.ticks_us(UTIME),
            system_us: stat.ticks_us(STIME),
            children_user_us: stat.ticks_us(CUTIME),
            children_system_us: stat.ticks_us(CSTIME),
        };
        let status = Status::read(&format!("{base}/status"));
        thread.sigpend = status.signals("SigPnd") | status.signals("ShdPnd");
    }
}

/// Gathers what the core says about the process as a whole, but for its files.
pub(super) fn process(pid: u32) -> ProcessNotes {
    let stat = Stat::read(&format!("/proc/{pid}/stat")).unwrap_or_default();
    let status = Status::read(&format!("/proc/{pid}/status"));
    let info = PsInfo {
        state: stat.fields.first().and_then(|state| state.bytes().next()).unwrap_or(b'R'),
        nice: stat.number(NICE),
        flags: stat.number(FLAGS),
        uid: status.first_number("Uid"),
        gid: status.first_number("Gid"),
        pid,
        ppid: stat.number(PPID),
        pgrp: stat.number(PGRP),
        sid: stat.number(SESSION),
        name: stat.name.clone().into_bytes(),
        cmdline: fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default(),
    };
    ProcessNotes {
        info,
        // Nothing happened to the process: there is no signal a debugger could show.
        siginfo: Some([0; 128]),
        auxv: fs::read(format!("/proc/{pid}/auxv")).unwrap_or_default(),
        files: Vec::new(),
    }
}

/// Returns the table of mapped files.
pub(super) fn files(vmas: &[Vma]) -> Vec<MappedFile> {
    vmas.iter().filter_map(mapped_file).collect()
}

/// Returns a mapping's line in the file table.
fn mapped_file(vma: &Vma) -> Option<MappedFile> {
    let has_file = !vma.is_anonymous() && !vma.is_kernel_made();
    has_file.then(|| MappedFile { range: vma.range, offset: vma.offset, path: vma.name.clone() })
}

// Places in `/proc/PID/stat`, counted from the state, which comes behind the name.
const PPID: usize = 1;
const PGRP: usize = 2;
const SESSION: usize = 3;
const FLAGS: usize = 6;
const UTIME: usize = 11;
const STIME: usize = 12;
const CUTIME: usize = 13;
const CSTIME: usize = 14;
const NICE: usize = 16;

/// `/proc/PID/stat`.
#[derive(Debug, Default)]
struct Stat {
    name: String,
    fields: Vec<String>,
}

impl Stat {
    fn read(path: &str) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(path).ok()?)
    }

    /// The name may hold anything, blanks and parentheses included; it ends at the last one.
    fn parse(text: &str) -> Option<Stat> {
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        let fields = rest.split_whitespace().map(str::to_owned).collect();
        Some(Stat { name: name.to_owned(), fields })
    }

    fn number<T: std::str::FromStr + Default>(&self, field: usize) -> T {
        self.fields.get(field).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// The kernel tells user space 100 ticks a second on every architecture there is a core for.
    fn ticks_us(&self, field: usize) -> u64 {
        self.number::<u64>(field) * 10_000
    }
}

/// `/proc/PID/status`.
#[derive(Debug, Default)]
struct Status(BTreeMap<String, String>);

impl Status {
    fn read(path: &str) -> Status {
        let text = fs::read_to_string(path).unwrap_or_default();
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Status(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn signals(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or_default()
    }

    fn first_number(&self, name: &str) -> u32 {
        let value = self.0.get(name).and_then(|text| text.split_whitespace().next());
        value.and_then(|number| number.parse().ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let text = "7 (a) (b) S 1 2 3 4 5 64 0 0 0 0 10 20 0 0 20 -5 1";
        let stat = Stat::parse(text).expect("a line");
        assert_eq!(stat.name, "a) (b");
        assert_eq!(stat.number::<u32>(PPID), 1);
        assert_eq!(stat.number::<u64>(FLAGS), 64);
        assert_eq!(stat.ticks_us(STIME), 200_000);
        assert_eq!(stat.number::<i8>(NICE), -5);
    }
}
