//! Fetches Debian's kernels, with a package configuration of our own under the target directory.
//!
//! [`super::run`] asks for a suite and an architecture and gets the path of a kernel image. The
//! machine's own package configuration is read (for the mirror it uses) and never changed.
//!
//! # Invariants
//! - Packages are verified with the machine's Debian archive keys; there is no unverified path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::arch::Arch;
use crate::command::{capture, run_or_fail};

/// Holds the keys of every Debian release the machine trusts.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A private apt for one suite and architecture.
struct Apt {
    dir: PathBuf,
    arch: Arch,
}

/// Downloads the suite's cloud kernel unless it is there already; returns its image and name.
pub(crate) fn fetch(dir: &Path, suite: &str, arch: Arch) -> Result<Kernel> {
    let dir = dir.join(format!("{suite}-{}", arch.debian()));
    if let Some(kernel) = find_image(&dir.join("kernel")) {
        return Ok(kernel);
    }
    let apt = Apt::prepare(dir, suite, arch)?;
    let package = apt.kernel_package()?;
    println!("fetching {package} of {suite}");
    run_or_fail(apt.command("apt-get").args(["-qq", "download", &package]))?;
    apt.unpack()
}

/// A kernel image ready to boot.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// Debian's name of the kernel, such as `6.1.0-50-cloud-amd64`.
    pub(crate) release: String,
}

impl Apt {
    fn prepare(dir: PathBuf, suite: &str, arch: Arch) -> Result<Apt> {
        for sub in ["state/lists/partial", "cache/archives/partial", "unpacked"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        fs::write(dir.join("status"), "")?;
        let mirror = debian_mirror()?;
        fs::write(
            dir.join("debian.sources"),
            format!(
                "Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
            ),
        )?;
        let apt = Apt { dir, arch };
        run_or_fail(apt.command("apt-get").args(["-qq", "update"])).with_context(|| {
            format!(
                "cannot read Debian's package list of {suite}; if its signature is unknown, \
                 install a newer debian-archive-keyring"
            )
        })?;
        Ok(apt)
    }

    fn command(&self, tool: &str) -> Command {
        let dir = self.dir.display();
        let arch = self.arch.debian();
        let mut command = Command::new(tool);
        for option in [
            format!("Dir::State={dir}/state"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            format!("Dir::Etc::sourcelist={dir}/debian.sources"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("APT::Architecture={arch}"),
            format!("APT::Architectures::={arch}"),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // The unprivileged download user cannot write into a build directory.
            "APT::Sandbox::User=".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command.current_dir(self.dir.join("unpacked"));
        command
    }

    /// Finds the package that holds the image the suite's kernel metapackage points at.
    fn kernel_package(&self) -> Result<String> {
        let meta = format!("linux-image-cloud-{}", self.arch.debian());
        let image = self
            .depends(&meta)?
            .into_iter()
            .find(|name| name.starts_with("linux-image-"))
            .with_context(|| format!("{meta} names no kernel"))?;
        // From 7.x on the image lies in a package of its own.
        let binary = self.depends(&image)?.into_iter().find(|it| it.starts_with("linux-binary-"));
        Ok(binary.unwrap_or(image))
    }

    fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text = capture(self.command("apt-cache").args(["depends", package]))?;
        Ok(parse_depends(&text))
    }

    fn unpack(&self) -> Result<Kernel> {
        let downloads = self.dir.join("unpacked");
        let partial = self.dir.join("kernel.partial");
        for entry in fs::read_dir(&downloads)? {
            let deb = entry?.path();
            if deb.extension().is_some_and(|ext| ext == "deb") {
                run_or_fail(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&partial))?;
                // The modules inside are ten times the image and nobody loads them.
                fs::remove_file(&deb)?;
            }
        }
        let kernel = self.dir.join("kernel");
        fs::rename(&partial, &kernel)?;
        find_image(&kernel)
            .with_context(|| format!("no kernel image in {}; delete it", kernel.display()))
    }
}

fn parse_depends(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .map(|name| name.trim().to_owned())
        .collect()
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

/// The mirror the machine itself fetches Debian from.
fn debian_mirror() -> Result<String> {
    let targets = capture(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(LABEL) $(REPO_URI)",
        "Created-By: Packages",
    ]))
    .context("only a Debian machine can fetch Debian's kernels")?;
    match parse_mirror(&targets) {
        Some(uri) => Ok(uri.to_owned()),
        None => bail!("this machine has no Debian package list; run `apt-get update` as root"),
    }
}

fn parse_mirror(targets: &str) -> Option<&str> {
    targets.lines().find_map(|line| line.strip_prefix("Debian Debian "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_debians_own_list_and_not_the_security_one() {
        let targets = "Other Other http://o.example/\n\
                       Debian Debian-Security http://s.example/\n\
                       Debian Debian http://m.example/debian/\n";
        assert_eq!(parse_mirror(targets), Some("http://m.example/debian/"));
    }

    #[test]
    fn dependencies_are_read_without_alternatives_and_recommendations() {
        let text = "linux-image-7\n  PreDepends: linux-base\n |Depends: dracut\n  \
                    Depends: linux-binary-7\n  Recommends: apparmor\n";
        assert_eq!(parse_depends(text), ["linux-binary-7"]);
    }
}
