//! Runs every conformance body on the model, which needs no kernel and no privileges.
//!
//! Names given as arguments select bodies, `--list` names them, `--times` tells how long each took.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use faultless_mm::Profile;
use faultless_sim::conform::model::ModelWorlds;
use faultless_sim::conform::runner::run_in;

fn main() -> ExitCode {
    let Ok(worlds) = ModelWorlds::probe(Profile::linux_6_18()) else {
        // Its cases could not even begin.
        return ExitCode::FAILURE;
    };
    match run_in(std::env::args().skip(1), &worlds, &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        // An error here means that nobody reads what is printed.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}
