//! `faultless conform`: holds this host's userfaultfd to its documented behaviour.
//!
//! The bodies, the worlds they run in and the comparison with releases are those of
//! `faultless-sim`; here they are chosen, run and reported. [`report`] is what is found out (its
//! JSON is the machine's view), [`text`] prints it for people.
//!
//! # Invariants
//! - Huge pages and swap borrowed from the host are given back, whatever ends the run but SIGKILL;
//!   after that the next run gives them back.

mod report;
mod text;

use std::sync::atomic::Ordering;

use clap::ValueEnum;
use faultless_sim::conform::kernel::{KernelWorlds, Machine};
use faultless_sim::conform::likeness::Observations;
use faultless_sim::conform::model::ModelWorlds;
use faultless_sim::conform::{Case, Outcome, Selection, Worlds, run_case};

use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::progress::Progress;
use crate::signals::Interrupts;
use report::{Host, Report};

/// Hold userfaultfd on this host to its documented behaviour, one body for each.
#[derive(clap::Args)]
#[command(long_about = "\
Hold userfaultfd on this host to its documented behaviour, one body for each.

Every body runs in processes of its own that exist to be broken. What this host lacks is skipped \
and said. The end names the kernel release this host resembles most, and each difference. Ends \
with 0 if nothing diverges, with 1 if something does, and with 3 if nothing can be asked here.

As root, a few huge pages and a small swap file are borrowed for the run and given back.")]
pub(crate) struct Args {
    /// Parts of the names of behaviours to ask for [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Take the names as whole names
    #[arg(long)]
    exact: bool,

    /// Leave out behaviours whose names contain this
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,

    /// Which implementation to ask
    #[arg(long, value_enum, default_value_t = World::Kernel)]
    world: World,

    /// Which release the model plays [default: 6.18]
    #[arg(long, value_enum)]
    profile: Option<Release>,

    /// Stretch every limit of time this many times, for emulated machines
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    patience: u32,

    /// Borrow neither huge pages nor swap from this host; what needs them is skipped
    #[arg(long)]
    no_borrow: bool,

    #[command(flatten)]
    format: Format,
}

/// An implementation of userfaultfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum World {
    /// The running kernel
    Kernel,
    /// The model of userfaultfd in this program
    Model,
}

/// A release the model can play.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Release {
    #[value(name = "6.1")]
    Linux6_1,
    #[value(name = "6.12")]
    Linux6_12,
    #[value(name = "6.18")]
    Linux6_18,
    #[value(name = "7.2")]
    Linux7_2,
    #[value(name = "7.3")]
    Linux7_3,
}

impl Release {
    fn profile(self) -> faultless_mm::Profile {
        match self {
            Release::Linux6_1 => faultless_mm::Profile::linux_6_1(),
            Release::Linux6_12 => faultless_mm::Profile::linux_6_12(),
            Release::Linux6_18 => faultless_mm::Profile::linux_6_18(),
            Release::Linux7_2 => faultless_mm::Profile::linux_7_2(),
            Release::Linux7_3 => faultless_mm::Profile::linux_7_3(),
        }
    }
}

/// Runs the bodies that are asked for, prints the report, and answers whether all is as promised.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    if args.profile.is_some() && args.world == World::Kernel {
        return Err(Failure::new(Exit::Usage, "--profile: the running kernel is what it is")
            .next("add --world model"));
    }
    let wanted = wanted(args)?;
    let interrupts = Interrupts::catch()
        .map_err(|error| Failure::new(Exit::Host, format_args!("signals: {error}")))?;
    match args.world {
        World::Kernel => ask_host(args, &wanted, &interrupts),
        World::Model => {
            let release = args.profile.unwrap_or(Release::Linux6_18);
            let worlds = ModelWorlds::probe(release.profile())
                .map_err(|failure| Failure::new(Exit::Bug, format_args!("model: {failure}")))?;
            let report = ask(&wanted, &worlds, &interrupts);
            tell(args, &report, &interrupts)
        }
    }
}

/// Asks the running kernel, with what the host lends.
fn ask_host(
    args: &Args,
    wanted: &[&'static Case],
    interrupts: &Interrupts,
) -> Result<Exit, Failure> {
    let mut machine = (!args.no_borrow).then(Machine::borrow);
    let asked = ask_kernel(args, wanted, interrupts);
    let left_behind = machine.as_mut().and_then(|machine| machine.give_back().err());
    let mut report = asked?;
    report.host = Some(Host::read());
    report.notes = machine.map(|machine| machine.notes().to_vec()).unwrap_or_default();
    let exit = tell(args, &report, interrupts)?;
    match left_behind {
        None => Ok(exit),
        Some(lines) => {
            Err(Failure::new(Exit::Peer, format_args!("left behind: {}", lines.join("; ")))
                .next("run it once more, which clears up"))
        }
    }
}

/// Prints the report, unless a signal made it a part of one.
fn tell(args: &Args, report: &Report, interrupts: &Interrupts) -> Result<Exit, Failure> {
    if let Some(exit) = interrupts.exit() {
        return Ok(exit);
    }
    output::report(&args.format, report, text::render)?;
    Ok(report.exit())
}

fn wanted(args: &Args) -> Result<Vec<&'static Case>, Failure> {
    let selection =
        Selection { filters: args.names.clone(), skips: args.skip.clone(), exact: args.exact };
    let wanted = selection.cases();
    if wanted.is_empty() {
        let names = args.names.join(" ");
        return Err(Failure::new(Exit::Usage, format_args!("{names}: no behaviour is named so"))
            .next("faultless conform without a name lists all"));
    }
    Ok(wanted)
}

fn ask_kernel(
    args: &Args,
    wanted: &[&'static Case],
    interrupts: &Interrupts,
) -> Result<Report, Failure> {
    let worlds = KernelWorlds::probe(args.patience)
        .map_err(|failure| Failure::new(Exit::Host, format_args!("conform: {failure}")))?;
    if let Some(why) = &worlds.profile().closed {
        return Err(Failure::new(Exit::Host, why).next("faultless doctor says how to get it"));
    }
    Ok(ask(wanted, &worlds, interrupts))
}

/// Runs what is wanted, and compares with every release.
fn ask(wanted: &[&'static Case], worlds: &dyn Worlds, interrupts: &Interrupts) -> Report {
    let outcomes = run_cases(wanted, worlds, interrupts);
    Report::new(worlds, &outcomes, &Observations::of(worlds))
}

/// Runs case after case, until a signal comes.
fn run_cases(
    wanted: &[&'static Case],
    worlds: &dyn Worlds,
    interrupts: &Interrupts,
) -> Vec<Outcome> {
    let progress = Progress::start();
    progress.phase("asking");
    let mut outcomes = Vec::with_capacity(wanted.len());
    for case in wanted {
        if interrupts.cancel.load(Ordering::SeqCst) {
            break;
        }
        progress.count(outcomes.len(), wanted.len());
        outcomes.push(run_case(case, worlds));
    }
    outcomes
}
