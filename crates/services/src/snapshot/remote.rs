//! The target as the kernel shows it: [`Target`] over a userfaultfd of another process.

use std::fs::File;
use std::io::IoSliceMut;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uffd::process::read_memory_scattered;
use faultless_uffd::{
    Category, Event, ForeignUffd, MessageBatch, Pagemap, PagemapEntry, PagemapScan, RetryReason,
    Situation, WpMode,
};
use rustix::io::Errno;
use rustix::process::Pid;

use super::port::{Message, Move, Piece, Released, Target};

/// A process whose memory is read and protected from outside.
///
/// There are two ways to read. `process_vm_readv` copies straight into our memory, but it pins
/// pages, and pinning a page shared with a forked child makes the kernel copy it: saving a process
/// would double its memory. `/proc/PID/mem` copies everything twice, leaves pages shared, and reads
/// what the program itself may not. So pages that belong to the target alone are read the first
/// way, and what that leaves the second way. After an `execve` the first reads the wrong program;
/// its pages are not protected ([`Target::armed`]).
pub(super) struct Remote<'a> {
    pid: Pid,
    uffd: &'a ForeignUffd,
    /// `/proc/PID/mem`.
    memory: &'a File,
    pagemap: &'a Pagemap,
    batch: MessageBatch,
    entries: Vec<PagemapEntry>,
}

impl<'a> Remote<'a> {
    /// Puts the parts of an attachment together.
    pub(super) fn new(
        pid: Pid,
        uffd: &'a ForeignUffd,
        memory: &'a File,
        pagemap: &'a Pagemap,
    ) -> Remote<'a> {
        Remote { pid, uffd, memory, pagemap, batch: MessageBatch::new(), entries: Vec::new() }
    }

    /// Returns what the page table says about the pages of a range; less if it is gone.
    fn entries(&mut self, live: VaRange) -> &[PagemapEntry] {
        let pages = live.page_count(self.pagemap.page_size());
        let pages = usize::try_from(pages).expect("pages of one piece");
        self.entries.resize(pages.max(self.entries.len()), PagemapEntry::default());
        let read = self.pagemap.entries(live, &mut self.entries[..pages]).unwrap_or(0);
        &self.entries[..read.min(pages)]
    }

    /// Says whether all pages of a range are mapped by the target alone.
    fn is_exclusive(&mut self, live: VaRange) -> bool {
        self.entries(live).iter().all(|entry| entry.is_exclusive())
    }

    /// Says whether `page` is part of a huge page; `false` where the kernel does not tell.
    pub(super) fn is_huge(&self, page: VaRange) -> bool {
        let huge = PagemapScan::new().required(Category::HUGE);
        let mut found = Vec::new();
        huge.scan(self.pagemap, page, &mut found).is_ok() && !found.is_empty()
    }

    /// Returns the userfaultfd, to wait on.
    pub(super) fn uffd(&self) -> &'a ForeignUffd {
        self.uffd
    }
}

impl Target for Remote<'_> {
    fn read(&mut self, live: VaRange, out: &mut dyn Piece) -> Bytes {
        let exclusive = self.is_exclusive(live);
        let mut blocks = out.blocks();
        let mut slices: Vec<IoSliceMut<'_>> =
            blocks.iter_mut().map(|block| IoSliceMut::new(block)).collect();
        let mut rest = slices.as_mut_slice();
        let mut done = Bytes::ZERO;
        if exclusive {
            let read = read_memory_scattered(self.pid, live, rest).unwrap_or(0);
            done.0 += read as u64;
            IoSliceMut::advance_slices(&mut rest, read);
        }
        while done < live.len() {
            match rustix::io::preadv(self.memory, rest, live.start().add(done).0) {
                Ok(0) => break,
                Ok(read) => {
                    done.0 += read as u64;
                    IoSliceMut::advance_slices(&mut rest, read);
                }
                Err(Errno::INTR) => {}
                // Unreadable memory: the caller finds out which page and why.
                Err(_) => break,
            }
        }
        done
    }

    fn armed(&mut self, live: VaRange) -> Vec<VaRange> {
        let page = self.pagemap.page_size();
        let mut armed: Vec<VaRange> = Vec::new();
        for (entry, at) in self.entries(live).iter().zip(live.chunks(page.bytes())) {
            if !(entry.is_uffd_wp() && (entry.is_present() || entry.is_swapped())) {
                continue;
            }
            match armed.last_mut().filter(|last| last.end() == at.start()) {
                Some(last) => *last = VaRange::new(last.start(), at.end()),
                None => armed.push(at),
            }
        }
        armed
    }

    fn release(&mut self, live: VaRange) -> Released {
        let mode = WpMode::Unprotect { dontwake: false };
        match self.uffd.write_protect(live, mode).stopped {
            None => Released::Done,
            Some(Situation::Retry(_)) => Released::Changing,
            Some(Situation::Gone) => Released::Gone,
            // What is left of the range may have been let go, but nobody was woken.
            Some(_) => {
                let _ = self.uffd.wake(live);
                Released::Unmapped
            }
        }
    }

    /// Asks for something impossible: whether the mapping is changing is looked at first.
    fn is_changing(&mut self) -> bool {
        let nowhere = VaRange::new(Va(0), Va(0));
        let stopped = self.uffd.write_protect(nowhere, WpMode::Protect).stopped;
        matches!(stopped, Some(Situation::Retry(RetryReason::EventPending)))
    }

    fn messages(&mut self, out: &mut Vec<Message>) {
        loop {
            // Any other error is one of the next call as well; the target's end is noticed when
            // it is let go.
            let read = self.uffd.read_events(&mut self.batch).unwrap_or(0);
            out.extend(self.batch.drain().filter_map(message));
            if read == 0 {
                return;
            }
        }
    }
}

/// Reads an event. A child's userfaultfd is dropped here, which lets the child go unprotected.
fn message(event: Event) -> Option<Message> {
    match event {
        Event::Fault(fault) => Some(Message::Fault(fault.address)),
        Event::Remap { from, to, len } => Some(Message::Moved(Move { from, to, len })),
        Event::Remove(range) => Some(Message::Dropping(range)),
        Event::Unmap(_) => Some(Message::Changed),
        Event::Fork { uffd } => {
            drop(uffd);
            Some(Message::Changed)
        }
        _ => None,
    }
}
