//! `cargo xtask soak postgres`: PostgreSQL under pgbench, its backends and its postmaster
//! snapshotted in turn.
//!
//! Besides pgbench's own error count, the sums that its transactions keep equal are compared at
//! the end. The cluster lives in a scratch directory and is reached over a socket in it.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::child::{Collected, Ended, Guarded};
use super::scratch::Scratch;
use super::sitting::{Args, Sitting};
use crate::command::is_root;
use crate::debian::Need;

const NEEDS: &[Need] = &[Need { program: "pgbench", packages: "postgresql", used_for: "the soak" }];

/// The server starts, ends and answers within this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
/// A server that is not wanted any more ends within this.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long one pgbench runs; snapshots are begun in its first half only, so that no backend ends
/// under one.
const LOAD: Duration = Duration::from_secs(20);

/// Clients of one pgbench.
const CLIENTS: usize = 4;

/// Runs the soak; fails with the first error of a client.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let mut sitting = Sitting::begin(args, NEEDS)?;
    let cluster = Cluster::start(sitting.scratch())?;
    let mut benchmarks = 0;
    while !sitting.is_over() {
        let load = cluster.start_load()?;
        let start = Instant::now();
        while !sitting.is_over() && start.elapsed() < LOAD / 2 {
            sitting.wait_up_to(Duration::from_millis(400));
            let of_backend = sitting.taken().is_multiple_of(2);
            sitting.snapshot(if of_backend { cluster.backend()? } else { cluster.process.id() })?;
        }
        check_load(&load.end_within(LOAD + PATIENCE)?)?;
        benchmarks += 1;
    }
    cluster.check_sums()?;
    cluster.stop()?;
    sitting.print();
    println!("pgbench runs    {benchmarks:>10}  without an error, all sums equal");
    Ok(true)
}

fn check_load(ended: &Ended) -> Result<()> {
    let Ended { status, stdout, stderr } = ended;
    let unhappy = stderr.lines().any(|line| line.contains("error") || line.contains("FATAL"));
    let all_done = stdout.contains("number of failed transactions: 0 ");
    ensure!(status.success() && all_done && !unhappy, "pgbench: {status}\n{stdout}{stderr}");
    Ok(())
}

/// A cluster of our own.
struct Cluster {
    process: Guarded,
    programs: PathBuf,
    dir: PathBuf,
}

impl Cluster {
    fn start(scratch: &Scratch) -> Result<Cluster> {
        let programs = programs()?;
        let dir = scratch.path().join("cluster");
        std::fs::create_dir(&dir)?;
        if is_root() {
            // PostgreSQL refuses to run as root.
            let text = Command::new("id").args(["-u", "postgres"]).output()?.stdout;
            let uid = String::from_utf8(text)?.trim().parse().context("there is no postgres")?;
            chown(&dir, Some(uid), None)?;
        }
        let mut initdb = as_postgres(&programs.join("initdb"));
        initdb.arg("-D").arg(dir.join("data")).args(["-A", "trust", "-U", "postgres"]);
        succeed(initdb.arg("--no-sync"))?;
        let mut server = as_postgres(&programs.join("postgres"));
        server.arg("-D").arg(dir.join("data")).arg("-k").arg(&dir);
        server.args(["-c", "listen_addresses=", "-c", "shared_buffers=64MB"]);
        server.stderr(std::fs::File::create(scratch.path().join("postgres.log"))?);
        let cluster = Cluster { process: Guarded::start(&mut server)?, programs, dir };
        cluster.wait_until_ready()?;
        succeed(cluster.client("pgbench").args(["-i", "-s", "5", "--quiet", "postgres"]))?;
        Ok(cluster)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let start = Instant::now();
        while succeed(&mut self.client("pg_isready")).is_err() {
            ensure!(start.elapsed() < PATIENCE, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.arg("-h").arg(&self.dir).args(["-U", "postgres"]);
        command
    }

    fn start_load(&self) -> Result<Collected> {
        let seconds = LOAD.as_secs().to_string();
        let mut command = self.client("pgbench");
        command.args(["-T", &seconds, "-c", &CLIENTS.to_string(), "-j", "1", "postgres"]);
        Collected::start(&mut command)
    }

    /// Finds a process that serves a client of pgbench, waiting until all have connected.
    fn backend(&self) -> Result<u32> {
        let start = Instant::now();
        let parent = self.process.id();
        let children = format!("/proc/{parent}/task/{parent}/children");
        while start.elapsed() < PATIENCE {
            let pids = std::fs::read_to_string(&children)?;
            let serving: Vec<&str> = pids.split_whitespace().filter(|pid| serves(pid)).collect();
            // Before its clients pgbench connects once to look around, and soon leaves.
            if serving.len() >= CLIENTS {
                let newest = serving.last().context("pgbench has clients")?;
                return Ok(newest.parse()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("PostgreSQL serves nobody")
    }

    /// Every transaction adds the same amount to an account, a teller and a branch, and writes it
    /// down: the four sums are equal unless something was lost.
    fn check_sums(&self) -> Result<()> {
        let query = "select (select sum(abalance) from pgbench_accounts), \
                     (select sum(tbalance) from pgbench_tellers), \
                     (select sum(bbalance) from pgbench_branches)";
        let mut psql = self.client("psql");
        let said = succeed(psql.args(["-A", "-t", "-c", query, "postgres"]))?;
        let sums: Vec<&str> = said.trim().split('|').collect();
        ensure!(sums.len() == 3 && sums.iter().all(|sum| *sum == sums[0]), "the sums: {said}");
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
        // Fast shutdown: PostgreSQL ends its own children.
        self.process.signal(Signal::INT);
        let status = self.process.wait_within(PATIENCE)?;
        ensure!(status.success(), "PostgreSQL ended with {status}");
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Killed, it would leave its shared memory behind, and its children for a while.
        self.process.signal(Signal::INT);
        let start = Instant::now();
        while matches!(self.process.has_ended(), Ok(false)) && start.elapsed() < FAREWELL {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Says whether a process of the server serves a client.
fn serves(pid: &str) -> bool {
    // The title of a backend names user, database and where its client is.
    let title = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
    title.is_ok_and(|title| title.contains("postgres postgres [local]"))
}

/// Finds the newest installed server; Debian keeps its programs off the path.
fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("there is no PostgreSQL")?;
    let mut dirs: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
    dirs.retain(|dir| dir.join("initdb").exists());
    dirs.sort();
    dirs.pop().context("no PostgreSQL server is installed (apt-get install postgresql)")
}

/// A command run as the user PostgreSQL may run as; the process id is the program's own.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command.current_dir("/");
    command
}

fn succeed(command: &mut Command) -> Result<String> {
    let ended = Collected::start(command)?.end_within(PATIENCE)?;
    ensure!(ended.status.success(), "{command:?}: {}{}", ended.stdout, ended.stderr);
    Ok(ended.stdout)
}
