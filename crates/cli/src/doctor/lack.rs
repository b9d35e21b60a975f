//! What is missing on this host, what that costs, and the command that gives it.
//!
//! A pure function of the [`Diagnosis`]: the probes say what is, this file says what it means.

use faultless_pages::Bytes;
use rustix::io::Errno;
use serde::Serialize;

use super::Diagnosis;
use super::features::Feature;
use super::host::Access;
use super::rights::Seccomp;
use super::tried::Tried;

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
    let mut lacks: Vec<Lack> = [
        syscall(seen),
        device(seen),
        attach(seen),
        snapshot(seen),
        other_users(seen),
        page_scan(seen),
        kvm(seen),
    ]
    .into_iter()
    .flatten()
    .chain(features(seen))
    .chain(memory(seen))
    .collect();
    lacks.sort_by_key(|lack| !lack.needed);
    lacks
}

/// `userfaultfd(2)`: the call a snapshot has the target make, unless the device serves.
fn syscall(seen: &Diagnosis) -> Option<Lack> {
    let refusal = &seen.userfaultfd.syscall;
    if refusal.works() {
        return None;
    }
    let needed = !seen.tools.attach.works();
    let costs = match needed {
        true => "snapshot: a process cannot be given a userfaultfd",
        false => "nothing for a snapshot, which takes the way through /dev/userfaultfd",
    };
    let lack = if seen.userfaultfd.syscall_user_mode_only.works() {
        let what = "userfaultfd(2) that serves faults of the kernel: it asks for CAP_SYS_PTRACE in \
                    the initial user namespace, as vm.unprivileged_userfaultfd is not 1";
        Lack::of(what, costs, allow_by_sysctl(seen))
    } else if seen.rights.seccomp != Seccomp::Filter && refusal.errno() == Some(Errno::NOSYS) {
        let get = "boot a kernel built with CONFIG_USERFAULTFD=y, as those of Debian, Fedora, \
                   Ubuntu and their relatives are";
        Lack::of("userfaultfd: this kernel is built without it", costs, get)
    } else {
        let what = format!("userfaultfd(2) under this seccomp filter: {}", refusal.words());
        Lack::of(what, costs, escape_seccomp(seen))
    };
    Some(lack.needed_if(needed))
}

/// Returns how a user without privileges gets a whole userfaultfd, the narrowest way first.
fn allow_by_sysctl(seen: &Diagnosis) -> String {
    let device = match seen.userfaultfd.device.errno() {
        Some(Errno::ACCESS | Errno::PERM) => format!("{}, or ", allow_device(seen)),
        _ => String::new(),
    };
    format!("{device}sudo sysctl -w vm.unprivileged_userfaultfd=1, or run faultless with sudo")
}

fn allow_device(seen: &Diagnosis) -> String {
    format!("sudo setfacl -m u:{}:rw /dev/userfaultfd", seen.rights.uid)
}

/// Returns how to get rid of the filter. Allowing one call in it is not enough: a process with any
/// filter is only attached to where the kernel may suspend that filter, which takes root outside.
fn escape_seccomp(seen: &Diagnosis) -> &'static str {
    match seen.host.container.as_deref() {
        Some("docker") => {
            "docker run --security-opt seccomp=unconfined ..., or, outside of the container, \
             sudo faultless with the id the process has there"
        }
        Some("podman") => {
            "podman run --security-opt seccomp=unconfined ..., or, outside of the container, \
             sudo faultless with the id the process has there"
        }
        Some("kubernetes") => {
            "set securityContext.seccompProfile.type to Unconfined, or, on the node, \
             sudo faultless with the id the process has there"
        }
        _ => {
            "sudo faultless, started where no filter is: outside of the container, or of the \
             service that sets SystemCallFilter"
        }
    }
}

/// `/dev/userfaultfd`: the way around sysctl and capability.
fn device(seen: &Diagnosis) -> Option<Lack> {
    let device = &seen.userfaultfd.device;
    let costs = "nothing for a snapshot; own userfaultfds need the system call's permission";
    match device.errno()? {
        Errno::NOENT | Errno::NXIO | Errno::NODEV => {
            let get = match &seen.host.container {
                Some(_) => "docker run --device /dev/userfaultfd ...",
                None => "boot Linux 6.1 or newer with CONFIG_USERFAULTFD=y and devtmpfs",
            };
            Some(Lack::of("/dev/userfaultfd: not there", costs, get))
        }
        _ => Some(Lack::of(
            format!("/dev/userfaultfd: {}", device.words()),
            costs,
            allow_device(seen),
        )),
    }
}

/// Attaching to a process of one's own, as a snapshot does.
fn attach(seen: &Diagnosis) -> Option<Lack> {
    let tried = &seen.tools.attach;
    // An errno means that everything worked but the call itself. `syscall` tells of that, and of
    // a filter that refuses it.
    let told = tried.errno().is_some()
        || (seen.rights.seccomp == Seccomp::Filter
            && !seen.userfaultfd.syscall_user_mode_only.works());
    if tried.works() || told {
        return None;
    }
    let get = match seen.rights.ptrace_scope {
        Some(1..) if !seen.rights.holds("CAP_SYS_PTRACE") => {
            "sudo sysctl -w kernel.yama.ptrace_scope=0"
        }
        _ if seen.rights.seccomp == Seccomp::Filter => escape_seccomp(seen),
        _ => "run faultless with sudo",
    };
    let what = format!("attaching to a process: {}", tried.words());
    Some(Lack::of(what, "snapshot", get).needed_if(true))
}

/// The snapshot itself, where nothing that is known to be needed is missing.
fn snapshot(seen: &Diagnosis) -> Option<Lack> {
    match &seen.tools.snapshot {
        Tried::Fails { cause, .. } => {
            let what = format!("a snapshot of a child: {cause}");
            let get = "faultless snapshot of a process of your own, for the error in its context";
            Some(Lack::of(what, "snapshot", get).needed_if(true))
        }
        Tried::Works | Tried::Untried { .. } => None,
    }
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

fn page_scan(seen: &Diagnosis) -> Option<Lack> {
    let tried = &seen.tools.pagemap_scan;
    if tried.works() {
        return None;
    }
    let what = format!("PAGEMAP_SCAN: {}", tried.words());
    let costs = "snapshot pauses longer: it reads the page table entry by entry";
    Some(Lack::of(what, costs, "boot Linux 6.7 or newer"))
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

/// Features of the handshake, those of one kernel together.
fn features(seen: &Diagnosis) -> Vec<Lack> {
    let missing: Vec<&Feature> =
        seen.features.iter().filter(|feature| feature.supported == Some(false)).collect();
    missing
        .chunk_by(|a, b| a.since == b.since && a.needed == b.needed)
        .map(|group| {
            let list = |of: fn(&Feature) -> &str| {
                group.iter().map(|feature| of(feature)).collect::<Vec<_>>().join(", ")
            };
            let gives = list(|feature| feature.gives);
            let needed = group[0].needed;
            Lack::of(
                format!("features of Linux {}: {}", group[0].since, list(|feature| feature.name)),
                if needed { format!("snapshot: {gives}") } else { gives },
                format!("boot Linux {} or newer", group[0].since),
            )
            .needed_if(needed)
        })
        .collect()
}

/// Memory types that could not be tried or not be protected.
fn memory(seen: &Diagnosis) -> impl Iterator<Item = Lack> + '_ {
    let pools = seen.host.hugetlb.iter().filter(|pool| pool.is_empty());
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

#[cfg(test)]
mod test;
