//! What the soaks of real servers share: options, opening, the snapshots, and what is said of them.
//!
//! [`Sitting`] is one server's; [`super::redis`] and [`super::postgres`] bring the server, its load
//! and what its clients must not notice.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::artifacts::{self, Build};
use super::chance::Chance;
use super::figures::{Figures, time_ns};
use super::scratch::Scratch;
use super::snapshotter::{Snapshotter, open_undamaged};
use crate::debian::{self, Need};

/// Options of a soak of a real server.
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

/// A server's snapshots, taken one after the other.
pub(super) struct Sitting {
    snapshotter: Snapshotter,
    chance: Chance,
    scratch: Scratch,
    wanted: u32,
    taken: u32,
    pauses: Figures,
    faults: Figures,
}

impl Sitting {
    /// Provides the programs the soak needs, builds `faultless`, and makes room for its cores.
    pub(super) fn begin(args: &Args, needs: &[Need]) -> Result<Sitting> {
        if let Some(missing) = debian::provide(needs)?.first() {
            bail!("{}", debian::advice(missing));
        }
        Ok(Sitting {
            snapshotter: Snapshotter::new(artifacts::faultless(Build::Release)?, &args.extra),
            chance: Chance::start(args.seed),
            scratch: Scratch::new(None)?,
            wanted: args.snapshots,
            taken: 0,
            pauses: Figures::default(),
            faults: Figures::default(),
        })
    }

    /// Returns the directory for all that the soak writes.
    pub(super) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Returns how many snapshots there are.
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Says whether all snapshots are taken.
    pub(super) fn is_over(&self) -> bool {
        self.taken >= self.wanted
    }

    /// Lets a random time pass, up to `most`.
    pub(super) fn wait_up_to(&mut self, most: Duration) {
        std::thread::sleep(self.chance.moment(most));
    }

    /// Takes the next snapshot and checks the core, which goes again.
    pub(super) fn snapshot(&mut self, pid: u32) -> Result<()> {
        let file = self.scratch.path().join("server.core");
        let taken = self.snapshotter.take(pid, &file);
        let report = taken.with_context(|| format!("snapshot {}", self.taken))?;
        open_undamaged(&file)?;
        std::fs::remove_file(&file)?;
        self.pauses.add(report.pause_ns);
        self.faults.add(report.faults);
        self.taken += 1;
        Ok(())
    }

    /// Prints what the server felt of it.
    pub(super) fn print(&self) {
        let (pauses, faults) = (&self.pauses, &self.faults);
        println!("snapshots       {:>10}", self.taken);
        println!("pause       p50 {:>10}  max {}", time_ns(pauses.p50()), time_ns(pauses.max()));
        println!("faults      p50 {:>10}  max {}", faults.p50(), faults.max());
    }
}
