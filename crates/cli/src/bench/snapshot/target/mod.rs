//! The process that the bench takes snapshots of, and that times them from its own side.
//!
//! A hidden command of the program. It fills `--size` bytes with data that does not compress, then
//! runs a *ticker* (what it misses is the pause) and a *writer* (what it loses is the slow-down).
//! [`Interval`] is its answer to each line on stdin: what happened since the line before. The end
//! of stdin ends it. Driven by `super::control`.
//!
//! *Invariant*: it knows nothing of the tools that work on it and sets up nothing for them, but
//! for the permission to trace it.

mod histogram;
mod memory;
mod ticker;
mod writer;

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

use super::PageKind;
use memory::Memory;
use ticker::Ticker;
use writer::Writer;

/// How the target is laid out.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Size of its memory in bytes
    #[arg(long)]
    size: u64,
    /// Page size to ask for
    #[arg(long, value_enum)]
    pages: PageKind,
}

/// What happened to the target between two lines on its stdin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// Its length.
    pub(crate) elapsed_ns: u64,
    /// The longest time in which the ticker was kept from running, other than by want of a
    /// processor: the pause.
    pub(crate) longest_stop_ns: u64,
    /// The longest time in which the ticker did not run, for whatever reason.
    pub(crate) longest_gap_ns: u64,
    /// Operations the writer finished.
    pub(crate) writes: u64,
    /// Latency of an operation: the middle one.
    pub(crate) write_p50_ns: u64,
    /// Latency of an operation: 99 of 100 took at most this.
    pub(crate) write_p99_ns: u64,
    /// Latency of the slowest operation.
    pub(crate) write_max_ns: u64,
}

/// Runs until stdin ends.
///
/// # Errors
/// [`Exit::Host`] if the memory cannot be had, [`Exit::Peer`] if the other end of stdout is gone.
pub(in crate::bench) fn run(args: &Args) -> Result<Exit, Failure> {
    // Yama lets only ancestors trace; the tools under test are siblings. Kernels without Yama
    // refuse the call, and then there is nothing to permit.
    let _ = rustix::process::set_ptracer(rustix::process::PTracer::Any);
    let memory = Arc::new(Memory::filled(args.size, args.pages)?);
    let running = Arc::new(AtomicBool::new(true));
    let ticker = Arc::new(Ticker::default());
    let writer = Arc::new(Writer::new());
    let threads = [
        spawn("ticker", &running, &ticker, |ticker, running| ticker.run(running)),
        spawn("writer", &running, &writer, move |writer, running| writer.run(&memory, running)),
    ];
    let result = answer(&ticker, &writer);
    running.store(false, Ordering::Relaxed);
    for thread in threads {
        thread?.join().map_err(|_| Failure::new(Exit::Bug, "a thread of the target panicked"))?;
    }
    result
}

fn spawn<T: Send + Sync + 'static>(
    name: &str,
    running: &Arc<AtomicBool>,
    worker: &Arc<T>,
    body: impl FnOnce(&T, &AtomicBool) + Send + 'static,
) -> Result<thread::JoinHandle<()>, Failure> {
    let (running, worker) = (Arc::clone(running), Arc::clone(worker));
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || body(&worker, &running))
        .map_err(|error| Failure::new(Exit::Host, format_args!("thread {name}: {error}")))
}

/// Answers every line of stdin with the interval since the last one.
fn answer(ticker: &Ticker, writer: &Writer) -> Result<Exit, Failure> {
    let mut begin = Instant::now();
    let mut stdout = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        line.map_err(|error| Failure::new(Exit::Peer, format_args!("standard input: {error}")))?;
        let mut interval = writer.take();
        let longest = ticker.take_longest();
        interval.longest_stop_ns = longest.stop_ns;
        interval.longest_gap_ns = longest.gap_ns;
        interval.elapsed_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        begin = Instant::now();
        let text = serde_json::to_string(&interval)
            .map_err(|error| Failure::new(Exit::Bug, format_args!("interval: {error}")))?;
        writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::stdout(&error))?;
    }
    Ok(Exit::Done)
}
