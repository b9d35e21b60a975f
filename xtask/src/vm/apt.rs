//! A package manager of our own for one Debian suite and architecture, under the target directory.
//!
//! [`super::kernel`] and [`super::userland`] fetch through it. The machine's own package
//! configuration is read, for the mirror it uses, and never changed; nothing is installed.
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

/// Apt, told to keep everything in a directory of its own.
pub(crate) struct Apt {
    dir: PathBuf,
    arch: Arch,
    suite: String,
}

impl Apt {
    /// Names the directory; nothing is fetched yet.
    pub(crate) fn new(vm_dir: &Path, suite: &str, arch: Arch) -> Apt {
        let dir = vm_dir.join(format!("{suite}-{}", arch.debian()));
        Apt { dir, arch, suite: suite.to_owned() }
    }

    /// The directory of this suite and architecture.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The architecture packages are fetched for.
    pub(crate) fn arch(&self) -> Arch {
        self.arch
    }

    /// Fetches the suite's package lists, once for the life of the directory.
    pub(crate) fn update(&self) -> Result<()> {
        let sources = self.dir.join("debian.sources");
        if sources.exists() {
            return Ok(());
        }
        for sub in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(self.dir.join(sub))?;
        }
        fs::write(self.dir.join("status"), "")?;
        let (mirror, suite) = (debian_mirror()?, &self.suite);
        let text = format!(
            "Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
        );
        fs::write(&sources, text)?;
        println!("fetching Debian's package list: {suite}, {}", self.arch.debian());
        run_or_fail(self.command("apt-get").args(["-qq", "update"])).or_else(|err| {
            // The next try must not take a half-made directory for a whole one.
            fs::remove_file(&sources)?;
            Err(err.context(format!(
                "cannot read the package list of {suite}; if its signature is unknown, install a \
                 newer debian-archive-keyring"
            )))
        })
    }

    /// The packages `package` depends on, without alternatives.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text = capture(self.command("apt-cache").args(["depends", package]))?;
        Ok(parse_depends(&text))
    }

    /// Downloads `packages` and unpacks them into `into`, which exists only when whole.
    ///
    /// With `dependencies`, everything they depend on comes along. Their scripts are not run.
    pub(crate) fn unpack(&self, packages: &[&str], dependencies: bool, into: &Path) -> Result<()> {
        let archives = self.dir.join("cache/archives");
        println!("fetching {}", packages.join(" "));
        let mut download = self.command("apt-get");
        download.current_dir(&archives).arg("-qq");
        if dependencies {
            download.args(["--yes", "--no-install-recommends", "--download-only", "install"]);
        } else {
            download.arg("download");
        }
        run_or_fail(download.args(packages))?;
        let partial = into.with_extension("partial");
        fs::create_dir_all(&partial)?;
        for entry in fs::read_dir(&archives)? {
            let deb = entry?.path();
            if deb.extension().is_some_and(|ext| ext == "deb") {
                capture(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&partial))?;
                fs::remove_file(&deb)?;
            }
        }
        fs::rename(&partial, into).with_context(|| format!("cannot make {}", into.display()))
    }

    fn command(&self, tool: &str) -> Command {
        let dir = self.dir.display();
        let arch = self.arch.debian();
        let mut command = Command::new(tool);
        // A person's environment must not turn a download into a question.
        command.env("DEBIAN_FRONTEND", "noninteractive");
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
            // Nothing of the machine is touched, so its locks are none of ours.
            "Debug::NoLocking=1".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

fn parse_depends(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("Depends: "))
        .map(|name| name.trim().to_owned())
        .collect()
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
