//! The host a bench ran on, as far as it explains the figures.
//!
//! [`Host::probe`] reads a handful of files under `/proc` and `/sys`; what cannot be read is
//! reported as `unknown`, since a missing fact must not cost the measurement.

use std::fmt;
use std::fs;
use std::thread;

use serde::Serialize;

use faultless_pages::Bytes;

const UNKNOWN: &str = "unknown";

/// The facts printed with every figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Host {
    /// Kernel release, as `uname -r`.
    kernel: String,
    /// Machine architecture.
    arch: &'static str,
    /// Model name of the first processor.
    cpu: String,
    /// Processors this process may run on.
    cores: usize,
    /// Whether the processor says it runs under a hypervisor: page-table work is dearer there.
    virtualised: bool,
    /// Memory of the host.
    memory_bytes: u64,
    /// The chosen word of `/sys/kernel/mm/transparent_hugepage/enabled`.
    thp: String,
    /// Load of the host over the minute before the run; high means the figures are noisy.
    load_1m: String,
    /// `release` or `debug`: figures of a debug build say little.
    build: &'static str,
}

impl Host {
    /// Asks the running system.
    pub(crate) fn probe() -> Host {
        let cpuinfo = read("/proc/cpuinfo");
        Host {
            kernel: word_or_unknown(read("/proc/sys/kernel/osrelease").trim()),
            arch: std::env::consts::ARCH,
            cpu: cpu_model(&cpuinfo),
            cores: thread::available_parallelism().map_or(1, Into::into),
            virtualised: is_virtualised(&cpuinfo),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            thp: chosen_word(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
            load_1m: word_or_unknown(
                read("/proc/loadavg").split_whitespace().next().unwrap_or_default(),
            ),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }

    /// A host with fixed facts, so that tests of the report do not depend on theirs.
    #[cfg(test)]
    pub(crate) fn for_test() -> Host {
        Host {
            kernel: "6.18.0".to_owned(),
            arch: "x86_64",
            cpu: "test".to_owned(),
            cores: 2,
            virtualised: true,
            memory_bytes: 1 << 30,
            thp: "madvise".to_owned(),
            load_1m: "0.00".to_owned(),
            build: "debug",
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "host: Linux {} {}, {} cores of {}{}, {}, THP {}, load {}, {} build",
            self.kernel,
            self.arch,
            self.cores,
            self.cpu,
            if self.virtualised { " (virtual)" } else { "" },
            Bytes(self.memory_bytes),
            self.thp,
            self.load_1m,
            self.build,
        )
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn word_or_unknown(word: &str) -> String {
    if word.is_empty() { UNKNOWN } else { word }.to_owned()
}

/// Returns the value of the first `key : value` line of a `/proc` table.
fn field<'a>(table: &'a str, key: &str) -> Option<&'a str> {
    table.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// aarch64 names no model, only the implementer's and the part's numbers.
fn cpu_model(cpuinfo: &str) -> String {
    let part = || {
        let implementer = field(cpuinfo, "CPU implementer")?;
        Some(format!("CPU {implementer}/{}", field(cpuinfo, "CPU part")?))
    };
    match field(cpuinfo, "model name") {
        Some(model) => model.to_owned(),
        None => part().unwrap_or_else(|| UNKNOWN.to_owned()),
    }
}

fn is_virtualised(cpuinfo: &str) -> bool {
    field(cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor"))
}

fn memory_bytes(meminfo: &str) -> u64 {
    let kib = field(meminfo, "MemTotal").and_then(|value| value.strip_suffix(" kB")?.parse().ok());
    kib.map_or(0, |kib: u64| kib * 1024)
}

/// Returns the bracketed word of a list such as `always [madvise] never`.
fn chosen_word(list: &str) -> String {
    let word = list.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    word_or_unknown(word.map_or("", |(word, _)| word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_out_of_the_kernels_tables() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu hypervisor\n";
        assert_eq!(cpu_model(cpuinfo), "Some CPU @ 2 GHz");
        assert!(is_virtualised(cpuinfo));
        assert_eq!(memory_bytes("MemTotal:       16384 kB\nMemFree: 1 kB\n"), 16 << 20);
        assert_eq!(chosen_word("always [madvise] never\n"), "madvise");
    }

    #[test]
    fn aarch64_is_named_by_its_part() {
        let cpuinfo = "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(cpu_model(cpuinfo), "CPU 0x41/0xd0c");
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        assert_eq!(cpu_model(""), UNKNOWN);
        assert_eq!(chosen_word(""), UNKNOWN);
        assert_eq!(memory_bytes(""), 0);
        assert!(!is_virtualised(""));
    }
}
