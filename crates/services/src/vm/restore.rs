//! Restoring: the guest goes on at once, its memory follows.
//!
//! | step | what fails there |
//! |---|---|
//! | compare the folder with the QEMU that waits | nothing was done |
//! | take its RAM over, have a worker serve it | it is let go; nothing has run in it |
//! | load the state: devices touch memory already | QEMU ends by itself, or is let go |
//! | go on | the worker fills, another one if it dies; without any, the guest waits |

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use faultless_pages::Bytes;
use faultless_wire::Layout;
use serde::Serialize;
use serde_json::{Value, json};

use super::error::VmError;
use super::machine::{self, Machine};
use super::manifest::Manifest;
use super::qmp::Qmp;
use super::ram::{self, Ram};
use super::takeover::take_over;
use super::{Step, Watcher, ns_since, process_of, stream};
use crate::serve::front::Spawn;
use crate::serve::keeper::{End, Keeper, News, filled};

/// The name QEMU has for its own copy of the userfaultfd.
const USERFAULTFD: &str = "faultless-userfaultfd";
/// How often it is looked how far filling is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a VM is to be restored.
pub struct Restore {
    /// Where it was saved.
    pub folder: PathBuf,
    /// Leave it stopped, even if it ran when it was saved.
    pub paused: bool,
    /// Bring only what the guest touches, until the user wants it to end.
    pub lazy: bool,
    /// QEMU's process, where the monitor does not tell.
    pub pid: Option<u32>,
    /// Starts a worker that serves the image of the folder.
    pub spawn: Spawn,
}

/// What was restored.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// QEMU's process.
    pub pid: u32,
    /// QEMU's version.
    pub qemu: String,
    /// How much RAM it has.
    pub memory_bytes: u64,
    /// How long the state of its devices is.
    pub state_bytes: u64,
    /// How long it took to put a userfaultfd on its RAM and to have it served.
    pub attach_ns: u64,
    /// How long it took to load the state.
    pub load_ns: u64,
    /// How long it took until the guest went on, from the beginning.
    pub on_ns: u64,
    /// Pages the guest and its devices had waited for by then.
    pub on_pages_waited_for: u64,
    /// Pages that were there by then.
    pub on_pages_there: u64,
    /// Pages that were waited for, in all.
    pub pages_waited_for: u64,
    /// How long it took until all memory was there.
    pub total_ns: u64,
    /// Workers that died and were replaced.
    pub workers_replaced: u64,
    /// Whether the guest runs.
    pub running: bool,
}

/// Restores a VM into the QEMU whose monitor listens at a path, which waits for it with `-incoming
/// defer`. Returns when all of its memory is there, and nothing of ours any more.
///
/// # Errors
/// [`VmError`]. Before the guest has gone on, QEMU is let go; afterwards it waits where its memory
/// is missing, and never reads zeros that are not its own.
pub fn restore(
    monitor: &Path,
    wanted: Restore,
    watcher: &mut Watcher<'_>,
) -> Result<Restored, VmError> {
    let started = Instant::now();
    let manifest = Manifest::read(&wanted.folder)?;
    let state = manifest.state(&wanted.folder)?;
    manifest.check_image(&wanted.folder)?;
    let mut qmp = Qmp::connect(monitor)?;
    let (pid, ram) = look(&mut qmp, &manifest, wanted.pid)?;
    if watcher.cancel.load(Ordering::Relaxed) {
        return Err(VmError::Interrupted("QEMU waits as before"));
    }

    let began = Instant::now();
    // If all of our processes were killed, the last descriptor would be closed and what is missing
    // become zeros. QEMU does not look at its copy.
    let taken = take_over(pid, &ram, &manifest, |uffd| Ok(qmp.give(USERFAULTFD, uffd)?));
    drop(ram);
    let served = taken.and_then(|charge| {
        let layout = charge.layout.clone();
        let keeper = Keeper::serve(charge, wanted.spawn);
        Ok((keeper.map_err(|error| VmError::Server(error.to_string()))?, layout))
    });
    let (keeper, layout) = served.inspect_err(|_| take_back(&mut qmp))?;
    let attach_ns = ns_since(began);
    let mut guest = Guest { qmp, keeper, layout, watcher, lost: Bytes::ZERO, replaced: 0 };

    let began = Instant::now();
    if let Err(error) = stream::send(&mut guest.qmp, &state) {
        guest.let_go();
        return Err(error);
    }
    let load_ns = ns_since(began);
    let running = manifest.running && !wanted.paused;
    if running {
        guest.qmp.execute::<Value>("cont", &json!({}))?;
    }
    let on_ns = ns_since(started);
    let on = guest.keeper.figures();
    let there = filled(&on, &guest.layout).0;
    (guest.watcher.told)(Step::GoesOn { after_ns: on_ns, there });

    let memory_bytes = guest.layout.len().0;
    guest.fill(wanted.lazy)?;
    let all = guest.keeper.figures();
    Ok(Restored {
        pid,
        qemu: guest.qmp.version().to_string(),
        memory_bytes,
        state_bytes: state.len() as u64,
        attach_ns,
        load_ns,
        on_ns,
        on_pages_waited_for: on.faults,
        on_pages_there: on.installed,
        pages_waited_for: all.faults,
        total_ns: ns_since(started),
        workers_replaced: guest.replaced,
        running,
    })
}

/// Looks at the QEMU that waits, and finds its RAM. Changes nothing but a capability of it.
fn look(qmp: &mut Qmp, manifest: &Manifest, pid: Option<u32>) -> Result<(u32, Vec<Ram>), VmError> {
    let (status, _) = machine::status(qmp)?;
    if status != "inmigrate" {
        let wanted = "where it does not wait for a migration";
        return Err(VmError::Status { status, wanted });
    }
    let machine = Machine::ask(qmp)?;
    manifest.compare(&machine)?;
    let pid = process_of(qmp, pid)?;
    let ram = ram::find(pid, &machine.backends)?;
    for ram in &ram {
        ram.check_whole()?;
        ram.check_told()?;
        ram.check_alone(pid)?;
    }
    machine::ignore_shared(qmp, true)?;
    Ok((pid, ram))
}

/// Takes QEMU's copy of the userfaultfd back. That it has ended, or has none, is as well.
fn take_back(qmp: &mut Qmp) {
    let _ = qmp.execute::<Value>("closefd", &json!({ "fdname": USERFAULTFD }));
}

/// A QEMU whose memory is served.
struct Guest<'a, 'w> {
    qmp: Qmp,
    keeper: Keeper,
    layout: Layout,
    watcher: &'a mut Watcher<'w>,
    lost: Bytes,
    replaced: u64,
}

impl Guest<'_, '_> {
    /// Lets a QEMU go in which nothing has run yet.
    fn let_go(&mut self) {
        self.keeper.leave();
        take_back(&mut self.qmp);
    }

    /// Has all memory filled, and waits until it is; lazily, only once that is wanted.
    fn fill(&mut self, lazy: bool) -> Result<(), VmError> {
        let mut filling = !lazy;
        let mut asked = false;
        if filling {
            self.keeper.finish();
        }
        let end = loop {
            let end = self.keeper.wait(LOOK_EVERY);
            self.pass_on_news();
            let (there, total) = filled(&self.keeper.figures(), &self.layout);
            if let Some(end) = end {
                break end;
            }
            (self.watcher.told)(Step::Passed(there, total));
            if !asked && self.watcher.cancel.load(Ordering::Relaxed) {
                asked = true;
                (self.watcher.told)(Step::Filling(Bytes(total.0 - there.0)));
            }
            if !filling && (asked || there == total) {
                filling = true;
                self.keeper.finish();
            }
        };
        match end {
            End::Whole if self.lost == Bytes::ZERO => {}
            End::Whole => {
                take_back(&mut self.qmp);
                return Err(VmError::Lost(self.lost));
            }
            End::Gone => {
                let (there, total) = filled(&self.keeper.figures(), &self.layout);
                return Err(VmError::Ended { left: Bytes(total.0 - there.0) });
            }
            End::Failed(why) => return Err(VmError::Server(why)),
            End::Left => unreachable!("nobody has left it"),
        }
        take_back(&mut self.qmp);
        Ok(())
    }

    fn pass_on_news(&mut self) {
        for news in self.keeper.news() {
            match &news {
                News::Lost { len, .. } => self.lost = Bytes(self.lost.0 + len),
                News::Replaced { .. } => self.replaced += 1,
                News::Unrecorded(_) => {}
            }
            (self.watcher.told)(Step::Server(news));
        }
    }
}
