//! Each [`Op`] that is one call, as the call it is.
//!
//! Descriptors are named by numbers above any real one; the session, and the printer, put theirs
//! in their place.

use faultless_uapi::PmScanArg;
use faultless_uapi::scan::category;

use super::program::{Asked, Backing, ObjectKind, Op, PAGE, Span, Verb};
use crate::conform::call::SCAN_ROOM;
use crate::conform::linux::{map, remap};
use crate::conform::stage::{Request, request};
use crate::conform::{Call, Fd, Process, Thread};

/// Stands for the first userfaultfd.
pub(super) const FIRST_UFFD: u32 = 1 << 16;
/// Stands for the first object.
pub(super) const FIRST_OBJECT: u32 = 1 << 17;

/// Bytes of an access.
const ACCESS: u64 = 8;
/// Bytes between the places two threads access in a page.
const LANE: u64 = 16;
/// Regions a scan has room for.
const REGIONS: u64 = 64;

/// The userfaultfd of this place.
pub(super) fn uffd(index: usize) -> Fd {
    Fd(FIRST_UFFD + u32::try_from(index).unwrap_or(0))
}

/// The object of this place.
pub(super) fn object(index: usize) -> Fd {
    Fd(FIRST_OBJECT + u32::try_from(index).unwrap_or(0))
}

/// Where in a page a thread loads and stores.
fn place(page: u64, who: Thread) -> u64 {
    let lane = u64::from(who.process.0 * super::program::THREADS + who.index);
    Span::new(page, 1).start() + lane * LANE
}

fn content(byte: u8) -> Vec<u8> {
    vec![byte; 8]
}

/// The call an operation of a thread is; `None` for those that are more than one.
pub(super) fn call_of(op: &Op, who: Thread) -> Option<Call> {
    access(op, who).or_else(|| memory(op)).or_else(|| on_object(op)).or_else(|| on_uffd(op))
}

fn access(op: &Op, who: Thread) -> Option<Call> {
    Some(match *op {
        Op::Load(page) => Call::Load { at: place(page, who), len: ACCESS },
        Op::Store(page, byte) => Call::Store { at: place(page, who), bytes: content(byte) },
        Op::KernelLoad(page) => Call::KernelLoad { at: place(page, who), len: ACCESS },
        Op::KernelStore(page, byte) => {
            Call::KernelStore { at: place(page, who), bytes: content(byte) }
        }
        Op::RemoteLoad(of, page) => {
            Call::RemoteLoad { of: Process(of), at: place(page, who), len: ACCESS }
        }
        _ => return None,
    })
}

fn memory(op: &Op) -> Option<Call> {
    Some(match *op {
        Op::Map(span, backing, prot) => map_call(span, backing, prot),
        Op::Unmap(span) => Call::Unmap { at: span.start(), len: span.bytes() },
        Op::Remap { from, to, new_pages, keep } => {
            let moves = if to.is_some() { remap::MAYMOVE | remap::FIXED } else { 0 };
            let keeps = if keep { remap::DONTUNMAP } else { 0 };
            Call::Remap {
                from: from.start(),
                len: from.bytes(),
                new_len: new_pages * PAGE,
                flags: moves | keeps,
                to: to.map_or(0, |page| Span::new(page, 1).start()),
            }
        }
        Op::Brk(page) => Call::Brk { end: Span::new(page, 1).start() },
        Op::Protect(span, prot) => Call::Protect { at: span.start(), len: span.bytes(), prot },
        Op::Advise(span, advice) => Call::Advise { at: span.start(), len: span.bytes(), advice },
        Op::Lock(span) => Call::Lock { at: span.start(), len: span.bytes() },
        Op::Unlock(span) => Call::Unlock { at: span.start(), len: span.bytes() },
        Op::Pin(span) => Call::Pin { at: span.start(), len: span.bytes() },
        Op::Fork => Call::Fork,
        Op::Exec => Call::Exec,
        Op::Scan(span, flags, mask) => scan_call(span, flags, mask),
        _ => return None,
    })
}

fn map_call(span: Span, backing: Backing, prot: u32) -> Call {
    let (kind, fd, offset) = match backing {
        Backing::Anon => (map::PRIVATE | map::ANONYMOUS, None, 0),
        Backing::SharedAnon => (map::SHARED | map::ANONYMOUS, None, 0),
        Backing::Object { index, shared, offset } => {
            let kind = if shared { map::SHARED } else { map::PRIVATE };
            (kind, Some(object(index)), offset * PAGE)
        }
    };
    let (at, len, flags) = (span.start(), span.bytes(), kind | map::FIXED);
    Call::Map { at, len, prot, flags, fd, offset }
}

fn scan_call(span: Span, flags: u64, mask: u64) -> Call {
    let argument = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        flags,
        start: span.start(),
        end: span.start() + span.bytes(),
        vec: SCAN_ROOM,
        vec_len: REGIONS,
        category_mask: mask,
        return_mask: TOLD,
        ..PmScanArg::default()
    };
    Call::Scan { argument: argument.to_bytes().to_vec() }
}

/// Categories a scan tells.
const TOLD: u64 = category::PAGE_IS_WPALLOWED
    | category::PAGE_IS_WRITTEN
    | category::PAGE_IS_FILE
    | category::PAGE_IS_PRESENT
    | category::PAGE_IS_SWAPPED
    | category::PAGE_IS_PFNZERO
    | category::PAGE_IS_HUGE;

fn on_object(op: &Op) -> Option<Call> {
    Some(match *op {
        Op::MakeObject(ObjectKind::Regular, pages) => Call::RegularFile { len: pages * PAGE },
        Op::MakeObject(kind, pages) => {
            Call::Memfd { len: pages * PAGE, huge: kind == ObjectKind::Hugetlb }
        }
        Op::Resize(index, len) => Call::Resize { fd: object(index), len },
        Op::Punch(index, offset, end) => {
            Call::Punch { fd: object(index), offset, len: end - offset }
        }
        Op::WriteObject(index, page, byte) => {
            Call::WriteObject { fd: object(index), offset: page * PAGE, bytes: content(byte) }
        }
        Op::ReadObject(index, page) => {
            Call::ReadObject { fd: object(index), offset: page * PAGE, len: ACCESS }
        }
        _ => return None,
    })
}

fn on_uffd(op: &Op) -> Option<Call> {
    match *op {
        Op::Close(index) => Some(Call::Close { fd: uffd(index) }),
        Op::Request(index, asked) => Some(request_of(asked).to(uffd(index))),
        _ => None,
    }
}

/// A request as bytes.
pub(super) fn request_of(asked: Asked) -> Request {
    let Asked { verb, span, mode } = asked;
    let range = span.range();
    match verb {
        Verb::Register => request::register(range, mode),
        Verb::Unregister => request::unregister(range),
        Verb::Wake => request::wake(range),
        Verb::Copy(origin) => request::copy(range, origin.address(), mode),
        Verb::Zeropage => request::zeropage(range, mode),
        Verb::Move(from) => request::move_(range, Span::new(from, 1).start(), mode),
        Verb::Continue => request::continue_(range, mode),
        Verb::Poison => request::poison(range, mode),
        Verb::Writeprotect => request::writeprotect(range, mode),
        Verb::ReadProtect => request::rwprotect(range, mode),
        Verb::SetMode(disable) => request::set_mode(mode, disable),
    }
}

/// Puts the real descriptor in place of the one a call names.
pub(super) fn with_fd(mut call: Call, real: impl Fn(Fd) -> Fd) -> Call {
    match &mut call {
        Call::Map { fd: Some(fd), .. }
        | Call::Resize { fd, .. }
        | Call::Punch { fd, .. }
        | Call::WriteObject { fd, .. }
        | Call::ReadObject { fd, .. }
        | Call::Close { fd }
        | Call::Ioctl { fd, .. } => *fd = real(*fd),
        _ => {}
    }
    call
}
