//! Who else holds a userfaultfd.
//!
//! For the moment it is open in the target, another thread of the target may fork, and the child
//! inherits it. While the child lives, closing ours would not make the kernel let the target go.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// Returns a child of `pid` that holds the same userfaultfd, if there is one besides this process,
/// which is itself a child when a shell has itself looked at (`faultless snapshot $$`).
///
/// Only children can have inherited it. A fork that is under way while this looks shows up at the
/// next look: ask again once all threads have stood still.
#[must_use]
pub fn other_holder(pid: u32, uffd: &impl AsFd) -> Option<u32> {
    let own = uffd.as_fd().as_raw_fd();
    let mut others = children(pid).into_iter().filter(|&child| child != std::process::id());
    others.find(|&child| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{child}/fd")) else { return false };
        descriptors.flatten().any(|descriptor| {
            let is_uffd = fs::read_link(descriptor.path())
                .is_ok_and(|link| link.as_os_str() == "anon_inode:[userfaultfd]");
            let number = descriptor.file_name().to_str().and_then(|name| name.parse().ok());
            is_uffd && number.is_some_and(|number| is_same(own, child, number))
        })
    })
}

/// Lists the children of all threads of a process.
fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

/// Says whether descriptor `own` here and `number` in process `pid` are one open file.
fn is_same(own: RawFd, pid: u32, number: RawFd) -> bool {
    const KCMP_FILE: i32 = 0;
    // SAFETY: compares two descriptors; no memory is involved.
    let order =
        unsafe { libc::syscall(libc::SYS_kcmp, std::process::id(), pid, KCMP_FILE, own, number) };
    order == 0
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_found_by_the_file_it_inherited() {
        // Any open file can stand for the userfaultfd in the comparison.
        let file = fs::File::open("/dev/null").expect("the null device");
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(file.try_clone().expect("a duplicate")))
            .spawn()
            .expect("cat");
        assert!(children(std::process::id()).contains(&child.id()));
        let own = file.as_raw_fd();
        assert!(is_same(own, child.id(), 1));
        assert!(!is_same(own, child.id(), 0));
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }
}
