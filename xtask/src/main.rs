//! Every chore of the project, as `cargo xtask NAME`.
//!
//! [`mod@test`] runs the tests and counts them, [`ci`] is what must pass before a change lands,
//! [`differential`] compares the kernel with its model, [`fuzz`] damages what decoders read,
//! [`vm`] runs the tests on other kernels and architectures and makes a guest to try things on,
//! [`miri`] interprets those that ask the system for nothing, [`soak`] holds the long runs. The
//! same program is the first process inside the machines that `vm` boots ([`vm::guest`]).
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person at the terminal"
)]

mod ci;
mod command;
mod debian;
mod differential;
mod fuzz;
mod interrupt;
mod miri;
mod soak;
mod tally;
mod test;
mod test_program;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of the faultless project.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run every test of the workspace and count passed, failed and skipped
    Test(test::Args),
    /// Run the whole check: format, lints, docs, tidiness, the other architecture, tests
    Ci,
    /// Run the kernel-facing tests on another kernel or architecture, in QEMU
    Vm(vm::Args),
    /// Make a Linux guest that checks its own memory, to try `faultless vm` on
    Guest,
    Differential(differential::Args),
    /// Feed damaged input to every decoder of outside bytes
    Fuzz(fuzz::Args),
    /// Run the tests of the crates below the system under miri, if the nightly toolchain has it
    Miri(miri::Args),
    /// The long runs: many snapshots, many kills, real servers
    Soak(soak::Args),
    /// The first process inside a machine booted by `vm`; not for use outside one
    #[command(hide = true)]
    VmGuest(vm::guest::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test(args) => test::run(&args),
        Chore::Ci => ci::run(),
        Chore::Vm(args) => vm::run(&args),
        Chore::Guest => vm::showcase::run(),
        Chore::Differential(args) => differential::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Miri(args) => miri::run(&args),
        Chore::Soak(args) => soak::run(&args),
        Chore::VmGuest(args) => vm::guest::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(err) => {
            eprintln!("xtask: {err:#}");
            ExitCode::from(interrupt::number().map_or(3, |number| 128 + number))
        }
    }
}
