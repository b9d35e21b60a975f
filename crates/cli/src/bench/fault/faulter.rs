//! The other process whose faults the engine answers.
//!
//! A hidden command of the program; its standard input is a Unix socket to the bench. For each line
//! that says what a sample is to be, it makes memory without pages, hands its userfaultfd over with
//! where the memory lies, waits for a line, touches the pages, and answers with what it took.
//! Driven by `super::foreign`.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uffd::{Features, Modes, OwnedRegistration, send_fds};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::exit::{Exit, Failure};

use super::Task;
use super::crowd::{Expected, touch};
use super::engine::EVENTS;
use super::scene::{fresh, host, len_of, uffd};

/// Bytes that say where memory lies.
pub(super) const PLACE_LEN: usize = 16;

/// Waits for samples to be asked for
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs until the bench hangs up.
///
/// # Errors
/// [`Exit::Host`] if memory or a userfaultfd cannot be had, [`Exit::Peer`] if the bench says what
/// cannot be understood.
pub(in crate::bench) fn run(_: &Args) -> Result<Exit, Failure> {
    // Threads that wait for pages outlive a bench that is killed, for the userfaultfd is held here
    // as well.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| host(&error))?;
    let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| host(&error))?;
    let mut socket = UnixStream::from(input);
    let mut lines = BufReader::new(socket.try_clone().map_err(|error| host(&error))?).lines();
    while let Some(Ok(line)) = lines.next() {
        let task: Task = serde_json::from_str(&line).map_err(|error| peer(&error))?;
        let memory = fresh(len_of(task.pages))?;
        let uffd = Arc::new(uffd(EVENTS | Features::POISON)?);
        let registered =
            OwnedRegistration::new(Arc::clone(&uffd), Arc::clone(&memory), Modes::MISSING);
        let registered = registered.map_err(|error| host(&error))?;
        send_fds(&socket, &place(memory.range()), &[(*uffd).as_fd()])
            .map_err(|error| peer(&error))?;
        // Whoever hangs up here serves nothing either.
        let Some(Ok(_)) = lines.next() else { break };
        let touches = touch(&memory, task, Expected::Content)?;
        let text = serde_json::to_string(&touches).map_err(|error| peer(&error))?;
        writeln!(socket, "{text}").map_err(|error| peer(&error))?;
        // It is served until it is unregistered: letting go of it in between would have to be read.
        let Some(Ok(_)) = lines.next() else { break };
        drop(registered);
    }
    Ok(Exit::Done)
}

/// Reports that the bench and its process do not understand each other.
pub(super) fn peer(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Peer, format_args!("the process that faults: {error}"))
}

fn place(range: VaRange) -> [u8; PLACE_LEN] {
    let mut bytes = [0; PLACE_LEN];
    bytes[..8].copy_from_slice(&range.start().0.to_ne_bytes());
    bytes[8..].copy_from_slice(&range.len().0.to_ne_bytes());
    bytes
}

/// Reads where memory lies.
pub(super) fn range_of(place: [u8; PLACE_LEN]) -> VaRange {
    let [start, len] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&place[at..at + 8]);
        u64::from_ne_bytes(word)
    });
    VaRange::of(Va(start), Bytes(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_trip() {
        let range = VaRange::of(Va(0x7f00_0000_0000), Bytes(8192));
        assert_eq!(range_of(place(range)), range);
    }
}
