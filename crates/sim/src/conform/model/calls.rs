//! Each [`Call`] as operations of the model.

use faultless_mm::{
    Advice, Argument, Behind, Errno, Kernel, MapRequest, NewObject, ProcessId, Protection, Regions,
    RemapRequest, Stop as Signal, ThreadId, errno,
};
use faultless_pages::{Bytes, Va};
use faultless_uapi::PmScanArg;

use super::{Ending, refused};
use crate::conform::call::{Call, SCAN_ROOM};
use crate::conform::linux::{advice, map, prot, remap};
use crate::conform::world::{Done, Fd, Stop};

/// Carries a call out, to its end.
pub(super) async fn carry_out(
    kernel: Kernel,
    who: ThreadId,
    call: Call,
    remote: Option<ProcessId>,
) -> Ending {
    match call {
        Call::Fork => match kernel.fork(who).await {
            Ok(child) => Ending::Forked(child),
            Err(errno) => Ending::Done(valued(Err(errno))),
        },
        Call::Exec => {
            kernel.exec(who).await;
            Ending::Replaced
        }
        call => {
            if let Some(done) = access(&kernel, who, &call, remote).await {
                return Ending::Done(done);
            }
            if let Some(done) = memory(&kernel, who, &call).await {
                return Ending::Done(done);
            }
            if let Some(done) = object(&kernel, who, &call).await {
                return Ending::Done(done);
            }
            Ending::Done(descriptor(&kernel, who, call).await)
        }
    }
}

fn valued(result: Result<u64, Errno>) -> Done {
    Done { result: result.map_err(refused), bytes: Vec::new() }
}

fn number(result: Result<u32, Errno>) -> Done {
    valued(result.map(u64::from))
}

fn nothing(result: Result<(), Errno>) -> Done {
    valued(result.map(|()| 0))
}

/// A call that brings bytes, and counts them.
fn counted(result: Result<Vec<u8>, Errno>) -> Done {
    match result {
        Ok(bytes) => Done { result: Ok(bytes.len() as u64), bytes },
        Err(errno) => valued(Err(errno)),
    }
}

fn signalled(result: Result<(), Signal>, bytes: Vec<u8>) -> Done {
    match result {
        Ok(()) => Done { result: Ok(0), bytes },
        Err(signal) => Done { result: Err(stop_of(signal)), bytes: Vec::new() },
    }
}

fn stop_of(signal: Signal) -> Stop {
    match signal {
        Signal::Bus { code, at } => Stop::Sigbus { code, at: at.0 },
        Signal::Segv { code, at } => Stop::Sigsegv { code, at: at.0 },
        Signal::Killed => refused(errno::EINTR),
    }
}

fn room(len: u64) -> Vec<u8> {
    vec![0; usize::try_from(len).unwrap_or(0)]
}

/// Loads and stores.
async fn access(
    kernel: &Kernel,
    who: ThreadId,
    call: &Call,
    remote: Option<ProcessId>,
) -> Option<Done> {
    Some(match call {
        Call::Load { at, len } => {
            let mut bytes = room(*len);
            let result = kernel.load(who, Va(*at), &mut bytes).await;
            signalled(result, bytes)
        }
        Call::Store { at, bytes } => signalled(kernel.store(who, Va(*at), bytes).await, Vec::new()),
        Call::KernelLoad { at, len } => {
            let mut bytes = room(*len);
            let result = kernel.kernel_load(who, Va(*at), &mut bytes).await;
            counted(result.map(|done| bytes[..done].to_vec()))
        }
        Call::KernelStore { at, bytes } => {
            let result = kernel.kernel_store(who, Va(*at), bytes).await;
            valued(result.map(|done| done as u64))
        }
        Call::RemoteLoad { at, len, .. } => {
            let mut bytes = room(*len);
            let result = kernel.remote_load(who, remote?, Va(*at), &mut bytes).await;
            counted(result.map(|done| bytes[..done].to_vec()))
        }
        _ => return None,
    })
}

/// Calls that change the address space, or show it.
async fn memory(kernel: &Kernel, who: ThreadId, call: &Call) -> Option<Done> {
    Some(match *call {
        Call::Map { at, len, prot, flags, fd, offset } => {
            let request = map_request(at, len, prot, flags, fd, offset);
            valued(kernel.map(who, request).await.map(|at| at.0))
        }
        Call::Unmap { at, len } => nothing(kernel.unmap(who, Va(at), Bytes(len)).await),
        Call::Remap { from, len, new_len, flags, to } => {
            let request = RemapRequest {
                from: Va(from),
                len: Bytes(len),
                new_len: Bytes(new_len),
                may_move: flags & remap::MAYMOVE != 0,
                to: (flags & remap::FIXED != 0).then_some(Va(to)),
                dont_unmap: flags & remap::DONTUNMAP != 0,
            };
            valued(kernel.remap(who, request).await.map(|at| at.0))
        }
        Call::Protect { at, len, prot } => {
            nothing(kernel.protect(who, Va(at), Bytes(len), protection(prot)).await)
        }
        Call::Advise { at, len, advice } => match advice_of(advice) {
            Some(advice) => nothing(kernel.advise(who, Va(at), Bytes(len), advice).await),
            None => valued(Err(errno::EINVAL)),
        },
        Call::PlaceHeap { at } => nothing(kernel.place_heap(who, Va(at))),
        Call::Brk { end } => valued(Ok(kernel.brk(who, Va(end)).await.0)),
        Call::Lock { at, len } => nothing(kernel.lock_memory(who, Va(at), Bytes(len)).await),
        Call::Unlock { at, len } => nothing(kernel.unlock_memory(who, Va(at), Bytes(len)).await),
        Call::Pin { at, len } => number(kernel.pin(who, Va(at), Bytes(len)).await),
        Call::SpecialMemory => valued(kernel.special_memory(who).map(|at| at.0)),
        Call::Pagemap { at, pages } => {
            let words = kernel.pagemap(who, Va(at), pages);
            let bytes = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            Done { result: Ok(0), bytes }
        }
        Call::Scan { ref argument } => scan(kernel, who, argument.clone()).await,
        Call::HugeBytes { at } => valued(Ok(kernel.huge_bytes(who, Va(at)))),
        _ => return None,
    })
}

/// Scans the own pagemap; the regions come behind the argument.
async fn scan(kernel: &Kernel, who: ThreadId, mut argument: Vec<u8>) -> Done {
    let vec = <[u8; size_of::<PmScanArg>()]>::try_from(argument.as_slice())
        .map_or(0, |bytes| PmScanArg::from_bytes(bytes).vec);
    let mut bytes = Vec::new();
    let regions = if vec == SCAN_ROOM { Regions::Bytes(&mut bytes) } else { Regions::Memory };
    let own = kernel.process_of(who);
    let result = kernel.scan(who, own, Argument::Bytes(&mut argument), regions).await;
    argument.extend(bytes);
    Done { result: result.map_err(refused), bytes: argument }
}

fn map_request(
    at: u64,
    len: u64,
    prot: u32,
    flags: u32,
    fd: Option<Fd>,
    offset: u64,
) -> MapRequest {
    let has = |flag: u32| flags & flag != 0;
    let behind = match fd {
        Some(Fd(fd)) => Behind::Descriptor { fd, offset },
        None if has(map::HUGETLB) => Behind::Hugetlb,
        None => Behind::Anonymous,
    };
    MapRequest {
        at: Va(at),
        fixed: has(map::FIXED),
        len: Bytes(len),
        protection: protection(prot),
        shared: has(map::SHARED),
        droppable: has(map::DROPPABLE),
        grows_down: has(map::GROWSDOWN),
        behind,
    }
}

fn protection(bits: u32) -> Protection {
    const WRITE: u32 = prot::READ_WRITE & !prot::READ;
    const EXECUTE: u32 = prot::ALL & !prot::READ_WRITE;
    Protection {
        read: bits & prot::READ != 0,
        write: bits & WRITE != 0,
        execute: bits & EXECUTE != 0,
    }
}

/// Advice the model knows.
fn advice_of(number: u32) -> Option<Advice> {
    Some(match number {
        advice::DONTNEED => Advice::DontNeed,
        advice::DONTNEED_LOCKED => Advice::DontNeedLocked,
        advice::FREE => Advice::Free,
        advice::REMOVE => Advice::Remove,
        advice::DONTFORK => Advice::DontFork(true),
        advice::MERGEABLE => Advice::Mergeable,
        advice::HUGEPAGE => Advice::Huge(true),
        advice::NOHUGEPAGE => Advice::Huge(false),
        advice::COLD => Advice::Cold,
        advice::GUARD_INSTALL => Advice::Guard(true),
        advice::GUARD_REMOVE => Advice::Guard(false),
        advice::PAGEOUT => Advice::PageOut,
        advice::COLLAPSE => Advice::Collapse,
        advice::POPULATE_READ => Advice::Populate { write: false },
        advice::POPULATE_WRITE => Advice::Populate { write: true },
        _ => return None,
    })
}

/// Calls on objects.
async fn object(kernel: &Kernel, who: ThreadId, call: &Call) -> Option<Done> {
    Some(match call {
        Call::Memfd { len, huge } => {
            let new = if *huge { NewObject::Hugetlb } else { NewObject::Shmem };
            number(kernel.make_object(who, new, *len))
        }
        Call::RegularFile { len } => number(kernel.make_object(who, NewObject::Regular, *len)),
        Call::Seal { fd } => nothing(kernel.seal(who, fd.0)),
        Call::ReopenReadOnly { fd } => number(kernel.reopen_read_only(who, fd.0)),
        Call::Resize { fd, len } => nothing(kernel.resize(who, fd.0, *len).await),
        Call::Punch { fd, offset, len } => nothing(kernel.punch(who, fd.0, *offset, *len).await),
        Call::WriteObject { fd, offset, bytes } => {
            valued(kernel.write_object(who, fd.0, *offset, bytes).await)
        }
        Call::ReadObject { fd, offset, len } => {
            counted(kernel.read_object(who, fd.0, *offset, *len).await)
        }
        _ => return None,
    })
}

/// Calls on descriptors, userfaultfds first of all.
async fn descriptor(kernel: &Kernel, who: ThreadId, call: Call) -> Done {
    match call {
        Call::Userfaultfd { flags } => number(kernel.userfaultfd(who, flags)),
        Call::OpenDevice => number(kernel.open_device(who)),
        Call::Ioctl { fd, request, mut argument } => {
            let result = kernel.ioctl(who, fd.0, request, Argument::Bytes(&mut argument)).await;
            Done { result: result.map_err(refused), bytes: argument }
        }
        Call::IoctlWord { fd, request, word } => {
            valued(kernel.ioctl(who, fd.0, request, Argument::Word(word)).await)
        }
        Call::Read { fd, len } => {
            counted(kernel.read(who, fd.0, usize::try_from(len).unwrap_or(0)).await)
        }
        Call::ReadTo { fd, at, len } => {
            let len = usize::try_from(len).unwrap_or(0);
            valued(kernel.read_to(who, fd.0, Va(at), len).await)
        }
        Call::Write { fd } => valued(kernel.check_descriptor(who, fd.0, true).map(|()| 8)),
        Call::Seek { fd, .. } => nothing(kernel.check_descriptor(who, fd.0, false)),
        Call::Poll { fd } => valued(kernel.poll(who, fd.0)),
        Call::PollWait { fd } => valued(kernel.poll_wait(who, fd.0).await),
        Call::Close { fd } => nothing(kernel.close(who, fd.0).await),
        Call::Duplicate { fd } => number(kernel.duplicate(who, fd.0)),
        Call::Fdinfo { fd } => match kernel.fdinfo(who, fd.0) {
            Ok(text) => Done { result: Ok(0), bytes: text.into_bytes() },
            Err(errno) => valued(Err(errno)),
        },
        Call::LimitDescriptors { count } => {
            kernel.limit_descriptors(who, count);
            valued(Ok(0))
        }
        Call::DropPrivileges => {
            kernel.drop_privileges(who);
            valued(Ok(0))
        }
        _ => valued(Err(errno::EINVAL)),
    }
}
