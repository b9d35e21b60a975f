//! What this process may do: user, capabilities, seccomp, security modules, sysctls.
//!
//! Read from `/proc`; nothing is tried here. A capability counts only where the kernel asks for
//! it: `userfaultfd(2)` asks in the initial user namespace, so root of a container's own user
//! namespace holds CAP_SYS_PTRACE and is refused all the same.

use std::fs;

use serde::Serialize;

/// The inode number of the initial user namespace, fixed by the kernel's ABI.
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// The capabilities faultless can make use of, with their numbers and their use.
const CAPABILITIES: [(&str, u32, &str); 5] = [
    (
        "CAP_SYS_PTRACE",
        19,
        "attach to processes of other users; userfaultfd that sees kernel faults; fork events",
    ),
    ("CAP_SYS_ADMIN", 21, "physical page numbers in pagemap; private mount namespaces"),
    (
        "CAP_CHECKPOINT_RESTORE",
        40,
        "the files behind another process's mappings, without CAP_SYS_ADMIN",
    ),
    ("CAP_IPC_LOCK", 14, "lock memory beyond the memlock limit"),
    ("CAP_SYS_RESOURCE", 24, "raise limits; use the reserved blocks of a full disk"),
];

/// The rights of this process.
#[derive(Debug, Serialize)]
pub(crate) struct Rights {
    /// The effective user.
    pub(crate) uid: u32,
    /// Whether the user namespace is the one the kernel asks for capabilities in.
    pub(crate) initial_user_namespace: bool,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) no_new_privs: bool,
    pub(crate) seccomp: Seccomp,
    /// The active security modules, `None` where the kernel does not tell.
    pub(crate) security_modules: Option<String>,
    /// The label a security module gave this process, e.g. an AppArmor profile.
    pub(crate) security_label: Option<String>,
    /// Yama's `kernel.yama.ptrace_scope`, `None` without Yama.
    pub(crate) ptrace_scope: Option<u32>,
    /// `vm.unprivileged_userfaultfd`, `None` before Linux 5.2 or without userfaultfd.
    pub(crate) unprivileged_userfaultfd: Option<u32>,
}

/// One capability.
#[derive(Debug, Serialize)]
pub(crate) struct Capability {
    pub(crate) name: &'static str,
    pub(crate) effective: bool,
    /// Whether the process could still get it through an executable that grants it.
    pub(crate) bounding: bool,
    pub(crate) used_for: &'static str,
}

/// The seccomp mode of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Seccomp {
    /// No filter.
    Off,
    /// The original strict mode.
    Strict,
    /// One filter or more.
    Filter,
    /// `/proc` does not tell.
    Unknown,
}

impl Rights {
    /// Reads the rights of this process.
    pub(crate) fn read() -> Rights {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/user").unwrap_or_default();
        Rights {
            initial_user_namespace: namespace.to_str() == Some(INITIAL_USER_NAMESPACE),
            security_modules: text("/sys/kernel/security/lsm"),
            security_label: text("/proc/self/attr/current").filter(|label| label != "unconfined"),
            ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
            unprivileged_userfaultfd: number("/proc/sys/vm/unprivileged_userfaultfd"),
            ..Rights::of_status(&status)
        }
    }

    /// Takes what `/proc/PID/status` tells.
    fn of_status(status: &str) -> Rights {
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let mask = |name| field(name).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let (effective, bounding) = (mask("CapEff").unwrap_or(0), mask("CapBnd").unwrap_or(0));
        Rights {
            uid: rustix::process::geteuid().as_raw(),
            initial_user_namespace: false,
            capabilities: CAPABILITIES
                .iter()
                .map(|&(name, bit, used_for)| Capability {
                    name,
                    effective: effective >> bit & 1 == 1,
                    bounding: bounding >> bit & 1 == 1,
                    used_for,
                })
                .collect(),
            no_new_privs: field("NoNewPrivs") == Some("1"),
            seccomp: match field("Seccomp") {
                Some("0") => Seccomp::Off,
                Some("1") => Seccomp::Strict,
                Some("2") => Seccomp::Filter,
                _ => Seccomp::Unknown,
            },
            security_modules: None,
            security_label: None,
            ptrace_scope: None,
            unprivileged_userfaultfd: None,
        }
    }

    /// Says whether the capability is effective here, in whichever user namespace.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.capabilities.iter().any(|capability| capability.name == name && capability.effective)
    }
}

/// Reads a small file that holds one line of text.
pub(super) fn text(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim_end_matches(['\0', '\n']).trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Reads a small file that holds one number.
pub(super) fn number<N: std::str::FromStr>(path: &str) -> Option<N> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_container_has_no_capabilities_and_a_filter() {
        let status = "Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n\
                      NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let rights = Rights::of_status(status);
        assert!(!rights.holds("CAP_SYS_PTRACE"));
        assert!(!rights.capabilities[0].bounding);
        assert!(rights.no_new_privs);
        assert_eq!(rights.seccomp, Seccomp::Filter);
    }
}
