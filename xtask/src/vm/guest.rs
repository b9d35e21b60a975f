//! The first process inside a machine booted by `cargo xtask vm`: mounts, runs, powers off.
//!
//! The kernel starts this program as `/init vm-guest`. It mounts the usual file systems, starts
//! itself a second time as the runner of the [`Plan`], reaps every orphan meanwhile, and powers
//! off.
//!
//! # Invariants
//! - Process 1 waits for *any* child. Orphans of the tests end up here, and a test that watches a
//!   process vanish would wait for ever for one nobody reaps. The runner is a separate process so
//!   that this does not steal the exit status of a job.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, wait};
use rustix::system::{RebootCommand, reboot};

use super::plan::{Job, Mark, Outcome, PLAN_PATH, Plan};

/// How often the runner looks whether its job has ended.
const POLL: Duration = Duration::from_millis(20);

/// What stands where in the guest: source and type, directory, options.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("devpts", "/dev/pts", ""),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
];

/// The disk, by a driver every Debian kernel has built in.
const DISK: &str = "/dev/nvme0n1";

/// Where the disk's file system stands: regular files and a swap file need one that is no shared
/// memory in disguise, as everything else here is.
const DISK_DIR: &str = "/var/tmp";

/// How long the kernel may take to find the disk.
const DISK_PATIENCE: Duration = Duration::from_secs(30);

/// Run as the guest's first process or, with `--runner`, as the child that runs the plan.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the plan; without it: be process 1
    #[arg(long)]
    runner: bool,
}

/// Is process 1, or the runner it starts.
pub(crate) fn run(args: &Args) -> Result<bool> {
    if args.runner {
        return run_plan();
    }
    if std::process::id() != 1 {
        anyhow::bail!("vm-guest is the first process of a guest machine; use `cargo xtask vm`");
    }
    if let Err(err) = be_init() {
        println!("xtask: the guest's init gave up: {err:#}");
    }
    // Never returns: the kernel would panic if process 1 did.
    reboot(RebootCommand::PowerOff).context("cannot power off")?;
    Ok(true)
}

fn be_init() -> Result<()> {
    for (kind, dir, options) in MOUNTS {
        fs::create_dir_all(dir)?;
        let options = std::ffi::CString::new(*options)?;
        mount(*kind, *dir, *kind, MountFlags::empty(), options.as_c_str())
            .with_context(|| format!("cannot mount {kind} on {dir}"))?;
    }
    if let Err(err) = mount_disk() {
        println!("xtask: {DISK_DIR} is no disk, tests that want one will skip: {err:#}");
    }
    let runner = Command::new("/proc/self/exe").args(["vm-guest", "--runner"]).spawn()?;
    reap_until(Pid::from_child(&runner));
    Ok(())
}

/// Puts a fresh file system on the disk.
fn mount_disk() -> Result<()> {
    let deadline = Instant::now() + DISK_PATIENCE;
    while !fs::exists(DISK)? {
        ensure!(Instant::now() < deadline, "there is no {DISK}");
        std::thread::sleep(POLL);
    }
    let made = Command::new("/usr/sbin/mke2fs").args(["-q", "-F", "-t", "ext4", DISK]).status()?;
    ensure!(made.success(), "mke2fs ended with {made}");
    fs::create_dir_all(DISK_DIR)?;
    mount(DISK, DISK_DIR, "ext4", MountFlags::empty(), c"")?;
    Ok(())
}

/// Reaps every child until `last` has ended.
fn reap_until(last: Pid) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, _))) if pid == last => return,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // ECHILD: the runner is gone and with it everything to wait for.
            Err(_) => return,
        }
    }
}

fn run_plan() -> Result<bool> {
    let plan: Plan = serde_json::from_str(&fs::read_to_string(PLAN_PATH)?)?;
    for job in &plan.jobs {
        println!("{}", Mark::Begin { job: job.name.clone() });
        let outcome = run_job(&plan, job);
        println!("{}", Mark::End { job: job.name.clone(), outcome });
    }
    println!("{}", Mark::Done);
    Ok(true)
}

fn run_job(plan: &Plan, job: &Job) -> Outcome {
    let Some((program, args)) = job.argv.split_first() else { return Outcome::NotStarted };
    let spawned = Command::new(program)
        .args(args)
        .envs(&plan.env)
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn();
    match spawned {
        Ok(child) => wait_for(child, Duration::from_secs(job.timeout_s)),
        Err(err) => {
            println!("cannot start {program}: {err}");
            Outcome::NotStarted
        }
    }
}

/// Waits for the job; past `timeout` kills its whole process group.
fn wait_for(mut child: Child, timeout: Duration) -> Outcome {
    let group = Pid::from_child(&child);
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return outcome_of(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
            _ => {
                // Nothing is lost if the group has gone meanwhile.
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                return Outcome::TimedOut;
            }
        }
    }
}

fn outcome_of(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exit(code),
        (None, Some(number)) => Outcome::Signal(number),
        (None, None) => Outcome::NotStarted,
    }
}
