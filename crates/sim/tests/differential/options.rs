//! What a run was asked for.

use std::time::Duration;

use faultless_sim::differential::bug::Bug;

/// How many programs a run tries that nobody asked for more: it is a test among others, and tries
/// the same every time.
const FEW: u64 = 60;
/// More than they can take.
const LONG: Duration = Duration::from_secs(300);

/// The options of a run.
pub(crate) struct Options {
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    pub(crate) programs: u64,
    pub(crate) bug: Option<Bug>,
    pub(crate) coverage: bool,
    /// Calls are raced, too.
    pub(crate) races: bool,
}

impl Options {
    /// Reads arguments; those of Rust's test harness are let pass.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            time: LONG,
            seed: 0,
            programs: FEW,
            bug: None,
            coverage: false,
            races: false,
        };
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u64, String> {
                let value = arguments.next().ok_or(format!("{argument} wants a number"))?;
                value.parse().map_err(|_| format!("{argument}: {value} is no number"))
            };
            match argument.as_str() {
                "--seconds" => {
                    options.time = Duration::from_secs(number()?);
                    (options.programs, options.coverage, options.races) = (u64::MAX, true, true);
                }
                "--seed" => options.seed = number()?,
                "--programs" => options.programs = number()?,
                "--bug" => {
                    let name = arguments.next().unwrap_or_default();
                    options.bug = Some(Bug::named(&name).ok_or_else(|| unknown(&name))?);
                }
                "--format" | "--test-threads" | "--color" | "--skip" => drop(arguments.next()),
                _ => {}
            }
        }
        Ok(options)
    }
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name).collect();
    format!("there is no bug {name:?}; there are {}", names.join(", "))
}
