//! `faultless doctor`: what this host can do, what is missing, what that costs, how to get it.
//!
//! Everything that can be tried is tried; only settings are read. [`Diagnosis`] is the report
//! (its JSON is the machine's view), [`lack`] derives from it what is missing, [`report`] prints
//! it for people.
//!
//! # Invariants
//! - Nothing on the host is changed, and nothing stays behind.

mod child;
mod features;
mod host;
mod lack;
mod memory;
mod probe;
mod rehearsal;
mod report;
mod rights;
mod routes;
mod tools;
mod tried;

pub(crate) use child::{IdleArgs, idle};
pub(crate) use probe::{TryArgs, run as try_one};

use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

/// Show what this host can do, what is missing, what that costs and how to get it.
#[derive(clap::Args)]
#[command(long_about = "\
Show what this host can do, what is missing, what that costs and how to get it.

Every route to userfaultfd, every memory type and operation is really tried, with the rights of \
the user who asks: run doctor as the user, in the container and with the privileges a snapshot \
will have. Ends with 0 if a snapshot works here and with 1 if it does not.")]
pub(crate) struct Args {
    #[command(flatten)]
    format: Format,
}

/// All that was found out.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    /// Whether a snapshot of a process with the rights of this one works.
    pub(crate) snapshot_works: bool,
    pub(crate) host: host::Host,
    pub(crate) rights: rights::Rights,
    pub(crate) userfaultfd: routes::Routes,
    pub(crate) features: Vec<features::Feature>,
    /// Bits the kernel has and this program does not know.
    pub(crate) unknown_features: u64,
    pub(crate) memory: Vec<memory::Kind>,
    pub(crate) tools: tools::Tools,
    pub(crate) lacks: Vec<lack::Lack>,
}

/// Examines the host, prints the report, and answers whether a snapshot works.
pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let diagnosis = examine();
    output::report(&args.format, &diagnosis, report::text)?;
    Ok(if diagnosis.snapshot_works { Exit::Done } else { Exit::No })
}

/// Tries everything.
fn examine() -> Diagnosis {
    let rights = rights::Rights::read();
    let userfaultfd = routes::Routes::try_all(rights.seccomp);
    let supported = userfaultfd.features();
    let host = host::Host::read();
    let mut diagnosis = Diagnosis {
        snapshot_works: false,
        // Where no way leads to a userfaultfd, taking one again might end this program.
        memory: if userfaultfd.any() { memory::try_all(&host.hugetlb) } else { Vec::new() },
        host,
        features: features::list(supported),
        unknown_features: features::unknown(supported),
        userfaultfd,
        tools: tools::try_all(rights.seccomp),
        rights,
        lacks: Vec::new(),
    };
    diagnosis.lacks = lack::find(&diagnosis);
    diagnosis.snapshot_works = !diagnosis.lacks.iter().any(|lack| lack.needed);
    diagnosis
}
