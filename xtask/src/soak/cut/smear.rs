//! The wrong way to take a snapshot: reading a process's memory while it runs on.
//!
//! Keeps the checker honest: what it calls a cut must not be what any reader of `/proc/PID/mem`
//! gets. Used by tests only.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result};

use super::layout::{Header, MARK_CHURN, MARK_WRITER};
use super::snapshot::{Content, Page, Registers, Snapshot};
use super::verdict::Verdict;

/// The memory of a running process, read page by page whenever the checker asks.
pub(crate) struct Smear {
    memory: File,
    registers: Vec<Registers>,
}

impl Smear {
    /// Opens the process's memory and takes, in place of the registers nobody stopped to read,
    /// the numbers its threads have published by now.
    pub(crate) fn of(pid: u32) -> Result<Smear> {
        let memory = File::open(format!("/proc/{pid}/mem")).context("cannot open its memory")?;
        let mut smear = Smear { memory, registers: Vec::new() };
        let header = Header::read(&mut smear)?;
        for (writer, number) in header.writers.iter().zip(0..) {
            let mark = MARK_WRITER | number;
            smear.registers.push(Registers { tid: writer.tid, seq: writer.published, mark });
        }
        let tid = header.churn.tid;
        smear.registers.push(Registers { tid, seq: header.churn_ops, mark: MARK_CHURN });
        Ok(smear)
    }
}

impl Snapshot for Smear {
    fn page(&mut self, address: u64, into: &mut Page) -> Result<Content> {
        match self.memory.read_exact_at(into, address) {
            Ok(()) => Ok(Content::Saved),
            Err(_) => Ok(Content::Absent),
        }
    }

    fn registers(&self) -> Vec<Registers> {
        self.registers.clone()
    }
}

/// Checks the memory of a running stamper as if it were a snapshot.
pub(crate) fn check_smear(pid: u32) -> Result<Verdict> {
    super::check::check(&mut Smear::of(pid)?)
}

/// Writes over a stamped page of a running stamper, the way a broken snapshotter might.
pub(crate) fn spoil_stamped_page(pid: u32) -> Result<()> {
    let header = Header::read(&mut Smear::of(pid)?)?;
    let memory = File::options().write(true).open(format!("/proc/{pid}/mem"))?;
    let base = header.regions.first().context("the stamper has no memory")?.base;
    Ok(memory.write_all_at(&[0xff; 8], base + 8)?)
}
