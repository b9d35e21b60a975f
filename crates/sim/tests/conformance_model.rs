//! Runs every conformance body on the model, as each kernel it can play; that needs no kernel and
//! no privileges.
//!
//! Names given as arguments select bodies, `--list` names them, `--times` tells how long each took.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use faultless_mm::Profile;
use faultless_sim::conform::model::ModelWorlds;
use faultless_sim::conform::run::Worlds;
use faultless_sim::conform::runner::run_in;

fn main() -> ExitCode {
    let profiles = [
        Profile::linux_6_1(),
        Profile::linux_6_12(),
        Profile::linux_6_18(),
        Profile::linux_7_2(),
        Profile::linux_7_3(),
    ];
    // A body that fills a map needs no large one.
    let small = |profile| ModelWorlds::probe(Profile { areas: 1 << 10, ..profile });
    let probed: Result<Vec<ModelWorlds>, _> = profiles.into_iter().map(small).collect();
    let Ok(worlds) = probed else {
        // Its cases could not even begin.
        return ExitCode::FAILURE;
    };
    let kinds: Vec<&dyn Worlds> = worlds.iter().map(|kind| kind as &dyn Worlds).collect();
    match run_in(std::env::args().skip(1), &kinds, &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        // An error here means that nobody reads what is printed.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}
