//! `cargo xtask soak redis`: redis-server under redis-benchmark, snapshotted again and again.
//!
//! The server saves to disk all the time, so snapshots meet its forks, too. Besides the benchmark,
//! a client of ours counts one number up: a lost, doubled or failed command shows as a gap.

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::artifacts::{self, Build};
use super::chance::Chance;
use super::child::{Collected, Guarded};
use super::figures::{Figures, time_ns};
use super::scratch::Scratch;
use super::snapshotter::{Snapshotter, open_undamaged};
use crate::debian::{self, Need};

const NEEDS: &[Need] = &[
    Need { program: "redis-server", packages: "redis-server", used_for: "the soak" },
    Need { program: "redis-benchmark", packages: "redis-tools", used_for: "the soak" },
];

/// The server starts and ends within this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `cargo xtask soak redis`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Snapshots to take
    #[arg(long, default_value_t = 20)]
    snapshots: u32,
    /// Repeats the run with this seed [default: a new one, printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Arguments for `faultless snapshot`, such as `--exact`
    #[arg(last = true)]
    extra: Vec<String>,
}

/// Runs the soak; fails with the first client error.
pub(crate) fn run(args: &Args) -> Result<bool> {
    if let Some(missing) = debian::provide(NEEDS)?.first() {
        bail!("{}", debian::advice(missing));
    }
    let snapshotter = Snapshotter::new(artifacts::faultless(Build::Release)?, &args.extra);
    let mut chance = Chance::start(args.seed);
    let scratch = Scratch::new(None)?;
    let server = Server::start(&scratch)?;
    let stop = AtomicBool::new(false);
    let (pauses, faults, clients) = std::thread::scope(|scope| {
        let load = scope.spawn(|| server.load_until(&stop));
        let counter = scope.spawn(|| server.count_until(&stop));
        let file = scratch.path().join("redis.core");
        let taken = take(&snapshotter, &server, args.snapshots, &mut chance, &file);
        stop.store(true, Ordering::Release);
        let benchmarks = load.join().unwrap_or_else(|_| bail!("the load ended in a panic"));
        let waits = counter.join().unwrap_or_else(|_| bail!("the client ended in a panic"));
        let (pauses, faults) = taken?;
        anyhow::Ok((pauses, faults, Clients { benchmarks: benchmarks?, waits: waits? }))
    })?;
    server.stop()?;
    println!("snapshots       {:>10}", args.snapshots);
    println!("pause       p50 {:>10}  max {}", time_ns(pauses.p50()), time_ns(pauses.max()));
    println!("faults      p50 {:>10}  max {}", faults.p50(), faults.max());
    println!("benchmark runs  {:>10}  without an error", clients.benchmarks);
    let (p50, max) = (time_ns(clients.waits.p50()), time_ns(clients.waits.max()));
    println!("our client  p50 {p50:>10}  max {max}, every answer right");
    Ok(true)
}

/// What the clients met.
struct Clients {
    benchmarks: u32,
    /// Nanoseconds from a command to its answer.
    waits: Figures,
}

fn take(
    snapshotter: &Snapshotter,
    server: &Server,
    count: u32,
    chance: &mut Chance,
    file: &Path,
) -> Result<(Figures, Figures)> {
    let (mut pauses, mut faults) = (Figures::default(), Figures::default());
    for number in 0..count {
        std::thread::sleep(Duration::from_millis(200) + chance.moment(Duration::from_millis(300)));
        let report = snapshotter
            .take(server.process.id(), file)
            .with_context(|| format!("snapshot {number}"))?;
        open_undamaged(file)?;
        pauses.add(report.pause_ns);
        faults.add(report.faults);
        std::fs::remove_file(file)?;
    }
    Ok((pauses, faults))
}

/// A redis-server of our own, on a socket in the scratch directory.
struct Server {
    process: Guarded,
    socket: PathBuf,
}

impl Server {
    fn start(scratch: &Scratch) -> Result<Server> {
        let socket = scratch.path().join("redis.sock");
        let log = std::fs::File::create(scratch.path().join("redis.log"))?;
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--daemonize", "no", "--save", "1 1"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(scratch.path()).stdout(log);
        let process = Guarded::start(&mut command)?;
        let server = Server { process, socket };
        let start = Instant::now();
        while UnixStream::connect(&server.socket).is_err() {
            ensure!(start.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Runs one benchmark after the other; returns how many went through without an error.
    fn load_until(&self, stop: &AtomicBool) -> Result<u32> {
        let mut runs = 0;
        while !stop.load(Ordering::Acquire) {
            let mut command = Command::new("redis-benchmark");
            command
                .arg("-s")
                .arg(&self.socket)
                .args(["-q", "-n", "20000", "-c", "20", "-d", "512"]);
            command.args(["-r", "100000", "-t", "set,get,incr,lpush,rpop,sadd,hset"]);
            let ended = Collected::start(&mut command)?.end_within(PATIENCE * 5)?;
            let said = format!("{}{}", ended.stdout, ended.stderr);
            let clean = ended.status.success() && !said.to_lowercase().contains("error");
            ensure!(clean, "redis-benchmark ended with {}, saying: {said}", ended.status);
            runs += 1;
        }
        Ok(runs)
    }

    /// Counts a number up and compares every answer; returns how long each took.
    fn count_until(&self, stop: &AtomicBool) -> Result<Figures> {
        let mut stream = UnixStream::connect(&self.socket)?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut waits = Figures::default();
        let mut expected = 1;
        while !stop.load(Ordering::Acquire) {
            let start = Instant::now();
            stream.write_all(b"INCR faultless:soak\r\n")?;
            let mut answer = String::new();
            answers.read_line(&mut answer)?;
            ensure!(answer == format!(":{expected}\r\n"), "redis answered {answer:?}");
            waits.add(u64::try_from(start.elapsed().as_nanos())?);
            expected += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(waits)
    }

    fn stop(mut self) -> Result<()> {
        self.process.signal(Signal::TERM);
        let status = self.process.wait_within(PATIENCE)?;
        ensure!(status.success(), "redis-server ended with {status}");
        Ok(())
    }
}
