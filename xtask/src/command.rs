//! Running other programs the way every chore does: told to the reader, from the workspace's root.
//!
//! Called by all chores; calls nothing of ours.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the workspace this program was built from.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    // At run time cargo names the manifest's directory; the one baked in at build time would be
    // wrong in a copied or moved tree.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set; start this program as `cargo xtask`")?;
    let root = Path::new(&manifest).parent().context("the xtask crate lies in no workspace")?;
    Ok(root.to_owned())
}

/// The directory everything downloaded or built goes under.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(std::path::absolute(dir)?),
        None => Ok(workspace_root()?.join("target")),
    }
}

/// A command line of the cargo that started us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether `name` is a program on the search path.
pub(crate) fn on_path(name: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    // Debian keeps servers and administration tools in sbin, which a user's path may lack.
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// Whether we are root and can install packages.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Prints the command and runs it with our own output; `Ok(false)` if it exits unsuccessfully.
pub(crate) fn run(command: &mut Command) -> Result<bool> {
    println!("$ {}", shown(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", program(command)))?;
    Ok(status.success())
}

/// Like [`run`], but anything but success is an error.
pub(crate) fn run_or_fail(command: &mut Command) -> Result<()> {
    if !run(command)? {
        bail!("`{}` failed; its output is above", shown(command));
    }
    Ok(())
}

/// Runs the command and returns its standard output; its standard error is ours.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program(command)))?;
    if !out.status.success() {
        bail!("`{}` ended with {}", shown(command), out.status);
    }
    String::from_utf8(out.stdout)
        .with_context(|| format!("`{}` printed something other than text", shown(command)))
}

/// Runs the command and hands every line of its standard output, as it comes, to `each`.
///
/// Bytes that are no UTF-8 are replaced: a serial console may garble one.
pub(crate) fn each_line(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool> {
    println!("$ {}", shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program(command)))?;
    let stdout = child.stdout.take().context("the child has no standard output")?;
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line)? > 0 {
        each(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
    Ok(child.wait()?.success())
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The command as a person would type it, without the environment.
fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
