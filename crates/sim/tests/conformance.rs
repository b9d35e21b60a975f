//! Runs every conformance body on the running kernel.
//!
//! `CONFORM_PATIENCE=N` stretches every limit of time N-fold, for emulated machines. Names given
//! as arguments select bodies, `--list` names them, `--times` tells how long each took.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use faultless_sim::conform::runner::run_on_kernel;

fn main() -> ExitCode {
    faultless_uffd::puppet::serve_if_asked();
    let wish = std::env::var("CONFORM_PATIENCE").ok();
    let patience = wish.and_then(|wish| wish.parse().ok()).unwrap_or(1).max(1);
    match run_on_kernel(std::env::args().skip(1), patience, &mut std::io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        // An error here means that nobody reads what is printed.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}
