//! The command line, defined once: help, man page and completions are all made from here.

use clap::{Parser, Subcommand};

use crate::exit::CODES;
use crate::{bench, conform, docs, doctor, image, inspect, serve, snapshot, vm};

/// Page faults, answered in user space: consistent snapshots of running processes.
///
/// faultless takes a core dump of a running, unmodified process and stops it only for the
/// moment it takes to write-protect its memory; the memory itself is copied while the process
/// runs on.
#[derive(Parser)]
#[command(
    name = "faultless",
    version,
    after_long_help = CODES,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    Snapshot(snapshot::Args),
    Inspect(inspect::Args),
    Image(image::Args),
    Serve(serve::Args),
    Vm(vm::Args),
    Doctor(doctor::Args),
    Conform(conform::Args),
    Bench(bench::Args),
    #[command(name = "__idle", hide = true)]
    Idle(doctor::IdleArgs),
    #[command(name = "__try", hide = true)]
    Try(doctor::TryArgs),
    #[command(name = "__serve-worker", hide = true)]
    ServeWorker(serve::WorkerArgs),
    #[command(hide = true)]
    Man(docs::ManArgs),
    #[command(hide = true)]
    Completions(docs::CompletionsArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }
}
