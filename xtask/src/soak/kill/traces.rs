//! What an attached program leaves in a process, as `/proc` shows it.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The kernel and any helper process get this long to clean up after a kill.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns who traces the process, 0 if nobody does.
pub(crate) fn tracer(pid: u32) -> Result<u32> {
    let status = read(&format!("/proc/{pid}/status"))?;
    field(&status, "TracerPid:").parse().context("TracerPid is no number")
}

/// Waits until nothing of an attached program is left in the process.
pub(crate) fn wait_until_clean(pid: u32) -> Result<()> {
    let start = Instant::now();
    loop {
        let left = left_in(pid)?;
        if left.is_empty() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!("left in the target after {PATIENCE:?}: {}", left.join(", "));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Names everything that is left: tracers, stopped threads, userfaultfds, registered memory.
fn left_in(pid: u32) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let tid = entry?.file_name().to_string_lossy().into_owned();
        // A thread may end between the listing and the look.
        let Ok(status) = read(&format!("/proc/{pid}/task/{tid}/status")) else { continue };
        let (tracer, state) = (field(&status, "TracerPid:"), field(&status, "State:"));
        if tracer != "0" {
            left.push(format!("thread {tid} is traced by {tracer}"));
        }
        if state.eq_ignore_ascii_case("t") {
            left.push(format!("thread {tid} is stopped"));
        }
    }
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        let Ok(link) = fs::read_link(&path) else { continue };
        if link.to_string_lossy().contains("userfaultfd") {
            left.push(format!("{} is a userfaultfd", path.display()));
        }
    }
    left.extend(registered_memory(pid)?);
    Ok(left)
}

/// Names the mappings that are still registered with a userfaultfd.
fn registered_memory(pid: u32) -> Result<Vec<String>> {
    let smaps = read(&format!("/proc/{pid}/smaps"))?;
    let mut mapping = "";
    let mut registered = Vec::new();
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            // um: missing, uw: write-protect, ui: minor.
            if flags.split(' ').any(|flag| matches!(flag, "um" | "uw" | "ui")) {
                registered.push(format!("{mapping} is registered"));
            }
        } else if !line.split(' ').next().unwrap_or("").ends_with(':') {
            mapping = line.split(' ').next().unwrap_or("");
        }
    }
    Ok(registered)
}

/// Returns the first word after `name` in a status file.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).unwrap_or("")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_in_a_process_nobody_touched() {
        let pid = std::process::id();
        assert_eq!(tracer(pid).unwrap(), 0);
        assert_eq!(left_in(pid).unwrap(), [""; 0]);
    }
}
