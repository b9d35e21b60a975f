//! What a body can see: messages, page table entries, scans, counters.

use faultless_uapi::scan::pagemap;
use faultless_uapi::{PageRegion, PmScanArg, UffdMsg, event};

use super::{Range, Stage};
use crate::conform::call::{Call, SCAN_ROOM};
use crate::conform::errno::{EAGAIN, Errno};
use crate::conform::verdict::{Failure, Verdict, diverges, expect, skip};
use crate::conform::world::{Fd, Stop};

/// Bytes of a message.
const MESSAGE: usize = size_of::<UffdMsg>();

/// Every category of the first version with a scan, 6.7.
const OLDEST_CATEGORIES: u64 = 0xff;

/// What a `PAGEMAP_SCAN` brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Number of regions, or why there are none.
    pub result: Result<u64, Stop>,
    /// Where the walk ended.
    pub walk_end: u64,
    /// The regions.
    pub regions: Vec<PageRegion>,
}

impl Stage<'_> {
    /// Reads at most `room` messages from a descriptor.
    ///
    /// # Errors
    /// Diverges when the read blocks.
    #[track_caller]
    pub fn read_from(&mut self, fd: Fd, room: u64) -> Verdict<Result<Vec<UffdMsg>, Errno>> {
        let done = self.call(Call::Read { fd, len: room * MESSAGE as u64 })?;
        match done.result {
            Ok(_) => Ok(Ok(messages_in(&done.bytes))),
            Err(Stop::Refused(errno)) => Ok(Err(errno)),
            Err(stop) => diverges(format!("read was stopped by {stop:?}")),
        }
    }

    /// Reads every message there is, in one read.
    ///
    /// # Errors
    /// Diverges when the read blocks or fails with anything but EAGAIN.
    #[track_caller]
    pub fn messages(&mut self) -> Verdict<Vec<UffdMsg>> {
        match self.read_from(self.fd, 64)? {
            Ok(messages) => Ok(messages),
            Err(EAGAIN) => Ok(Vec::new()),
            Err(errno) => diverges(format!("read failed with {errno}")),
        }
    }

    /// Reads messages and expects exactly one.
    ///
    /// # Errors
    /// Diverges when there is none or more.
    #[track_caller]
    pub fn message(&mut self) -> Verdict<UffdMsg> {
        match self.messages()?.as_slice() {
            [message] => Ok(*message),
            other => diverges(format!("want one message, got {other:?}")),
        }
    }

    /// Reads one message and leaves what may follow: reading an event lets its thread go on, and
    /// its next event may be queued at once.
    ///
    /// # Errors
    /// Diverges when there is none.
    #[track_caller]
    pub fn next_message(&mut self) -> Verdict<UffdMsg> {
        match self.read_from(self.fd, 1)? {
            Ok(messages) if messages.len() == 1 => Ok(messages[0]),
            other => diverges(format!("want a message, got {other:?}")),
        }
    }

    /// Expects exactly one message: a fault at this page with these flags.
    ///
    /// # Errors
    /// Diverges otherwise.
    #[track_caller]
    pub fn expect_fault(&mut self, address: u64, flags: u64) -> Verdict {
        let message = self.message()?;
        let fault = message.pagefault();
        expect("event", message.event, event::PAGEFAULT)?;
        expect("address", fault.address, address)?;
        expect("flags", fault.flags, flags)
    }

    /// Expects the next message to be REMOVE or UNMAP of this range.
    ///
    /// # Errors
    /// Diverges otherwise.
    #[track_caller]
    pub fn expect_gone(&mut self, kind: u8, range: Range) -> Verdict {
        let message = self.next_message()?;
        let gone = message.remove();
        expect("event", message.event, kind)?;
        expect("range", (gone.start, gone.end), (range.start, range.end()))
    }

    /// Expects no message.
    ///
    /// # Errors
    /// Diverges when there is one.
    #[track_caller]
    pub fn quiet(&mut self) -> Verdict {
        let messages = self.messages()?;
        if messages.is_empty() { Ok(()) } else { diverges(format!("unexpected {messages:?}")) }
    }

    /// The events `poll` reports without waiting.
    ///
    /// # Errors
    /// Diverges when it is refused.
    #[track_caller]
    pub fn poll(&mut self) -> Verdict<u64> {
        self.value(Call::Poll { fd: self.fd })
    }

    /// The pagemap entry of the page at `at`.
    ///
    /// # Errors
    /// Diverges when it cannot be read.
    #[track_caller]
    pub fn entry(&mut self, at: u64) -> Verdict<u64> {
        let done = self.call(Call::Pagemap { at, pages: 1 })?;
        match done.bytes.try_into() {
            Ok(bytes) => Ok(u64::from_ne_bytes(bytes)),
            Err(bytes) => Err(Failure::Broken(format!("pagemap brought {bytes:?}"))),
        }
    }

    /// Says whether the page is write-protected or carries the marker for it.
    ///
    /// # Errors
    /// Diverges when the pagemap cannot be read.
    #[track_caller]
    pub fn is_protected(&mut self, at: u64) -> Verdict<bool> {
        Ok(self.entry(at)? & pagemap::UFFD_WP != 0)
    }

    /// Says whether the page is mapped.
    ///
    /// # Errors
    /// Diverges when the pagemap cannot be read.
    #[track_caller]
    pub fn is_present(&mut self, at: u64) -> Verdict<bool> {
        Ok(self.entry(at)? & pagemap::PRESENT != 0)
    }

    /// Says whether the page is swapped out.
    ///
    /// # Errors
    /// Diverges when the pagemap cannot be read.
    #[track_caller]
    pub fn is_swapped(&mut self, at: u64) -> Verdict<bool> {
        Ok(self.entry(at)? & pagemap::SWAPPED != 0)
    }

    /// Faults not yet read, and faults not yet resolved, as fdinfo counts them.
    ///
    /// # Errors
    /// Diverges when the text is not as expected.
    #[track_caller]
    pub fn counts(&mut self) -> Verdict<(u64, u64)> {
        let text = self.fdinfo()?;
        let field = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
        };
        match (field("pending:"), field("total:")) {
            (Some(pending), Some(total)) => Ok((pending, total)),
            _ => diverges(format!("fdinfo says {text:?}")),
        }
    }

    /// The fdinfo text of the userfaultfd.
    ///
    /// # Errors
    /// Only when the world breaks down.
    pub fn fdinfo(&mut self) -> Verdict<String> {
        let done = self.call(Call::Fdinfo { fd: self.fd })?;
        Ok(String::from_utf8_lossy(&done.bytes).into_owned())
    }

    /// The categories of the page at `at`, of those every version with a scan knows.
    ///
    /// # Errors
    /// Skips where the request does not exist.
    #[track_caller]
    pub fn categories(&mut self, at: u64) -> Verdict<u64> {
        let argument = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            start: at,
            end: at + self.page(),
            vec: SCAN_ROOM,
            vec_len: 1,
            category_anyof_mask: OLDEST_CATEGORIES,
            return_mask: OLDEST_CATEGORIES,
            ..PmScanArg::default()
        };
        let scanned = self.scan(argument)?;
        if let Err(stop) = scanned.result {
            return diverges(format!("a scan of one page was stopped by {stop:?}"));
        }
        Ok(scanned.regions.first().map_or(0, |region| region.categories))
    }

    /// Scans the own page tables.
    ///
    /// # Errors
    /// Skips where the request does not exist.
    #[track_caller]
    pub fn scan(&mut self, argument: PmScanArg) -> Verdict<Scanned> {
        const ARGUMENT: usize = size_of::<PmScanArg>();
        const REGION: usize = size_of::<PageRegion>();
        if !self.profile().has_scan {
            return skip("this kernel lacks PAGEMAP_SCAN");
        }
        let done = self.call(Call::Scan { argument: argument.to_bytes().to_vec() })?;
        let Some((head, rest)) = done.bytes.split_first_chunk::<ARGUMENT>() else {
            return Err(Failure::Broken("a scan brought too few bytes".into()));
        };
        let count = done.result.unwrap_or(0).min(argument.vec_len);
        let regions = rest.as_chunks::<REGION>().0.iter().map(|raw| PageRegion::from_bytes(*raw));
        let regions = regions.take(usize::try_from(count).unwrap_or(0)).collect();
        let walk_end = PmScanArg::from_bytes(*head).walk_end;
        Ok(Scanned { result: done.result, walk_end, regions })
    }
}

/// Splits bytes that were read into messages.
#[must_use]
pub fn messages_in(bytes: &[u8]) -> Vec<UffdMsg> {
    bytes.as_chunks::<MESSAGE>().0.iter().map(|raw| UffdMsg::from_bytes(*raw)).collect()
}
