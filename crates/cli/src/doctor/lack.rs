//! What is missing on this host, what that costs, and the command that gives it.
//!
//! A pure function of the [`Diagnosis`]: the probes say what is, this file says what it means.

use faultless_pages::Bytes;
use serde::Serialize;

use super::Diagnosis;
use super::host::Access;
use super::rights::Seccomp;

/// Something that is missing.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Lack {
    /// Whether a snapshot fails without it.
    pub(crate) needed: bool,
    pub(crate) what: String,
    pub(crate) costs: String,
    /// A command to run, or the change to make where no command can.
    pub(crate) get: String,
}

impl Lack {
    fn of(what: impl Into<String>, costs: impl Into<String>, get: impl Into<String>) -> Lack {
        Lack { needed: false, what: what.into(), costs: costs.into(), get: get.into() }
    }

    fn needed_if(mut self, needed: bool) -> Lack {
        self.needed = needed;
        self
    }
}

/// Finds everything that is missing, what a snapshot needs first.
pub(crate) fn find(seen: &Diagnosis) -> Vec<Lack> {
    let mut lacks: Vec<Lack> = [attach(seen), other_users(seen), kvm(seen)]
        .into_iter()
        .flatten()
        .chain(memory(seen))
        .collect();
    lacks.sort_by_key(|lack| !lack.needed);
    lacks
}

/// Attaching to a process of one's own, as a snapshot does.
fn attach(seen: &Diagnosis) -> Option<Lack> {
    let tried = &seen.tools.attach;
    if tried.works() {
        return None;
    }
    let get = match seen.rights.ptrace_scope {
        Some(1..) if !seen.rights.holds("CAP_SYS_PTRACE") => {
            "sudo sysctl -w kernel.yama.ptrace_scope=0"
        }
        _ if seen.rights.seccomp == Seccomp::Filter => {
            "run faultless outside of the seccomp filter as root, naming the process by its id \
             there; or allow userfaultfd, ptrace, pidfd_open and pidfd_getfd in the filter"
        }
        _ => "run faultless with sudo",
    };
    let what = format!("attaching to a process: {}", tried.words());
    Some(Lack::of(what, "snapshot", get).needed_if(true))
}

/// Processes of other users.
fn other_users(seen: &Diagnosis) -> Option<Lack> {
    if seen.rights.holds("CAP_SYS_PTRACE") {
        return None;
    }
    let get = match &seen.host.container {
        Some(_) => "docker run --cap-add SYS_PTRACE ...",
        None => "run faultless with sudo",
    };
    let costs = "snapshot of processes of other users and of set-user-id programs";
    Some(Lack::of("CAP_SYS_PTRACE", costs, get))
}

fn kvm(seen: &Diagnosis) -> Option<Lack> {
    let costs = "nothing for a snapshot; virtual machines here are emulated and slow";
    match &seen.host.kvm {
        Access::Usable => None,
        Access::Refused(cause) => Some(Lack::of(
            format!("/dev/kvm: {cause}"),
            costs,
            format!("sudo setfacl -m u:{}:rw /dev/kvm", seen.rights.uid),
        )),
        Access::Absent => {
            let get = match (&seen.host.container, seen.host.architecture) {
                (Some(_), _) => "docker run --device /dev/kvm ...",
                (None, "x86_64") => {
                    "sudo modprobe kvm_intel || sudo modprobe kvm_amd; in a virtual machine, \
                     switch nested virtualisation on for it"
                }
                (None, _) => "boot a kernel with CONFIG_KVM=y in the hypervisor mode of the CPU",
            };
            Some(Lack::of("/dev/kvm: not there", costs, get))
        }
    }
}

/// Memory types that could not be tried or not be protected.
fn memory(seen: &Diagnosis) -> impl Iterator<Item = Lack> + '_ {
    let pools = seen.host.hugetlb.iter().filter(|pool| pool.free + pool.overcommit == 0);
    pools.map(|pool| {
        let size = Bytes(pool.page_bytes);
        // 16 MiB are plenty to try with, and one page is the least there is.
        let pages = (Bytes::mib(16).0 / pool.page_bytes).max(1);
        let get = format!(
            "echo {pages} | sudo tee /sys/kernel/mm/hugepages/hugepages-{}kB/nr_hugepages",
            pool.page_bytes / 1024
        );
        Lack::of(
            format!("free huge pages of {size}"),
            "programs that ask for them; doctor could not try them",
            get,
        )
    })
}
