//! Each [`Call`] as system calls of a puppet.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use faultless_uapi::ioctl::PAGEMAP_SCAN;
use faultless_uapi::syscall::SYS_USERFAULTFD;
use faultless_uapi::{PageRegion, PmScanArg};
use faultless_uffd::puppet::{Request, TRANSFER_MAX};

use super::{Ending, KernelWorld, State, broken, done_of};
use crate::conform::errno::{EFAULT, EIO};
use crate::conform::verdict::{Failure, Verdict};
use crate::conform::world::{Call, Done, Fd, SCAN_ROOM, Stop, Thread};

/// Where regular files are made.
const FILE_FOLDERS: [&str; 3] = ["/var/tmp\0", "/tmp\0", "/root\0"];
const CURRENT_FOLDER: u64 = (libc::AT_FDCWD as i64).cast_unsigned();
const NO_FD: u64 = u64::MAX;

/// Begins a call; one that cannot block is over when this returns.
pub(super) fn start(world: &mut KernelWorld, who: Thread, call: Call) -> Verdict<State> {
    let scratch = world.actor(who)?.hand.scratch();
    let mut ask = |request: &Request<'_>, ending| -> Verdict<State> {
        world.actor(who)?.hand.ask(request)?;
        Ok(State::Asked(ending))
    };
    match call {
        Call::Load { at, len } => ask(&Request::Load { at, len: bound(len) }, Ending::Plain),
        Call::Store { at, bytes } => ask(&Request::Store { at, bytes: &bytes }, Ending::Plain),
        Call::KernelLoad { at, len } => {
            ask(&Request::KernelLoad { at, len: bound(len) }, Ending::Counted)
        }
        Call::KernelStore { at, bytes } => {
            ask(&Request::KernelStore { at, bytes: &bytes }, Ending::Plain)
        }
        Call::Map { at, len, prot, flags, fd, offset } => {
            let fd = fd.map_or(NO_FD, |fd| fd.0.into());
            let args = [at, len, prot.into(), flags.into(), fd, offset];
            ask(&plain(libc::SYS_mmap, args), Ending::Plain)
        }
        Call::Unmap { at, len } => {
            ask(&plain(libc::SYS_munmap, [at, len, 0, 0, 0, 0]), Ending::Plain)
        }
        Call::Remap { from, len, new_len, flags, to } => {
            let args = [from, len, new_len, flags.into(), to, 0];
            ask(&plain(libc::SYS_mremap, args), Ending::Plain)
        }
        Call::Protect { at, len, prot } => {
            ask(&plain(libc::SYS_mprotect, [at, len, prot.into(), 0, 0, 0]), Ending::Plain)
        }
        Call::Advise { at, len, advice } => {
            ask(&plain(libc::SYS_madvise, [at, len, advice.into(), 0, 0, 0]), Ending::Plain)
        }
        Call::Lock { at, len } => {
            ask(&plain(libc::SYS_mlock, [at, len, 0, 0, 0, 0]), Ending::Plain)
        }
        Call::Resize { fd, len } => {
            ask(&plain(libc::SYS_ftruncate, [fd.0.into(), len, 0, 0, 0, 0]), Ending::Plain)
        }
        Call::Punch { fd, offset, len } => {
            let mode =
                u64::from((libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE).cast_unsigned());
            let args = [fd.0.into(), mode, offset, len, 0, 0];
            ask(&plain(libc::SYS_fallocate, args), Ending::Plain)
        }
        Call::WriteObject { fd, offset, bytes } => {
            let args = [fd.0.into(), scratch, bytes.len() as u64, offset, 0, 0];
            ask(&with(libc::SYS_pwrite64, args, &bytes, 0), Ending::Plain)
        }
        Call::ReadObject { fd, offset, len } => {
            let args = [fd.0.into(), scratch, len, offset, 0, 0];
            ask(&with(libc::SYS_pread64, args, &[], len), Ending::Counted)
        }
        Call::Userfaultfd { flags } => {
            let nr = i64::from(SYS_USERFAULTFD);
            ask(&plain(nr, [flags.into(), 0, 0, 0, 0, 0]), Ending::Plain)
        }
        Call::OpenDevice => {
            let flags = u64::from((libc::O_RDWR | libc::O_CLOEXEC).cast_unsigned());
            let args = [CURRENT_FOLDER, scratch, flags, 0, 0, 0];
            ask(&with(libc::SYS_openat, args, b"/dev/userfaultfd\0", 0), Ending::Plain)
        }
        Call::Ioctl { fd, request, argument } => {
            let args = [fd.0.into(), request.into(), scratch, 0, 0, 0];
            let len = argument.len() as u64;
            ask(&with(libc::SYS_ioctl, args, &argument, len), Ending::Plain)
        }
        Call::IoctlWord { fd, request, word } => {
            let args = [fd.0.into(), request.into(), word, 0, 0, 0];
            ask(&plain(libc::SYS_ioctl, args), Ending::Plain)
        }
        Call::Read { fd, len } => {
            let args = [fd.0.into(), scratch, len, 0, 0, 0];
            ask(&with(libc::SYS_read, args, &[], len), Ending::Counted)
        }
        Call::ReadTo { fd, at, len } => {
            ask(&plain(libc::SYS_read, [fd.0.into(), at, len, 0, 0, 0]), Ending::Plain)
        }
        Call::Write { fd } => {
            ask(&plain(libc::SYS_write, [fd.0.into(), scratch, 8, 0, 0, 0]), Ending::Plain)
        }
        Call::Seek { fd, offset } => {
            ask(&plain(libc::SYS_lseek, [fd.0.into(), offset, 0, 0, 0, 0]), Ending::Plain)
        }
        Call::Poll { fd } => {
            let args = [scratch, 1, scratch + 8, 0, 0, 0];
            ask(&with(libc::SYS_ppoll, args, &poll_input(fd), 8), Ending::Polled)
        }
        Call::PollWait { fd } => {
            let args = [scratch, 1, 0, 0, 0, 0];
            ask(&with(libc::SYS_ppoll, args, &poll_input(fd), 8), Ending::Polled)
        }
        Call::Close { fd } => {
            ask(&plain(libc::SYS_close, [fd.0.into(), 0, 0, 0, 0, 0]), Ending::Plain)
        }
        Call::Duplicate { fd } => {
            ask(&plain(libc::SYS_dup, [fd.0.into(), 0, 0, 0, 0, 0]), Ending::Plain)
        }
        Call::Exec => ask(&Request::Exec, Ending::Replaced),
        Call::Fork => {
            let newborn = world.actor(who)?.hand.ask_fork()?;
            Ok(State::Asked(Ending::Forked(newborn)))
        }
        Call::RemoteLoad { of, at, len } => {
            let pid = world.cast.get(bound(of.0.into())).map_or(0, |member| member.puppet.pid());
            let iovecs = remote_iovecs(scratch, at, len);
            let args = [pid.into(), scratch, 1, scratch + 16, 1, 0];
            let request = with(libc::SYS_process_vm_readv, args, &iovecs, len + 32);
            world.actor(who)?.hand.ask(&request)?;
            Ok(State::Asked(Ending::CountedFrom(32)))
        }
        Call::Memfd { len, huge } => memfd(world, who, len, huge),
        Call::RegularFile { len } => regular_file(world, who, len),
        Call::ReopenReadOnly { fd } => {
            let path = format!("/proc/self/fd/{}\0", fd.0);
            open(world, who, &path, libc::O_RDONLY).map(State::Over)
        }
        Call::DropPrivileges => drop_privileges(world, who),
        Call::Pagemap { at, pages } => pagemap(world, who, at, pages),
        Call::Fdinfo { fd } => fdinfo(world, who, fd),
        Call::Scan { argument } => scan(world, who, &argument),
        Call::Pin { at, len } => pin(world, who, at, len),
    }
}

fn bound(len: u64) -> usize {
    usize::try_from(len).unwrap_or(TRANSFER_MAX).min(TRANSFER_MAX)
}

fn plain(nr: i64, args: [u64; 6]) -> Request<'static> {
    with(nr, args, &[], 0)
}

fn with(nr: i64, args: [u64; 6], input: &[u8], output_len: u64) -> Request<'_> {
    Request::Syscall { nr: nr.cast_unsigned(), args, input, output_len: bound(output_len) }
}

fn quick(world: &mut KernelWorld, who: Thread, request: &Request<'_>) -> Verdict<Done> {
    done_of(world.quick(who, request)?)
}

/// A pollfd that waits for input, and a timeout of zero behind it.
fn poll_input(fd: Fd) -> [u8; 24] {
    let mut input = [0; 24];
    input[..4].copy_from_slice(&fd.0.to_ne_bytes());
    input[4..6].copy_from_slice(&libc::POLLIN.to_ne_bytes());
    input
}

/// The local vector (into scratch, behind the vectors) and the remote one.
fn remote_iovecs(scratch: u64, at: u64, len: u64) -> Vec<u8> {
    [scratch + 32, len, at, len].iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn open(world: &mut KernelWorld, who: Thread, path: &str, flags: i32) -> Verdict<Done> {
    let scratch = world.actor(who)?.hand.scratch();
    let flags = u64::from((flags | libc::O_CLOEXEC).cast_unsigned());
    let args = [CURRENT_FOLDER, scratch, flags, 0o600, 0, 0];
    quick(world, who, &with(libc::SYS_openat, args, path.as_bytes(), 0))
}

/// Gives a new object its size; the descriptor stays the value.
fn sized(world: &mut KernelWorld, who: Thread, made: Done, len: u64) -> Verdict<State> {
    let Ok(fd) = made.result else { return Ok(State::Over(made)) };
    let resized = quick(world, who, &plain(libc::SYS_ftruncate, [fd, len, 0, 0, 0, 0]))?;
    Ok(State::Over(if resized.result.is_ok() { made } else { resized }))
}

fn memfd(world: &mut KernelWorld, who: Thread, len: u64, huge: bool) -> Verdict<State> {
    let scratch = world.actor(who)?.hand.scratch();
    let flags = libc::MFD_CLOEXEC | if huge { libc::MFD_HUGETLB } else { 0 };
    let args = [scratch, flags.into(), 0, 0, 0, 0];
    let made = quick(world, who, &with(libc::SYS_memfd_create, args, b"conform\0", 0))?;
    sized(world, who, made, len)
}

fn regular_file(world: &mut KernelWorld, who: Thread, len: u64) -> Verdict<State> {
    let mut last = Done { result: Err(Stop::Refused(EIO)), bytes: Vec::new() };
    for folder in FILE_FOLDERS {
        last = open(world, who, folder, libc::O_TMPFILE | libc::O_RDWR)?;
        if last.result.is_ok() {
            break;
        }
    }
    sized(world, who, last, len)
}

fn drop_privileges(world: &mut KernelWorld, who: Thread) -> Verdict<State> {
    const NOBODY: u64 = 65534;
    let kill = u64::from(libc::SIGKILL.unsigned_abs());
    let pdeathsig = u64::from(libc::PR_SET_PDEATHSIG.unsigned_abs());
    quick(world, who, &plain(libc::SYS_setgroups, [0; 6]))?;
    quick(world, who, &plain(libc::SYS_setresgid, [NOBODY, NOBODY, NOBODY, 0, 0, 0]))?;
    quick(world, who, &plain(libc::SYS_setresuid, [NOBODY, NOBODY, NOBODY, 0, 0, 0]))?;
    // Changing the user disarms the signal that ties a puppet to its driver.
    quick(world, who, &plain(libc::SYS_prctl, [pdeathsig, kill, 0, 0, 0, 0])).map(State::Over)
}

/// The driver reads the entries: no puppet is needed to look.
fn pagemap(world: &mut KernelWorld, who: Thread, at: u64, pages: u64) -> Verdict<State> {
    let page_size = world.profile.page_size;
    let pid = world.actor(who)?.hand.pid();
    let file = File::open(format!("/proc/{pid}/pagemap")).map_err(|e| broken(&e))?;
    let mut bytes = vec![0; bound(pages * 8)];
    file.read_exact_at(&mut bytes, at / page_size * 8).map_err(|e| broken(&e))?;
    Ok(State::Over(Done { result: Ok(0), bytes }))
}

fn fdinfo(world: &mut KernelWorld, who: Thread, fd: Fd) -> Verdict<State> {
    let pid = world.actor(who)?.hand.pid();
    let bytes = fs::read(format!("/proc/{pid}/fdinfo/{}", fd.0)).map_err(|e| broken(&e))?;
    Ok(State::Over(Done { result: Ok(0), bytes }))
}

fn scan(world: &mut KernelWorld, who: Thread, argument: &[u8]) -> Verdict<State> {
    const ARG_LEN: usize = size_of::<PmScanArg>();
    const REGION_LEN: u64 = size_of::<PageRegion>() as u64;
    let scratch = world.actor(who)?.hand.scratch();
    let raw: [u8; ARG_LEN] = argument.try_into().map_err(|e| broken(&e))?;
    let mut arg = PmScanArg::from_bytes(raw);
    if arg.vec == SCAN_ROOM {
        arg.vec = scratch + ARG_LEN as u64;
    }
    let opened = open(world, who, "/proc/self/pagemap\0", libc::O_RDONLY)?;
    let Ok(fd) = opened.result else { return Ok(State::Over(opened)) };
    let args = [fd, PAGEMAP_SCAN.into(), scratch, 0, 0, 0];
    let room = ARG_LEN as u64 + arg.vec_len.min(1000) * REGION_LEN;
    let done = quick(world, who, &with(libc::SYS_ioctl, args, &arg.to_bytes(), room))?;
    quick(world, who, &plain(libc::SYS_close, [fd, 0, 0, 0, 0, 0]))?;
    Ok(State::Over(done))
}

/// An io_uring's registered buffers are pinned for as long as the ring lives.
fn pin(world: &mut KernelWorld, who: Thread, at: u64, len: u64) -> Verdict<State> {
    const PARAMS_LEN: usize = 120;
    const REGISTER_BUFFERS: u64 = 0;
    let scratch = world.actor(who)?.hand.scratch();
    let params = [0; PARAMS_LEN];
    let setup = [1, scratch, 0, 0, 0, 0];
    let ring = quick(world, who, &with(libc::SYS_io_uring_setup, setup, &params, 0))?;
    let Ok(fd) = ring.result else { return Ok(State::Over(ring)) };
    let iovec: Vec<u8> = [at, len].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let register = [fd, REGISTER_BUFFERS, scratch, 1, 0, 0];
    let pinned = quick(world, who, &with(libc::SYS_io_uring_register, register, &iovec, 0))?;
    match pinned.result {
        Ok(_) => Ok(State::Over(ring)),
        Err(Stop::Refused(EFAULT)) => Err(Failure::Broken("pinning unmapped memory".into())),
        Err(_) => Ok(State::Over(pinned)),
    }
}
