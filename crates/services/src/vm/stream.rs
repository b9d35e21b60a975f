//! QEMU's own stream of device state, out of one and into another.
//!
//! It goes through a socket that QEMU is given over the monitor (`getfd`, then `fd:NAME`), the one
//! way every version knows; a file would need `exec:` and a shell, or `file:`, which came with 8.2.
//!
//! | | |
//! |---|---|
//! | `fd:` with a socket | every version |
//! | `fd:` with a file | deprecated since 9.1 |

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::error::VmError;
use super::machine::is_migrated;
use super::manifest::STATE_MAX;
use super::qmp::Qmp;

/// The name the socket has in QEMU.
const NAME: &str = "faultless-state";
/// How long QEMU has. Device state takes milliseconds; a host that swaps takes longer.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked whether it is done: the guest stands still meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Has QEMU save its state; the machine must stand still.
pub(super) fn receive(qmp: &mut Qmp) -> Result<Vec<u8>, VmError> {
    let (ours, theirs) = UnixStream::pair().map_err(VmError::Stream)?;
    qmp.give(NAME, theirs.as_fd())?;
    drop(theirs);
    let large = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&ours, &large));
        let saved = qmp
            .execute::<Value>("migrate", &json!({ "uri": format!("fd:{NAME}") }))
            .map_err(VmError::from)
            .and_then(|_| wait(qmp, "saved its state", || large.load(Ordering::Relaxed)));
        if saved.is_err() {
            // What QEMU did not take it would keep for ever, and the reader would wait for it.
            let _ = qmp.execute::<Value>("migrate_cancel", &json!({}));
            let _ = qmp.execute::<Value>("closefd", &json!({ "fdname": NAME }));
            let _ = ours.shutdown(Shutdown::Both);
        }
        let state = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader panicked")));
        saved?;
        state.map_err(VmError::Stream)
    })
}

fn read(from: &UnixStream, large: &AtomicBool) -> io::Result<Vec<u8>> {
    let mut state = Vec::new();
    from.take(STATE_MAX.0 + 1).read_to_end(&mut state)?;
    if state.len() as u64 > STATE_MAX.0 {
        large.store(true, Ordering::Relaxed);
    }
    Ok(state)
}

/// Has QEMU load state it waits for (`-incoming defer`).
pub(super) fn send(qmp: &mut Qmp, state: &[u8]) -> Result<(), VmError> {
    let (ours, theirs) = UnixStream::pair().map_err(VmError::Stream)?;
    qmp.give(NAME, theirs.as_fd())?;
    drop(theirs);
    std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| (&ours).write_all(state).and_then(|()| ours.shutdown(Shutdown::Write)));
        let loaded = qmp
            .execute::<Value>("migrate-incoming", &json!({ "uri": format!("fd:{NAME}") }))
            .map_err(VmError::from)
            .and_then(|_| wait(qmp, "loaded the state", || false));
        if loaded.is_err() {
            let _ = ours.shutdown(Shutdown::Both);
        }
        // QEMU says why it did not take everything; that its end is closed tells nothing.
        let _ = writer.join();
        loaded
    })
}

/// Waits until a migration is done.
fn wait(qmp: &mut Qmp, what: &'static str, too_large: impl Fn() -> bool) -> Result<(), VmError> {
    let started = Instant::now();
    while !is_migrated(qmp)? {
        if too_large() {
            return Err(VmError::StateTooLarge(STATE_MAX));
        }
        if started.elapsed() >= PATIENCE {
            return Err(VmError::Slow { what, seconds: PATIENCE.as_secs() });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
