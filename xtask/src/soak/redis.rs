//! `cargo xtask soak redis`: redis-server under redis-benchmark, snapshotted again and again.
//!
//! The server saves to disk all the time, so snapshots meet its forks, too. Besides the benchmark,
//! a client of ours counts one number up: a lost, doubled or failed command shows as a gap.

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;

use super::child::{Collected, Guarded};
use super::figures::{Figures, time_ns};
use super::scratch::Scratch;
use super::sitting::{Args, Sitting};
use crate::debian::Need;

const NEEDS: &[Need] = &[
    Need { program: "redis-server", packages: "redis-server", used_for: "the soak" },
    Need { program: "redis-benchmark", packages: "redis-tools", used_for: "the soak" },
];

/// The server starts and ends within this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the soak; fails with the first client error.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let mut sitting = Sitting::begin(args, NEEDS)?;
    let server = Server::start(sitting.scratch())?;
    let stop = AtomicBool::new(false);
    let (benchmarks, waits) = std::thread::scope(|scope| {
        let load = scope.spawn(|| server.load_until(&stop));
        let counter = scope.spawn(|| server.count_until(&stop));
        let taken = take_all(&mut sitting, server.process.id());
        stop.store(true, Ordering::Release);
        let benchmarks = load.join().unwrap_or_else(|_| bail!("the load ended in a panic"));
        let waits = counter.join().unwrap_or_else(|_| bail!("the client ended in a panic"));
        taken?;
        anyhow::Ok((benchmarks?, waits?))
    })?;
    server.stop()?;
    sitting.print();
    println!("benchmark runs  {benchmarks:>10}  without an error");
    let (p50, max) = (time_ns(waits.p50()), time_ns(waits.max()));
    println!("our client  p50 {p50:>10}  max {max}, every answer right");
    Ok(true)
}

fn take_all(sitting: &mut Sitting, pid: u32) -> Result<()> {
    while !sitting.is_over() {
        std::thread::sleep(Duration::from_millis(200));
        sitting.wait_up_to(Duration::from_millis(300));
        sitting.snapshot(pid)?;
    }
    Ok(())
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

    /// Counts a number up and compares every answer; returns how many nanoseconds each took.
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
