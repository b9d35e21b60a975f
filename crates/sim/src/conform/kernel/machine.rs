//! Huge pages and swap, borrowed from the machine for a run and given back.
//!
//! Only [`Machine::borrow`] changes settings that other programs see. They are restored when the
//! value is dropped; [`Machine::give_back`] does it with a report. A run that was killed leaves
//! its swap file and a note about huge pages behind, under telling names, and the next run clears
//! up after it.
//!
//! # Invariants
//! - `nr_hugepages` is changed by a difference, never set to a remembered value: others may
//!   change it meanwhile.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use faultless_uffd::puppet::{Hand, Puppet, PuppetError, Reply, Request};

use super::probe::{HUGETLB_PAGES, word};

const NR_HUGEPAGES: &str = "/proc/sys/vm/nr_hugepages";
const PREFIX: &str = "faultless-conform-";
const NOTE_FOLDER: &str = "/tmp";
const NOTE_SUFFIX: &str = ".hugepages";
const SWAP_SUFFIX: &str = ".swap";
const SWAP_FOLDERS: [&str; 2] = ["/var/tmp", "/tmp"];
const SWAP_BYTES: usize = 32 << 20;
const PAGE: usize = 4096;

/// What a run has borrowed.
#[derive(Debug)]
pub struct Machine {
    hugepages: u64,
    swap: Option<PathBuf>,
    /// swapon and swapoff are made by a puppet, which needs no unsafe code here.
    puppet: Option<(Puppet, Hand)>,
    notes: Vec<String>,
}

impl Machine {
    /// Borrows what this machine lends; what it refuses is in [`Machine::notes`].
    #[must_use]
    pub fn borrow() -> Machine {
        Machine::borrow_more(HUGETLB_PAGES)
    }

    /// Borrows with so many huge pages, which must be no fewer than bodies need.
    #[must_use]
    pub fn borrow_more(hugepages: u64) -> Machine {
        let puppet = Puppet::spawn().ok();
        let mut machine = Machine { hugepages: 0, swap: None, puppet, notes: Vec::new() };
        machine.clear_up_after_the_killed();
        machine.borrow_hugepages(hugepages);
        machine.borrow_swap();
        machine
    }

    /// What was not lent, and why.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn borrow_hugepages(&mut self, wanted: u64) {
        let Some(before) = word(NR_HUGEPAGES) else {
            self.notes.push("no hugetlb pool in this kernel".into());
            return;
        };
        if let Err(error) = fs::write(NR_HUGEPAGES, (before + wanted).to_string()) {
            self.notes.push(format!("no huge pages reserved: {NR_HUGEPAGES}: {error}"));
            return;
        }
        self.hugepages = word(NR_HUGEPAGES).unwrap_or(before).saturating_sub(before);
        // Without the note a killed run's pages stay reserved; that is no reason not to run.
        let _ = fs::write(note_path(), self.hugepages.to_string());
        if self.hugepages < wanted {
            let got = self.hugepages;
            self.notes.push(format!("only {got} of {wanted} huge pages could be reserved"));
        }
    }

    fn borrow_swap(&mut self) {
        let mut refusals = Vec::new();
        for folder in SWAP_FOLDERS {
            let name = format!("{PREFIX}{}{SWAP_SUFFIX}", std::process::id());
            let path = Path::new(folder).join(name);
            match write_swap_file(&path).and_then(|()| self.swap_call(libc::SYS_swapon, &path)) {
                Ok(()) => {
                    self.swap = Some(path);
                    return;
                }
                Err(error) => {
                    // The file is ours and unused.
                    let _ = fs::remove_file(&path);
                    refusals.push(format!("{folder}: {error}"));
                }
            }
        }
        self.notes.push(format!("no swap file: {}", refusals.join("; ")));
    }

    /// A signal to the whole group may have taken the puppet: then another makes the call.
    fn swap_call(&mut self, nr: i64, path: &Path) -> io::Result<()> {
        let reply = self.ask_puppet(nr, path).or_else(|_| {
            self.puppet = None;
            self.ask_puppet(nr, path)
        });
        match reply.map_err(io::Error::other)? {
            Some(Reply::Done { value: 0, .. }) => Ok(()),
            Some(Reply::Done { value, .. }) => {
                Err(io::Error::from_raw_os_error(i32::try_from(-value).unwrap_or(libc::EIO)))
            }
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn ask_puppet(&mut self, nr: i64, path: &Path) -> Result<Option<Reply>, PuppetError> {
        let (_, hand) = match &mut self.puppet {
            Some(puppet) => puppet,
            none => none.insert(Puppet::spawn()?),
        };
        let mut input = path.as_os_str().as_encoded_bytes().to_vec();
        input.push(0);
        let args = [hand.scratch(), 0, 0, 0, 0, 0];
        let nr = nr.cast_unsigned();
        hand.ask(&Request::Syscall { nr, args, input: &input, output_len: 0 })?;
        // swapoff reads every page back, and the machine may be emulated.
        hand.wait(Duration::from_secs(120))
    }

    /// Takes away what killed runs left.
    fn clear_up_after_the_killed(&mut self) {
        for folder in SWAP_FOLDERS {
            for path in left_by_the_dead(folder, SWAP_SUFFIX) {
                // EINVAL: it was not in use.
                let _ = self.swap_call(libc::SYS_swapoff, &path);
                let _ = fs::remove_file(path);
            }
        }
        for path in left_by_the_dead(NOTE_FOLDER, NOTE_SUFFIX) {
            let borrowed = path.to_str().and_then(word).unwrap_or(0);
            // Removed first: pages given back twice would be others'.
            if fs::remove_file(path).is_ok() {
                let _ = give_back_hugepages(borrowed);
            }
        }
    }

    /// Gives everything back and checks it.
    ///
    /// # Errors
    /// One line for each thing that could not be restored.
    pub fn give_back(&mut self) -> Result<(), Vec<String>> {
        let mut left = Vec::new();
        if let Some(path) = self.swap.take() {
            if let Err(error) = self.swap_call(libc::SYS_swapoff, &path) {
                left.push(format!("swapoff {}: {error}", path.display()));
            }
            if let Err(error) = fs::remove_file(&path) {
                left.push(format!("remove {}: {error}", path.display()));
            }
            let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
            if swaps.contains(&path.display().to_string()) {
                left.push(format!("{} is still in use", path.display()));
            }
        }
        let borrowed = std::mem::take(&mut self.hugepages);
        if borrowed > 0 {
            let _ = fs::remove_file(note_path());
            left.extend(give_back_hugepages(borrowed).err());
        }
        if left.is_empty() { Ok(()) } else { Err(left) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A run that ends well has given back before; here nobody is left to tell.
        let _ = self.give_back();
    }
}

/// Where a run notes how many huge pages it borrowed.
fn note_path() -> PathBuf {
    Path::new(NOTE_FOLDER).join(format!("{PREFIX}{}{NOTE_SUFFIX}", std::process::id()))
}

/// Files of runs whose process is gone.
fn left_by_the_dead(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let is_left = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let pid = name.and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(suffix));
        pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_left).collect()
}

fn give_back_hugepages(borrowed: u64) -> Result<(), String> {
    let Some(now) = word(NR_HUGEPAGES) else { return Ok(()) };
    let target = now.saturating_sub(borrowed);
    let written = fs::write(NR_HUGEPAGES, target.to_string());
    if written.is_err() || word(NR_HUGEPAGES) != Some(target) {
        return Err(format!("{NR_HUGEPAGES} should be {target}"));
    }
    Ok(())
}

/// Writes a file without holes that `swapon` accepts.
fn write_swap_file(path: &Path) -> io::Result<()> {
    let last_page = u32::try_from(SWAP_BYTES / PAGE - 1).map_err(io::Error::other)?;
    let mut header = vec![0; PAGE];
    header[1024..1028].copy_from_slice(&1u32.to_ne_bytes());
    header[1028..1032].copy_from_slice(&last_page.to_ne_bytes());
    header[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
    let mut file = options.open(path)?;
    file.write_all(&header)?;
    file.write_all(&vec![0; SWAP_BYTES - PAGE])?;
    file.sync_all()
}
