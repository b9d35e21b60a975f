//! Reading messages without blocking a thread, on a tokio runtime.
//!
//! For programs that are asynchronous anyway and serve few faults. A fault costs a thread its
//! progress until it is answered, and a runtime adds its own delays: a pager that counts in
//! microseconds reads on a thread of its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{MessageBatch, Uffd};

/// A userfaultfd registered with the tokio runtime it was made on.
#[derive(Debug)]
pub struct AsyncUffd {
    inner: AsyncFd<Registered>,
}

/// Gives tokio the descriptor number it asks for.
#[derive(Debug)]
struct Registered(Uffd);

impl AsRawFd for Registered {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl AsyncUffd {
    /// Registers a userfaultfd with the current runtime, and makes it non-blocking: the kernel
    /// reports readiness of no other kind.
    ///
    /// # Errors
    /// - That of `epoll_ctl(2)`.
    ///
    /// # Panics
    /// Outside a runtime with IO enabled.
    pub fn new(uffd: Uffd) -> io::Result<AsyncUffd> {
        uffd.set_nonblocking(true)?;
        // SAFETY: the number is that of a descriptor owned by the value handed over, which
        // stays open and the same until the registration has been dropped.
        let inner =
            unsafe { AsyncFd::register_with_interest(Registered(uffd), Interest::READABLE) }?;
        Ok(AsyncUffd { inner })
    }

    /// Waits for messages and reads all that fit behind those still in `batch`; returns how
    /// many, at least one.
    ///
    /// May be cancelled at any time: no message is taken without being put in the batch. The end
    /// of the process is never announced; wait for its pidfd beside this.
    ///
    /// # Errors
    /// As for [`Uffd::read_events`].
    pub async fn read_events(&self, batch: &mut MessageBatch) -> io::Result<usize> {
        self.inner
            .async_io(Interest::READABLE, |registered| match registered.0.read_events(batch) {
                // Another reader was faster, or the fault was resolved before it was read.
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                answer => Ok(answer?),
            })
            .await
    }

    /// Returns the userfaultfd, to resolve what was read.
    #[must_use]
    pub fn uffd(&self) -> &Uffd {
        &self.inner.get_ref().0
    }

    /// Takes the userfaultfd back from the runtime. It stays non-blocking.
    #[must_use]
    pub fn into_uffd(self) -> Uffd {
        self.inner.into_inner().0
    }
}

impl AsFd for AsyncUffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.uffd().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use faultless_pages::{Bytes, VaRange};
    use tokio::time::timeout;

    use super::*;
    use crate::testing::skip;
    use crate::{CopyMode, Event, Mapping, Modes, OpenOptions, Wanted, base_page_size};

    const PAGES: u64 = 64;

    /// Opens a blocking userfaultfd and registers a mapping with it.
    fn registered() -> Option<(Uffd, Arc<Mapping>)> {
        let options = OpenOptions { nonblocking: false, ..OpenOptions::default() };
        let unbound = match Uffd::open(&options) {
            Ok(unbound) => unbound,
            Err(error) => {
                skip(error);
                return None;
            }
        };
        let uffd = unbound.handshake(Wanted::default()).unwrap();
        let len = Bytes(PAGES * base_page_size().bytes().0);
        let mapping = Arc::new(Mapping::anonymous(len).unwrap());
        // SAFETY: memory of a mapping, of which nobody holds a reference.
        unsafe { uffd.register_range(mapping.range(), Modes::MISSING) }.unwrap();
        Some((uffd, mapping))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn faults_of_many_threads_are_read_in_batches() {
        let Some((uffd, mapping)) = registered() else {
            return;
        };
        let uffd = AsyncUffd::new(uffd).unwrap();
        let page = base_page_size();
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let mapping = mapping.clone();
                std::thread::spawn(move || {
                    for index in (thread..PAGES).step_by(8) {
                        let offset = Bytes(index * page.bytes().0);
                        assert_eq!(mapping.load_u8(offset), 7);
                    }
                })
            })
            .collect();
        let filling = vec![7; page.bytes().as_usize()];
        let mut batch = MessageBatch::new();
        let mut faults = 0;
        while faults < PAGES {
            let read = timeout(Duration::from_secs(20), uffd.read_events(&mut batch));
            assert!(read.await.expect("faults keep coming").unwrap() > 0);
            for event in batch.drain() {
                let Event::Fault(fault) = event else {
                    panic!("no events were asked for: {event:?}");
                };
                let range = VaRange::of(fault.address.align_down(page), page.bytes());
                let mode = CopyMode::default();
                // SAFETY: memory of a mapping; the source is as long as the range.
                let outcome = unsafe { uffd.uffd().copy(range, filling.as_ptr(), mode) };
                assert!(outcome.is_complete(), "{outcome:?}");
                faults += 1;
            }
        }
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(uffd.into_uffd().read_events(&mut batch), Ok(0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn waiting_may_be_cancelled() {
        let Some((uffd, _mapping)) = registered() else {
            return;
        };
        let uffd = AsyncUffd::new(uffd).unwrap();
        let mut batch = MessageBatch::new();
        let read = timeout(Duration::from_millis(1), uffd.read_events(&mut batch)).await;
        assert!(read.is_err(), "no fault, no message");
        assert!(batch.is_empty());
    }
}
