//! A signal gives back what a run borrowed from the machine: huge pages and swap.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use faultless_sim::conform::kernel::{Custody, Machine};
use faultless_sim::conform::verdict::{Failure, Verdict};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{broken, say};

/// Turns a run of this program into one that holds what it borrowed until a signal comes.
pub(crate) const HOLD: &str = "--hold-the-machine";

/// Borrows the machine, says so, and waits for a signal.
pub(crate) fn hold() -> ExitCode {
    if Custody::take(Machine::borrow).is_err() {
        return ExitCode::FAILURE;
    }
    say("held");
    std::thread::sleep(Duration::from_secs(600));
    ExitCode::SUCCESS
}

/// Interrupts holders, alone and as a terminal does it, with the puppet that could take the swap
/// file back.
pub(crate) fn signals_give_back() -> Result<String, Failure> {
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
        let before = reserved()?;
        let mut holder = start()?;
        let swap = format!("faultless-conform-{}.swap", holder.id());
        let lent = (reserved()? > before, swaps()?.contains(&swap));
        kill_process_group(Pid::from_child(&holder), signal).map_err(|e| broken(e.into()))?;
        let status = holder.wait().map_err(broken)?;
        if lent == (false, false) {
            return Err(Failure::Skip("this machine lends nothing".into()));
        }
        let left = (reserved()? != before, swaps()?.contains(&swap));
        if status.code() != Some(128 + number) || left != (false, false) {
            let how = format!("{signal:?}: {status}; huge pages, swap left behind: {left:?}");
            return Err(Failure::Diverges(how));
        }
    }
    Ok("after SIGTERM and SIGINT".into())
}

/// A holder, in a process group of its own, that has borrowed all it can.
fn start() -> Verdict<Child> {
    let mut holder = Command::new("/proc/self/exe");
    let mut holder =
        holder.arg(HOLD).process_group(0).stdout(Stdio::piped()).spawn().map_err(broken)?;
    let mut line = String::new();
    if let Some(stdout) = holder.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(broken)?;
    }
    if line.trim() == "held" { Ok(holder) } else { Err(Failure::Broken("nothing held".into())) }
}

/// Huge pages this machine has reserved.
fn reserved() -> Verdict<u64> {
    let text = std::fs::read_to_string("/proc/sys/vm/nr_hugepages").unwrap_or("0".into());
    text.trim().parse().map_err(|_| Failure::Broken(format!("nr_hugepages: {text}")))
}

fn swaps() -> Verdict<String> {
    std::fs::read_to_string("/proc/swaps").map_err(broken)
}
