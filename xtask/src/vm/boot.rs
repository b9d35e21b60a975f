//! Boots a kernel with an initramfs in QEMU and hands its console on, line by line.
//!
//! Called by [`super::run`]. One serial port carries everything; QEMU ends when the guest powers
//! off, panics (`panic=-1` with `-no-reboot`), or the time is up.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::arch::Arch;
use crate::command::each_line;

/// Memory of the guest: the tests stay below 1 GiB, the stamping target takes the rest.
const MEMORY: &str = "3G";

/// A machine about to be booted.
pub(crate) struct Machine<'a> {
    pub(crate) arch: Arch,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// A raw image; what the guest writes to it stays there.
    pub(crate) disk: &'a Path,
    /// QEMU is killed after this long.
    pub(crate) timeout_s: u64,
}

/// Boots the machine; `each` gets every console line. `Ok(false)` if QEMU failed or timed out.
pub(crate) fn boot(machine: &Machine<'_>, each: impl FnMut(&str)) -> Result<bool> {
    let (qemu, machine_args) = machine.arch.qemu();
    let mut command = Command::new("timeout");
    command
        .arg("--kill-after=10")
        .arg(machine.timeout_s.to_string())
        .arg(qemu)
        .args(machine_args)
        // Emulated even where KVM exists: nested in another guest KVM may hang or refuse, and the
        // result should not depend on who runs the test where.
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-serial", "stdio"])
        .arg("-drive")
        .arg(format!("if=none,id=disk,format=raw,file={}", machine.disk.display()))
        .args(["-device", "nvme,serial=disk,drive=disk"])
        .arg("-kernel")
        .arg(machine.kernel)
        .arg("-initrd")
        .arg(machine.initramfs)
        .args(["-append", &kernel_command_line(machine.arch)]);
    each_line(&mut command, each)
}

/// Warnings and worse go to the console; words after `--` are arguments of process 1.
fn kernel_command_line(arch: Arch) -> String {
    format!("console={} loglevel=4 panic=-1 rdinit=/init -- vm-guest", arch.console())
}
