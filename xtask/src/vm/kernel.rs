//! Fetches Debian's kernels.
//!
//! [`super::run`] gets the path of an image to boot. The kernels are Debian's "cloud" flavour: the
//! same source and memory management as the default one, with fewer drivers.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::Apt;

/// A kernel image ready to boot.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// Debian's name of the kernel, such as `6.1.0-50-cloud-amd64`.
    pub(crate) release: String,
}

/// Fetches the suite's kernel unless it is there already.
pub(crate) fn fetch(apt: &Apt) -> Result<Kernel> {
    let dir = apt.dir().join("kernel");
    if !dir.exists() {
        apt.update()?;
        apt.unpack(&[&package(apt)?], false, &dir)?;
    }
    find_image(&dir).with_context(|| format!("no kernel image in {}; delete it", dir.display()))
}

/// Finds the package that holds the image the suite's kernel metapackage points at.
fn package(apt: &Apt) -> Result<String> {
    let meta = format!("linux-image-cloud-{}", apt.arch().debian());
    let image = first_depends(apt, &meta, "linux-image-")?
        .with_context(|| format!("{meta} names no kernel"))?;
    // From 7.x on the image lies in a package of its own.
    let binary = first_depends(apt, &image, "linux-binary-")?;
    Ok(binary.unwrap_or(image))
}

fn first_depends(apt: &Apt, package: &str, prefix: &str) -> Result<Option<String>> {
    Ok(apt.depends(package)?.into_iter().find(|name| name.starts_with(prefix)))
}

/// Finds the image among an unpacked package's files.
fn find_image(unpacked: &Path) -> Option<Kernel> {
    let boot = files_in(&unpacked.join("boot")).into_iter().find_map(|(name, image)| {
        Some(Kernel { image, release: name.strip_prefix("vmlinuz-")?.to_owned() })
    });
    // From 7.x on the image lies beside its modules.
    boot.or_else(|| {
        let modules = files_in(&unpacked.join("usr/lib/modules"));
        modules.into_iter().find_map(|(release, dir)| {
            let image = dir.join("vmlinuz");
            image.is_file().then_some(Kernel { image, release })
        })
    })
}

/// Names and paths of what lies in `dir`; nothing if it does not exist.
fn files_in(dir: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())).collect()
}
