//! `cargo xtask soak`: the long runs. Many snapshots, many kills, real servers under load.
//!
//! | soak | proves |
//! |---|---|
//! | [`cut`] | every snapshot is a state that existed at one instant |
//! | [`kill`] | whoever is killed, whenever: the target runs on, and nobody hangs |
//! | [`redis`], [`postgres`] | clients of a real server notice nothing |
//! | [`engine`] | the paging engine keeps every rule in the simulated world, seed after seed |
//! | `gdb` | gdb sees in our cores what it sees in gcore's |
//!
//! Each prints its seed, so that a run can be made again, and its figures. Short versions of `cut`
//! and `kill` run as ordinary tests (`quick`). Every process a soak starts is ended by it, by
//! id, also when it fails or is interrupted by a signal.

pub(crate) mod artifacts;
mod chance;
pub(crate) mod child;
mod cut;
mod engine;
mod figures;
mod kill;
mod postgres;
#[cfg(test)]
mod quick;
mod redis;
mod scratch;
mod sitting;
mod snapshotter;
mod target;

use anyhow::Result;

use crate::command::{cargo, run as run_command, workspace_root};
use crate::interrupt;

/// Options of `cargo xtask soak`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    soak: Soak,
}

#[derive(clap::Subcommand)]
enum Soak {
    /// Snapshot a process that keeps changing, and check that every core is one instant of it
    Cut(cut::Args),
    /// Check cores of a stamper that were taken elsewhere
    CheckCut(cut::CheckArgs),
    /// Run the paging engine in the simulated world, seed after seed
    Engine(engine::Args),
    /// Kill faultless, or the process it snapshots, at random moments
    Kill(kill::Args),
    /// Compare what gdb shows of our cores with what it shows of gcore's
    Gdb,
    /// Snapshot redis-server under redis-benchmark
    Redis(sitting::Args),
    /// Snapshot PostgreSQL under pgbench, a backend and the postmaster in turn
    Postgres(sitting::Args),
}

/// Runs one soak; `Ok(false)` if it found something wrong.
pub(crate) fn run(args: &Args) -> Result<bool> {
    interrupt::catch()?;
    match &args.soak {
        Soak::Cut(args) => cut::run(args),
        Soak::CheckCut(args) => cut::check_files(args),
        Soak::Engine(args) => engine::run(args),
        Soak::Kill(args) => kill::run(args),
        Soak::Gdb => gdb(),
        Soak::Redis(args) => redis::run(args),
        Soak::Postgres(args) => postgres::run(args),
    }
}

/// The comparison is a test of the program; here it runs alone and says what it compared.
fn gdb() -> Result<bool> {
    let mut test = cargo();
    test.current_dir(workspace_root()?).args([
        "test",
        "-p",
        "faultless-cli",
        "--test",
        "gdb_agrees",
        "--",
        "--show-output",
    ]);
    run_command(&mut test)
}
