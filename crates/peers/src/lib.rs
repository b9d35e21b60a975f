//! How others answer page faults, to be measured against: the peers of `faultless bench fault`.
//!
//! [`MinimalLoop`] is what a program would write with the crate `userfaultfd` and its examples: one
//! thread, one blocking read of one message, one COPY of one page. Nothing of the product uses this
//! crate, and what is measured here is the peer's own code: it opens, registers, reads and copies.
//!
//! # Safety
//! The peer's COPY takes raw addresses. It is the one unsafe call here.
#![deny(unsafe_code)]

use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::thread::JoinHandle;

use faultless_pages::Bytes;
use faultless_uffd::Mapping;
use userfaultfd::{Event, Uffd, UffdBuilder};

/// Why the loop does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The crate `userfaultfd` says no.
    #[error("the crate userfaultfd: {0}")]
    Userfaultfd(#[from] userfaultfd::Error),
    /// There is no thread to be had.
    #[error("the loop's thread does not start: {0}")]
    Thread(#[from] std::io::Error),
}

/// One thread that answers the faults of a memory, one at a time, with pages of a content.
///
/// It ends with the last page: dropping the loop touches that page, and waits.
#[derive(Debug)]
pub struct MinimalLoop {
    memory: Arc<Mapping>,
    thread: Option<JoinHandle<()>>,
}

impl MinimalLoop {
    /// Serves a memory of 4 KiB pages from `content`, which is as long. Its last page must be
    /// touched by nobody else: it is what ends the loop.
    ///
    /// # Errors
    /// See [`PeerError`].
    ///
    /// # Panics
    /// If `content` is not as long as the memory.
    pub fn serve(memory: Arc<Mapping>, content: Arc<Vec<u8>>) -> Result<MinimalLoop, PeerError> {
        assert_eq!(memory.len().as_usize(), content.len(), "a content of the memory's length");
        let uffd = UffdBuilder::new().close_on_exec(true).create()?;
        uffd.register(memory.as_ptr().cast(), memory.len().as_usize())?;
        let served = Arc::clone(&memory);
        let thread = std::thread::Builder::new().name("peer".to_owned());
        let thread = thread.spawn(move || serve(&uffd, &served, &content))?;
        Ok(MinimalLoop { memory, thread: Some(thread) })
    }
}

impl Drop for MinimalLoop {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if !thread.is_finished() {
            let _ = self.memory.load_u8(Bytes(self.memory.len().0 - 1));
        }
        // A loop that panicked has said why.
        let _ = thread.join();
    }
}

/// Where a fault is, as an offset into the memory.
fn offset_of(memory: &Mapping, address: *mut std::ffi::c_void) -> usize {
    let page = memory.page_size().bytes().as_usize();
    (address.addr() - memory.as_ptr().addr()) / page * page
}

/// The loop.
fn serve(uffd: &Uffd, memory: &Mapping, content: &[u8]) {
    let page = memory.page_size().bytes().as_usize();
    loop {
        let Ok(Some(Event::Pagefault { addr, .. })) = uffd.read_event() else {
            unreachable!("descriptor {} blocks, and no other event is asked for", uffd.as_raw_fd())
        };
        let offset = offset_of(memory, addr);
        let from = content[offset..offset + page].as_ptr().cast();
        let to = memory.as_ptr().wrapping_add(offset).cast();
        #[expect(unsafe_code, reason = "the peer's own operation is unsafe")]
        // SAFETY: 1. the destination is a page of the mapping, which no reference looks into;
        // 2. the source is a page of the content, readable and unchanging.
        let copied = unsafe { uffd.copy(from, to, page, true) };
        copied.expect("a page that was missing");
        if offset + page == content.len() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stdout, reason = "a skip says why")]
    fn the_loop_serves_every_page_and_ends() {
        let len = Bytes(8 * 4096);
        let memory = Mapping::builder(len).huge_pages(false).anonymous().expect("room");
        let memory = Arc::new(memory);
        let content: Vec<u8> = (1..=8).flat_map(|page| [page; 4096]).collect();
        let served = match MinimalLoop::serve(Arc::clone(&memory), Arc::new(content)) {
            Ok(served) => served,
            Err(why) => return println!("skipped: {why}"),
        };
        let first_byte = |page: u64| memory.load_u8(Bytes(page * 4096));
        assert_eq!([0, 3, 6].map(first_byte), [1, 4, 7]);
        drop(served);
        assert_eq!(first_byte(7), 8);
    }
}
