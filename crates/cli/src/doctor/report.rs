//! The diagnosis as text for people, in at most 100 columns.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use faultless_pages::Bytes;

use super::Diagnosis;
use super::host::{Access, Host};
use super::lack::Lack;
use super::memory::{Kind, MODES, OPERATIONS};
use super::rights::{Rights, Seccomp};
use super::tried::Tried;
use crate::table::{Table, wrap};

/// Renders the whole report.
pub(crate) fn text(seen: &Diagnosis) -> String {
    let mut out = String::new();
    let sections = [
        ("host", host(&seen.host)),
        ("rights", rights(&seen.rights)),
        ("userfaultfd", userfaultfd(seen)),
        ("features", features(seen)),
        ("memory: what it can be registered for", memory(seen, &MODES, |kind| &kind.modes)),
        ("memory: what can be done with it", memory(seen, &OPERATIONS, |kind| &kind.operations)),
        ("settings", settings(&seen.host)),
    ];
    for (title, body) in sections {
        let _ = write!(out, "{title}\n{body}\n");
    }
    for (title, needed) in [("missing, needed by a snapshot", true), ("missing", false)] {
        out.push_str(&missing(title, seen, needed));
    }
    out.push_str(if seen.snapshot_works {
        "A snapshot works here.\n"
    } else {
        "A snapshot does not work here.\n"
    });
    out
}

fn host(host: &Host) -> String {
    let mut table = Table::new(2);
    table.row(["kernel", &host.kernel]);
    let page = Bytes(host.page_bytes);
    table.row(["machine".into(), format!("{}, pages of {page}", host.architecture)]);
    table.row(["container", host.container.as_deref().unwrap_or("none seen")]);
    table.row([
        "kvm",
        match &host.kvm {
            Access::Usable => "usable",
            Access::Refused(cause) => cause,
            Access::Absent => "not there",
        },
    ]);
    table.render()
}

fn rights(rights: &Rights) -> String {
    let mut table = Table::new(2);
    let namespace = match rights.initial_user_namespace {
        true => "in the initial user namespace",
        false => "in a user namespace of its own",
    };
    table.row(["user".into(), format!("{} {namespace}", rights.uid)]);
    for capability in &rights.capabilities {
        let held = match (capability.effective, capability.bounding) {
            (true, _) => "held",
            (false, true) => "not held",
            (false, false) => "out of reach",
        };
        table.row([capability.name.into(), format!("{held}: {}", capability.used_for)]);
    }
    table.row([
        "seccomp",
        match rights.seccomp {
            Seccomp::Off => "no filter",
            Seccomp::Strict => "strict mode",
            Seccomp::Filter => "a filter is installed",
            Seccomp::Unknown => "unknown: /proc does not tell",
        },
    ]);
    let modules = rights.security_modules.as_deref().unwrap_or("not told");
    let label = rights.security_label.as_deref().map(|label| format!("; running as {label}"));
    table.row(["security modules".into(), format!("{modules}{}", label.unwrap_or_default())]);
    let or_absent = |value: Option<u32>| value.map_or("not there".into(), |v| v.to_string());
    table.row(["kernel.yama.ptrace_scope".into(), or_absent(rights.ptrace_scope)]);
    let sysctl = or_absent(rights.unprivileged_userfaultfd);
    table.row(["vm.unprivileged_userfaultfd".into(), sysctl]);
    table.render()
}

fn userfaultfd(seen: &Diagnosis) -> String {
    let (routes, tools) = (&seen.userfaultfd, &seen.tools);
    let mut table = Table::new(2);
    for (name, tried) in [
        ("/dev/userfaultfd", &routes.device),
        ("userfaultfd(2)", &routes.syscall),
        ("userfaultfd(2), user-mode faults only", &routes.syscall_user_mode_only),
        ("attach to a process", &tools.attach),
        ("snapshot of a child", &tools.snapshot),
        ("pidfd_open", &tools.pidfd_open),
        ("pidfd_getfd", &tools.pidfd_getfd),
        ("process_vm_readv", &tools.process_vm_readv),
        ("PAGEMAP_SCAN", &tools.pagemap_scan),
    ] {
        table.row([name, tried.words()]);
    }
    table.render()
}

fn features(seen: &Diagnosis) -> String {
    let mut table = Table::new(2);
    for feature in &seen.features {
        let state = match feature.supported {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        let since = format!("since {}", feature.since);
        table.row([feature.name, state, &since, feature.gives]);
    }
    if seen.unknown_features != 0 {
        let bits = format!("{:#x}", seen.unknown_features);
        table.row(["unknown to this program", "yes", "", &bits]);
    }
    table.render()
}

/// Makes the table of one kind of columns.
fn memory(
    seen: &Diagnosis,
    columns: &[&'static str],
    cells: fn(&Kind) -> &BTreeMap<&'static str, Tried>,
) -> String {
    let mut table = Table::new(2);
    table.row([""].iter().chain(columns).copied());
    for kind in &seen.memory {
        let name = std::iter::once(kind.name.as_str());
        match kind.untried() {
            Some(cause) => table.row(name.chain([cause])),
            None => table.row(name.chain(columns.iter().map(|column| cells(kind)[column].cell()))),
        }
    }
    table.render()
}

fn settings(host: &Host) -> String {
    let mut table = Table::new(2);
    let huge = &host.transparent_huge_pages;
    for (name, choice) in [("anonymous", &huge.anonymous), ("shmem", &huge.shmem)] {
        let choice = choice.as_deref().unwrap_or("not there");
        table.row([format!("transparent huge pages, {name}"), choice.into()]);
    }
    for pool in &host.hugetlb {
        let state = format!(
            "{} in the pool, {} free, {} more on demand",
            pool.pages, pool.free, pool.overcommit
        );
        table.row([format!("huge pages of {}", Bytes(pool.page_bytes)), state]);
    }
    let unlimited = |value: Option<u64>| value.map_or("unlimited".into(), |v| v.to_string());
    let maps = host.max_map_count.map_or("not told".into(), |count| count.to_string());
    table.row(["vm.max_map_count".into(), maps]);
    let memlock = host.memlock_bytes.map_or("unlimited".into(), |b| Bytes(b).to_string());
    table.row(["lockable memory".into(), memlock]);
    table.row(["open files".into(), unlimited(host.open_files)]);
    table.render()
}

fn missing(title: &str, seen: &Diagnosis, needed: bool) -> String {
    let mut lacks = seen.lacks.iter().filter(|lack| lack.needed == needed).peekable();
    if lacks.peek().is_none() {
        return String::new();
    }
    let mut out = format!("{title}\n");
    for lack in lacks {
        out.push_str(&one(lack));
    }
    out.push('\n');
    out
}

fn one(lack: &Lack) -> String {
    let mut table = Table::new(4);
    table.row(["costs", &lack.costs]);
    table.row(["get it", &lack.get]);
    let what = wrap(&lack.what, 94).join("\n  ");
    format!("  {what}\n{}", table.render())
}
