//! ELF cores as the checker's input: ours and gcore's.

use std::path::Path;

use anyhow::{Result, ensure};
use faultless_image::core::{CoreFile, Machine, Residence};
use faultless_pages::Va;

use super::snapshot::{Content, PAGE, Page, Registers, Snapshot};
use crate::soak::snapshotter::open_undamaged;

/// A core of a stamper.
pub(crate) struct Core(CoreFile);

impl Core {
    /// Opens a core; fails if it is damaged.
    pub(crate) fn open(file: &Path) -> Result<Core> {
        Ok(Core(open_undamaged(file)?))
    }
}

impl Snapshot for Core {
    fn page(&mut self, address: u64, into: &mut Page) -> Result<Content> {
        Ok(match self.0.residence(Va(address)) {
            Residence::InFile => {
                let read = self.0.read_memory(Va(address), into)?;
                ensure!(read == PAGE, "half of the page at {address:#x} is missing");
                Content::Saved
            }
            Residence::Freed => Content::Freed,
            Residence::NotDumped | Residence::Unmapped => Content::Absent,
        })
    }

    fn registers(&self) -> Vec<Registers> {
        // r15 and r14 are the first two words of user_regs_struct; aarch64 counts from x0.
        let (seq, mark) = match self.0.machine() {
            Machine::X86_64 => (0, 1),
            Machine::Aarch64 => (28, 27),
        };
        let threads = self.0.threads().iter();
        let register = |general: &[u64], at: usize| general.get(at).copied().unwrap_or(0);
        threads
            .map(|thread| Registers {
                tid: thread.tid.into(),
                seq: register(&thread.general, seq),
                mark: register(&thread.general, mark),
            })
            .collect()
    }
}
