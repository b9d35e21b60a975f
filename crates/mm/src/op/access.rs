//! Loads and stores: of a thread in user mode, of a system call, of another process.
//!
//! An access is cut at page borders. For each piece the page table is asked, as the processor
//! does it: without a lock. Where it finds no way the fault is handled and the piece tried again.

use core::fmt;

use faultless_pages::{Bytes, Va};
use faultless_uapi::mode::register;

use crate::errno::{EFAULT, ESRCH, Errno};
use crate::id::{FrameId, ProcessId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::Content;
use crate::op::fault::Fault;
use crate::process::Entry;
use crate::sched::Point;

/// `si_code` of a bus error at an address behind which nothing is.
const BUS_ADRERR: u64 = 2;
/// `si_code` of a bus error at broken memory.
const BUS_MCEERR_AR: u64 = 4;
/// `si_code` of an access where nothing is mapped.
const SEGV_MAPERR: u64 = 1;
/// `si_code` of an access the mapping forbids.
const SEGV_ACCERR: u64 = 2;

/// A signal that ended an access in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGBUS.
    Bus {
        /// `si_code`.
        code: u64,
        /// `si_addr`.
        at: Va,
    },
    /// SIGSEGV.
    Segv {
        /// `si_code`.
        code: u64,
        /// `si_addr`.
        at: Va,
    },
    /// The thread was killed.
    Killed,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Bus { code, at } => write!(f, "SIGBUS at {at}, code {code}"),
            Stop::Segv { code, at } => write!(f, "SIGSEGV at {at}, code {code}"),
            Stop::Killed => f.write_str("killed"),
        }
    }
}

impl core::error::Error for Stop {}

/// Who accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// An instruction of the program.
    User,
    /// A system call, on the caller's memory.
    Kernel,
    /// A system call, through the page tables (`get_user_pages`).
    Pages,
}

/// One access of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) thread: ThreadId,
    pub(crate) space: SpaceId,
    pub(crate) at: Va,
    pub(crate) write: bool,
    pub(crate) from: From,
}

/// Bytes to move, and which way.
enum Piece<'a> {
    Load(&'a mut [u8]),
    Store(&'a [u8]),
}

impl Piece<'_> {
    fn len(&self) -> usize {
        match self {
            Piece::Load(out) => out.len(),
            Piece::Store(bytes) => bytes.len(),
        }
    }
}

impl Kernel {
    /// Loads bytes in user mode.
    ///
    /// # Errors
    /// The signal that hit instead.
    pub async fn load(&self, who: ThreadId, at: Va, out: &mut [u8]) -> Result<(), Stop> {
        self.user_access(who, at, Piece::Load(out)).await
    }

    /// Stores bytes in user mode. What precedes a page that cannot be stored to is stored.
    ///
    /// # Errors
    /// The signal that hit instead.
    pub async fn store(&self, who: ThreadId, at: Va, bytes: &[u8]) -> Result<(), Stop> {
        self.user_access(who, at, Piece::Store(bytes)).await
    }

    async fn user_access(&self, who: ThreadId, at: Va, piece: Piece<'_>) -> Result<(), Stop> {
        let space = self.state().space_of(who);
        let access = Access { thread: who, space, at, write: false, from: From::User };
        let (done, fault) = self.transfer(access, piece).await;
        let Some(fault) = fault else { return Ok(()) };
        let at = Va(at.0 + done as u64);
        Err(match fault {
            Fault::Killed | Fault::Retry => Stop::Killed,
            Fault::Bus => Stop::Bus { code: BUS_ADRERR, at },
            Fault::Poisoned => Stop::Bus { code: self.poison_code(), at },
            Fault::Unmapped => Stop::Segv { code: SEGV_MAPERR, at },
            Fault::Forbidden => Stop::Segv { code: SEGV_ACCERR, at },
        })
    }

    fn poison_code(&self) -> u64 {
        if self.state().profile.has_memory_failure { BUS_MCEERR_AR } else { BUS_ADRERR }
    }

    /// Has the kernel read memory, as `write(2)` does; returns how many bytes came.
    ///
    /// # Errors
    /// EFAULT when not even the first byte can be read.
    pub async fn kernel_load(&self, who: ThreadId, at: Va, out: &mut [u8]) -> Result<usize, Errno> {
        self.kernel_access(who, at, Piece::Load(out)).await
    }

    /// Has the kernel write memory, as `read(2)` does; returns how many bytes went.
    ///
    /// # Errors
    /// EFAULT when not even the first byte can be written.
    pub async fn kernel_store(&self, who: ThreadId, at: Va, bytes: &[u8]) -> Result<usize, Errno> {
        self.kernel_access(who, at, Piece::Store(bytes)).await
    }

    async fn kernel_access(&self, who: ThreadId, at: Va, piece: Piece<'_>) -> Result<usize, Errno> {
        let space = self.state().space_of(who);
        let access = Access { thread: who, space, at, write: false, from: From::Kernel };
        let (done, fault) = self.transfer(access, piece).await;
        if fault.is_some() && done == 0 { Err(EFAULT) } else { Ok(done) }
    }

    /// Copies all of an argument in.
    pub(crate) async fn copy_from_user(
        &self,
        who: ThreadId,
        at: Va,
        out: &mut [u8],
    ) -> Result<(), Errno> {
        let wanted = out.len();
        let done = self.kernel_load(who, at, out).await?;
        if done == wanted { Ok(()) } else { Err(EFAULT) }
    }

    /// Copies all of an answer out.
    pub(crate) async fn copy_to_user(
        &self,
        who: ThreadId,
        at: Va,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        let done = self.kernel_store(who, at, bytes).await?;
        if done == bytes.len() { Ok(()) } else { Err(EFAULT) }
    }

    /// Reads memory of another process, as `process_vm_readv` does; returns how many bytes came.
    ///
    /// # Errors
    /// ESRCH when the process is gone, EFAULT when not even the first byte can be read.
    pub async fn remote_load(
        &self,
        who: ThreadId,
        of: ProcessId,
        at: Va,
        out: &mut [u8],
    ) -> Result<usize, Errno> {
        let space = {
            let mut state = self.state();
            let process = state.processes.get(of).filter(|process| !process.dead).ok_or(ESRCH)?;
            let space = process.space;
            state.get_space(space)?;
            space
        };
        let access = Access { thread: who, space, at, write: false, from: From::Pages };
        let (done, fault) = self.transfer(access, Piece::Load(out)).await;
        self.unshare(&access, done as u64).await;
        self.put_space(space).await;
        if fault.is_some() && done == 0 { Err(EFAULT) } else { Ok(done) }
    }

    /// Moves bytes page by page; returns how many went, and what stopped them.
    async fn transfer(&self, first: Access, mut piece: Piece<'_>) -> (usize, Option<Fault>) {
        let page = self.state().profile.page_size;
        let (mut done, len) = (0, piece.len());
        let write = matches!(piece, Piece::Store(_));
        while done < len {
            let Some(at) = first.at.0.checked_add(done as u64).map(Va) else {
                return (done, Some(Fault::Unmapped));
            };
            let next = Bytes(at.align_down(page).0.saturating_add(page.bytes().0) - at.0);
            let end = len.min(done + next.as_usize());
            let access = Access { at, write, ..first };
            if let Err(fault) = self.reach(&access, &mut piece, done, end).await {
                return (done, Some(fault));
            }
            done = end;
        }
        (done, None)
    }

    /// Moves the bytes of one page, faulting until there is a way.
    async fn reach(
        &self,
        access: &Access,
        piece: &mut Piece<'_>,
        from: usize,
        to: usize,
    ) -> Result<(), Fault> {
        loop {
            self.pause(Point::Access).await;
            if self.state().move_bytes(access, piece, from, to) {
                return Ok(());
            }
            match self.fault(access).await {
                Fault::Retry => {}
                fault => return Err(fault),
            }
        }
    }
}

/// What an access finds.
pub(crate) enum Way {
    /// This frame.
    Frame(FrameId),
    /// Zeros.
    Zeros,
}

impl State {
    /// The way of an access through the page table, if it has one, marked as the processor does.
    pub(crate) fn way(&mut self, space: SpaceId, at: Va, write: bool) -> Option<Way> {
        let space = &mut self.spaces[space];
        let area = space.areas.find(at)?;
        if !(if write { area.protection.write } else { area.protection.read }) {
            return None;
        }
        if area.reports(register::RWP) && space.table.get(at).is_some_and(Entry::uffd_wp) {
            return None;
        }
        match space.table.touch(at, write)? {
            Entry::Present(mapped) => Some(Way::Frame(mapped.frame)),
            Entry::Zero { .. } if !write => Some(Way::Zeros),
            _ => None,
        }
    }

    fn move_bytes(
        &mut self,
        access: &Access,
        piece: &mut Piece<'_>,
        from: usize,
        to: usize,
    ) -> bool {
        let Some(way) = self.way(access.space, access.at, access.write) else { return false };
        let page = self.profile.page_size;
        let offset = access.at.since(access.at.align_down(page)).as_usize();
        match (way, piece) {
            (Way::Zeros, Piece::Load(out)) => out[from..to].fill(0),
            (Way::Zeros, Piece::Store(_)) => return false,
            (Way::Frame(frame), Piece::Load(out)) => {
                self.machine.frames[frame].content.read(offset, &mut out[from..to]);
            }
            (Way::Frame(frame), Piece::Store(bytes)) => {
                let identities = self.profile.identities;
                let content = &mut self.machine.frames[frame].content;
                content.write(page, offset, &bytes[from..to], identities);
            }
        }
        true
    }

    /// The content of a page's worth of a thread's memory, if all of it is there to be read
    /// without a fault.
    pub(crate) fn peek_page(&mut self, who: ThreadId, at: Va) -> Option<Content> {
        let space = self.space_of(who);
        let page = self.profile.page_size;
        if at.is_aligned(page) {
            return Some(match self.way(space, at, false)? {
                Way::Zeros => Content::Zero,
                Way::Frame(frame) => self.machine.frames[frame].content.clone(),
            });
        }
        let mut bytes = alloc::vec![0; page.bytes().as_usize()];
        let split = at.align_up(page).since(at).as_usize();
        for (start, from, to) in [(at, 0, split), (at.align_up(page), split, bytes.len())] {
            let access = Access { thread: who, space, at: start, write: false, from: From::Kernel };
            if !self.move_bytes(&access, &mut Piece::Load(&mut bytes), from, to) {
                return None;
            }
        }
        Some(Content::of(&bytes))
    }
}
