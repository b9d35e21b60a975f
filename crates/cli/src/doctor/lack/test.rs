//! What is said about hosts that cannot be had here.

use rustix::io::Errno;

use super::*;
use crate::doctor::features;
use crate::doctor::host::{Host, HugePages, Pool};
use crate::doctor::rights::{Capability, Rights};
use crate::doctor::routes::Routes;
use crate::doctor::tools::Tools;

/// A host that lacks nothing, seen by root.
fn healthy() -> Diagnosis {
    Diagnosis {
        snapshot_works: true,
        host: Host {
            kernel: "9.9".into(),
            architecture: "x86_64",
            page_bytes: 4096,
            container: None,
            transparent_huge_pages: HugePages { anonymous: None, shmem: None },
            hugetlb: vec![Pool { page_bytes: 2 << 20, pages: 8, free: 8, overcommit: 0 }],
            max_map_count: Some(65_530),
            memlock_bytes: None,
            open_files: None,
            kvm: Access::Usable,
        },
        rights: Rights {
            uid: 0,
            initial_user_namespace: true,
            capabilities: vec![Capability {
                name: "CAP_SYS_PTRACE",
                effective: true,
                bounding: true,
                used_for: "tracing",
            }],
            no_new_privs: false,
            seccomp: Seccomp::Off,
            security_modules: None,
            security_label: None,
            ptrace_scope: None,
            unprivileged_userfaultfd: Some(0),
        },
        userfaultfd: Routes {
            device: Tried::Works,
            syscall: Tried::Works,
            syscall_user_mode_only: Tried::Works,
        },
        features: features::list(Some(u64::MAX)),
        unknown_features: 0,
        memory: Vec::new(),
        tools: Tools {
            attach: Tried::Works,
            snapshot: Tried::Works,
            pidfd_open: Tried::Works,
            pidfd_getfd: Tried::Works,
            process_vm_readv: Tried::Works,
            pagemap_scan: Tried::Works,
        },
        lacks: Vec::new(),
    }
}

/// The same host for a user without any right.
fn unprivileged() -> Diagnosis {
    let mut seen = healthy();
    seen.rights.uid = 1000;
    seen.rights.capabilities[0].effective = false;
    seen.userfaultfd.device = refused(Errno::ACCESS);
    seen.userfaultfd.syscall = refused(Errno::PERM);
    seen.tools.attach = refused(Errno::PERM);
    seen
}

fn refused(errno: Errno) -> Tried {
    Tried::from_errno(Err(errno))
}

/// Returns what a snapshot needs and does not have.
fn needed(seen: &Diagnosis) -> Vec<Lack> {
    find(seen).into_iter().filter(|lack| lack.needed).collect()
}

#[test]
fn a_healthy_host_lacks_nothing() {
    assert_eq!(find(&healthy()), []);
}

#[test]
fn a_kernel_without_write_protection_is_told_which_one_has_it() {
    let mut seen = healthy();
    seen.features = features::list(Some(!1));
    let lacks = needed(&seen);
    assert_eq!(lacks.len(), 1);
    let since = if cfg!(target_arch = "aarch64") { "6.10" } else { "5.7" };
    assert_eq!(lacks[0].what, format!("features of Linux {since}: PAGEFAULT_FLAG_WP"));
    assert!(lacks[0].costs.starts_with("snapshot: "), "{lacks:?}");
    assert_eq!(lacks[0].get, format!("boot Linux {since} or newer"));
}

#[test]
fn a_kernel_without_userfaultfd_is_not_taken_for_a_filter() {
    let mut seen = healthy();
    seen.userfaultfd.device = refused(Errno::NOENT);
    seen.userfaultfd.syscall = refused(Errno::NOSYS);
    seen.userfaultfd.syscall_user_mode_only = refused(Errno::NOSYS);
    seen.tools.attach = refused(Errno::NOSYS);
    let lacks = needed(&seen);
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert_eq!(lacks[0].what, "userfaultfd: this kernel is built without it");
    assert!(lacks[0].get.contains("CONFIG_USERFAULTFD=y"));
}

#[test]
fn an_unprivileged_user_is_offered_the_narrowest_way_first() {
    let lacks = needed(&unprivileged());
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    let first = "sudo setfacl -m u:1000:rw /dev/userfaultfd, or sudo sysctl";
    assert!(lacks[0].get.starts_with(first), "{lacks:?}");
}

#[test]
fn a_device_that_serves_makes_the_system_call_optional() {
    let mut seen = unprivileged();
    seen.userfaultfd.device = Tried::Works;
    seen.tools.attach = Tried::Works;
    assert_eq!(needed(&seen), []);
    let lacks = find(&seen);
    let syscall = lacks.iter().find(|lack| lack.what.starts_with("userfaultfd(2)"));
    assert!(syscall.is_some_and(|lack| lack.costs.starts_with("nothing")), "{lacks:?}");
}

#[test]
fn yama_is_named_with_its_sysctl() {
    let mut seen = unprivileged();
    seen.userfaultfd.syscall = Tried::Works;
    seen.rights.ptrace_scope = Some(2);
    seen.tools.attach = Tried::Fails { errno: None, cause: "not permitted".into() };
    let lacks = needed(&seen);
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert_eq!(lacks[0].get, "sudo sysctl -w kernel.yama.ptrace_scope=0");
}

#[test]
fn every_container_is_told_in_its_own_words_how_to_open_its_filter() {
    for (container, word) in [
        ("docker", "docker run --security-opt"),
        ("podman", "podman run --security-opt"),
        ("kubernetes", "seccompProfile"),
        ("lxd", "sudo faultless, started where no filter is"),
    ] {
        let mut seen = unprivileged();
        seen.host.container = Some(container.into());
        seen.rights.seccomp = Seccomp::Filter;
        seen.userfaultfd.syscall_user_mode_only = refused(Errno::PERM);
        let lacks = needed(&seen);
        assert!(lacks[0].what.contains("seccomp filter"), "{lacks:?}");
        assert!(lacks[0].get.contains(word), "{container}: {lacks:?}");
    }
}

#[test]
fn each_lack_has_a_cost_and_a_way_out() {
    let mut seen = unprivileged();
    seen.features = features::list(Some(0));
    seen.host.hugetlb[0].free = 0;
    seen.host.kvm = Access::Absent;
    seen.tools.pagemap_scan = refused(Errno::NOTTY);
    let lacks = find(&seen);
    assert!(lacks.len() >= 8, "{lacks:?}");
    for lack in lacks {
        assert!(!lack.what.is_empty() && !lack.costs.is_empty() && !lack.get.is_empty());
    }
}

#[test]
fn a_snapshot_that_fails_for_no_known_reason_is_still_a_no() {
    let mut seen = healthy();
    seen.tools.snapshot = Tried::Fails { errno: None, cause: "cannot write-protect".into() };
    let lacks = needed(&seen);
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert!(lacks[0].what.contains("cannot write-protect"));
}
