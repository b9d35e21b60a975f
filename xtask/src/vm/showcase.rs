//! `cargo xtask guest`: a Linux guest to try `faultless vm` on, by hand.
//!
//! Debian's kernel and busybox, with an init that checks the guest's memory for ever and says so on
//! the console. Nothing is installed but QEMU, and that only by root.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::arch::Arch;
use super::{initramfs, kernel, provide_tools_of};
use crate::command::target_dir;

/// The release whose kernel and busybox are taken.
const SUITE: &str = "bookworm";
/// The package that is one program without libraries.
const BUSYBOX: &str = "busybox-static";
/// What the guest does.
const INIT: &str = include_str!("showcase.sh");

/// Leaves a kernel and an initramfs, and says where.
pub(crate) fn run() -> Result<bool> {
    let arch = Arch::X86_64;
    provide_tools_of(&[arch.emulator_package()])?;
    let target = target_dir()?.join("vm");
    let apt = Apt::new(&target, SUITE, arch);
    let kernel = kernel::fetch(&apt)?;
    let busybox = apt.dir().join("busybox");
    if !busybox.exists() {
        apt.update()?;
        apt.unpack(&[BUSYBOX], false, &busybox)?;
    }
    let folder = target.join("guest");
    fs::create_dir_all(&folder)?;
    let (image, archive) = (folder.join("vmlinuz"), folder.join("initramfs.cpio"));
    fs::copy(&kernel.image, &image).context("the kernel cannot be copied")?;
    pack(&archive, &busybox.join("bin/busybox"))?;
    println!(
        "a guest with Linux {}: {} and {}",
        kernel.release,
        image.display(),
        archive.display()
    );
    println!("README.md, \"Restore a VM lazily in two minutes\", says what to do with it");
    Ok(true)
}

fn pack(path: &Path, busybox: &Path) -> Result<()> {
    let busybox =
        fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    let mut archive = initramfs::Archive::new(BufWriter::new(File::create(path)?))?;
    archive.file("/bin/busybox", 0o755, &busybox)?;
    archive.file("/init", 0o755, INIT.as_bytes())?;
    // For the folder it is in: files of an archive bring theirs along.
    archive.file("/memory/empty", 0o644, &[])?;
    archive.finish()?;
    Ok(())
}
