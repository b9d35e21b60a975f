//! Runs every conformance body on the running kernel.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    faultless_uffd::puppet::serve_if_asked();
    faultless_sim::conform::runner::run_on_kernel(std::env::args().skip(1))
}
