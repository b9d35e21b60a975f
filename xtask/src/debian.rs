//! Installs Debian packages a chore needs, if we are root; says what is missing otherwise.
//!
//! Called by [`crate::test`] and [`crate::vm`].

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command::{is_root, on_path, run};

/// A program tests use and the Debian packages (separated by spaces) that bring it.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    pub(crate) program: &'static str,
    pub(crate) packages: &'static str,
    /// What is left out without it, for people.
    pub(crate) used_for: &'static str,
}

/// Installs what is missing of `needs` if possible; returns what is missing still.
pub(crate) fn provide(needs: &[Need]) -> Result<Vec<Need>> {
    if missing(needs).is_empty() || !is_root() || !on_path("apt-get") {
        return Ok(missing(needs));
    }
    let packages: Vec<&str> =
        missing(needs).iter().flat_map(|need| need.packages.split(' ')).collect();
    if !install(&packages)? && update()? {
        install(&packages)?;
    }
    Ok(missing(needs))
}

/// Why a need is unmet and what would meet it.
pub(crate) fn advice(need: &Need) -> String {
    let how = if is_root() { "" } else { "as root: " };
    format!("{} is missing ({how}apt-get install {})", need.program, need.packages)
}

fn missing(needs: &[Need]) -> Vec<Need> {
    needs.iter().filter(|need| !on_path(need.program)).copied().collect()
}

fn install(packages: &[&str]) -> Result<bool> {
    run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

/// Fetches the package lists; a mirror's hiccup is waited out twice.
fn update() -> Result<bool> {
    for wait_s in [0, 5, 20] {
        std::thread::sleep(Duration::from_secs(wait_s));
        if run(apt_get().arg("update"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=300"]);
    command
}
