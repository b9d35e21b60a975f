//! Builds what a soak runs: `faultless` itself and the target programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run_or_fail, target_dir, workspace_root};

/// Which `faultless` to build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Build {
    /// Optimised, as it is installed.
    Release,
    /// Optimised, and wrong on purpose: pages are un-protected before they are saved.
    Broken,
    /// As the tests build it; quick to build, slow to run.
    Debug,
}

/// Builds the program `faultless` and returns its path.
///
/// `FAULTLESS_BIN` in the environment names one that is built already.
pub(crate) fn faultless(build: Build) -> Result<PathBuf> {
    if let Some(ready) = std::env::var_os("FAULTLESS_BIN")
        && build != Build::Broken
    {
        return Ok(ready.into());
    }
    let mut command = cargo();
    command.current_dir(workspace_root()?).args(["build", "--quiet", "-p", "faultless-cli"]);
    let mut target = target_dir()?;
    if build != Build::Debug {
        command.arg("--release");
    }
    if build == Build::Broken {
        // A directory of its own: a broken program must never lie where a whole one is expected.
        target.push("broken");
        command.args(["--features", "faultless-services/broken-order"]);
    }
    command.arg("--target-dir").arg(&target);
    run_or_fail(&mut command)?;
    let profile = if build == Build::Debug { "debug" } else { "release" };
    Ok(target.join(profile).join("faultless"))
}

/// A program in `tests/targets`.
pub(crate) struct CTarget {
    name: &'static str,
    sources: &'static [&'static str],
}

/// Writes stamps in a known order while its memory map changes.
pub(crate) const STAMPER: CTarget =
    CTarget { name: "stamper", sources: &["stamper.c", "stamper_churn.c"] };
/// Sits in system calls the kernel must restart.
pub(crate) const SLEEPER: CTarget = CTarget { name: "sleeper", sources: &["sleeper.c"] };

/// Compiles a target program for this machine and returns its path.
///
/// `FAULTLESS_TARGETS` in the environment names a directory of ones that are compiled already.
pub(crate) fn c_target(target: &CTarget) -> Result<PathBuf> {
    if let Some(ready) = std::env::var_os("FAULTLESS_TARGETS") {
        return Ok(Path::new(&ready).join(target.name));
    }
    let dir = target_dir()?.join("soak");
    std::fs::create_dir_all(&dir)?;
    let program = dir.join(target.name);
    compile("gcc", target, &program, &[])?;
    Ok(program)
}

/// Compiles a target program, without shared libraries, into `dir` and returns its path.
pub(crate) fn static_c_target(compiler: &str, target: &CTarget, dir: &Path) -> Result<PathBuf> {
    let program = dir.join(target.name);
    compile(compiler, target, &program, &["-static"])?;
    Ok(program)
}

/// Compiles a target program with `compiler` to `program`, replacing it whole.
fn compile(compiler: &str, target: &CTarget, program: &Path, flags: &[&str]) -> Result<()> {
    // Tests run side by side, as threads and as processes, and may run the program another one is
    // about to replace.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = program.with_extension(format!("{}", std::process::id()));
    let sources = workspace_root()?.join("tests/targets");
    let mut command = Command::new(compiler);
    command.current_dir(sources).args(["-O2", "-g", "-Wall", "-Wextra", "-pthread", "-o"]);
    command.arg(&fresh).args(target.sources).args(flags);
    let out = command.output().with_context(|| format!("cannot start {compiler}"))?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("{compiler} does not compile {}:\n{said}", target.name);
    }
    std::fs::rename(&fresh, program)?;
    Ok(())
}
