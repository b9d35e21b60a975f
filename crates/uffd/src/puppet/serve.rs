//! The puppet's side: a loop that carries out one request after the other.
//!
//! [`serve_if_asked`] enters it when this program was started as a puppet. Each thread of a
//! puppet has a [`Post`]: its channel, its scratch area and a pipe through which the kernel can
//! be made to touch memory.
//!
//! # Invariants
//! - The loop does not allocate: after a fork the allocator's locks may be held by threads that
//!   no longer exist. Only starting a thread allocates.
//! - A puppet dies with the driver: by its parent-death signal when blocked, at the end of its
//!   channel when idle.

use std::ffi::{CStr, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::access::{self, Access};
use super::channel::{Channel, Header, PAYLOAD_MAX, Received};
use super::protocol::{PUPPET_ARGUMENT, kind, op};

/// Becomes a puppet and never returns, if this program was started as one; else does nothing.
///
/// Must be the first thing `main` does in a program that drives puppets: a puppet is this very
/// program, run again with a hidden argument, so that one static file is enough in a small
/// machine.
pub fn serve_if_asked() {
    if std::env::args_os().nth(1).is_none_or(|argument| argument != PUPPET_ARGUMENT) {
        return;
    }
    access::install_handlers();
    die_with_parent();
    // SAFETY: [K2] the driver passed one end of the channel as standard input, and nothing in
    // this process reads standard input.
    let channel = unsafe { OwnedFd::from_raw_fd(0) };
    serve(Channel::from_fd(channel))
}

/// Asks for SIGKILL at the driver's death; one that is dead already shows as a closed channel.
fn die_with_parent() {
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        std::process::exit(1);
    }
}

/// Greets, then answers requests until the driver closes its end, then ends the process.
fn serve(channel: Channel) -> ! {
    let Ok(post) = Post::open(channel) else { std::process::exit(1) };
    post.greet();
    let mut request = [0; PAYLOAD_MAX];
    while let Ok(Some(received)) = post.channel.receive(&mut request) {
        let payload = &request[..received.payload_len.min(PAYLOAD_MAX)];
        post.answer(received, payload);
    }
    std::process::exit(0)
}

/// One thread of a puppet.
struct Post {
    channel: Channel,
    /// Address of [`PAYLOAD_MAX`] bytes that only this thread and its syscalls use.
    scratch: u64,
    pipe_out: OwnedFd,
    pipe_in: OwnedFd,
}

/// What a request leads to.
struct Answer {
    header: Header,
    /// Bytes of scratch that go back with it.
    scratch_len: usize,
    fd: Option<RawFd>,
}

impl Answer {
    fn value(value: i64) -> Answer {
        Answer { header: reply(kind::DONE, &[value.cast_unsigned()]), scratch_len: 0, fd: None }
    }

    fn from_result(result: io::Result<i64>) -> Answer {
        Answer::value(result.unwrap_or_else(|error| negative(&error)))
    }

    fn with_scratch(mut self, len: usize) -> Answer {
        self.scratch_len = len.min(PAYLOAD_MAX);
        self
    }

    fn from_access(access: Access, read: usize) -> Answer {
        match access {
            Access::Done => Answer::value(0).with_scratch(read),
            Access::Signal { signal, code, address } => Answer {
                header: reply(kind::SIGNAL, &[signal, code, address]),
                scratch_len: 0,
                fd: None,
            },
        }
    }
}

impl Post {
    fn open(channel: Channel) -> io::Result<Post> {
        // SAFETY: a new private mapping at an address the kernel picks disturbs nobody.
        let scratch = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                PAYLOAD_MAX,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let (pipe_in, pipe_out) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Post { channel, scratch: scratch as u64, pipe_out, pipe_in })
    }

    fn greet(&self) {
        let pid = u64::from(std::process::id());
        let tid = rustix::thread::gettid().as_raw_nonzero().get();
        let header = reply(kind::HELLO, &[pid, u64::from(tid.unsigned_abs()), self.scratch]);
        // A driver that is gone shows at the next receive.
        let _ = self.channel.send(header, &[], None);
    }

    fn answer(&self, received: Received, payload: &[u8]) {
        let answer = self.act(received, payload);
        let mut back = [0; PAYLOAD_MAX];
        let back = &mut back[..answer.scratch_len];
        self.read_scratch(back);
        // SAFETY: [K2] the number is a descriptor of this process at least until the send is
        // over; a driver that asks for a closed one gets an error from the kernel.
        let fd = answer.fd.map(|fd| unsafe { BorrowedFd::borrow_raw(fd) });
        if self.channel.send(answer.header, back, fd).is_err() {
            let _ = self.channel.send(reply(kind::DONE, &[MINUS_EBADF]), &[], None);
        }
    }

    fn act(&self, received: Received, payload: &[u8]) -> Answer {
        let [operation, a, b, ..] = received.header.0;
        self.write_scratch(payload);
        match operation {
            op::SYSCALL => self.syscall(received.header),
            op::LOAD => self.load(a, b),
            op::STORE => self.store(a, payload.len() as u64),
            op::KERNEL_LOAD => self.kernel_load(a, b),
            op::KERNEL_STORE => self.kernel_store(a, payload.len() as u64),
            op::THREAD => Answer::from_result(start_thread(received.fd)),
            op::FORK => Answer::from_result(fork(received.fd)),
            op::EXEC => Answer::value(self.exec()),
            op::SEND_FD => Answer { fd: RawFd::try_from(a).ok(), ..Answer::value(0) },
            op::TAKE_FD => Answer::value(keep(received.fd)),
            _ => Answer::value(i64::from(-libc::ENOSYS)),
        }
    }

    fn syscall(&self, header: Header) -> Answer {
        let [_, nr, a, b, c, d, e, f, out_len] = header.0;
        let value = syscall6(nr, [a, b, c, d, e, f]);
        Answer::value(value).with_scratch(usize::try_from(out_len).unwrap_or(PAYLOAD_MAX))
    }

    fn load(&self, at: u64, len: u64) -> Answer {
        let len = len.min(PAYLOAD_MAX as u64);
        // SAFETY: the scratch area holds `len` bytes and is ours; reading any address is
        // harmless, and no reference to what lies there exists.
        let access = unsafe { access::copy(self.scratch, at, len) };
        Answer::from_access(access, usize::try_from(len).unwrap_or(PAYLOAD_MAX))
    }

    fn store(&self, at: u64, len: u64) -> Answer {
        // SAFETY: the driver names memory it mapped through this puppet, never the puppet's own;
        // if it errs, it breaks this process, which exists to be broken.
        let access = unsafe { access::copy(at, self.scratch, len) };
        Answer::from_access(access, 0)
    }

    fn kernel_load(&self, at: u64, len: u64) -> Answer {
        let written = transfer(libc::SYS_write, &self.pipe_out, at, len.min(PAYLOAD_MAX as u64));
        if written > 0 {
            transfer(libc::SYS_read, &self.pipe_in, self.scratch, written.cast_unsigned());
        }
        Answer::value(written).with_scratch(usize::try_from(written).unwrap_or(0))
    }

    fn kernel_store(&self, at: u64, len: u64) -> Answer {
        transfer(libc::SYS_write, &self.pipe_out, self.scratch, len);
        let stored = transfer(libc::SYS_read, &self.pipe_in, at, len);
        let left = len.saturating_sub(u64::try_from(stored).unwrap_or(0));
        if left > 0 {
            transfer(libc::SYS_read, &self.pipe_in, self.scratch, left);
        }
        Answer::value(stored)
    }

    /// Returns only if the program could not be replaced, with minus the error number.
    fn exec(&self) -> i64 {
        const ARGUMENT: &CStr = c"--faultless-puppet";
        const { assert!(ARGUMENT.to_bytes().len() == PUPPET_ARGUMENT.len()) };
        if let Err(errno) = rustix::stdio::dup2_stdin(&self.channel) {
            return i64::from(-errno.raw_os_error());
        }
        let path = c"/proc/self/exe";
        let arguments = [path.as_ptr(), ARGUMENT.as_ptr(), ptr::null()];
        // SAFETY: path and arguments are NUL-terminated and live until the call returns.
        unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) };
        negative(&io::Error::last_os_error())
    }

    fn write_scratch(&self, bytes: &[u8]) {
        // SAFETY: the scratch area holds PAYLOAD_MAX bytes, `bytes` is no longer than that, and
        // only this thread uses it; the kernel's writes to it happen inside this thread's calls.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.scratch as *mut u8, bytes.len()) };
    }

    fn read_scratch(&self, bytes: &mut [u8]) {
        let from = self.scratch as *const u8;
        // SAFETY: as in write_scratch.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }
}

const MINUS_EBADF: u64 = (-(libc::EBADF as i64)).cast_unsigned();

fn reply(kind: u64, words: &[u64]) -> Header {
    let mut header = Header::default();
    header.0[0] = kind;
    header.0[1..=words.len()].copy_from_slice(words);
    header
}

fn negative(error: &io::Error) -> i64 {
    i64::from(-error.raw_os_error().unwrap_or(libc::EIO))
}

/// Makes one system call and returns its value or minus its error number.
fn syscall6(nr: u64, arguments: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = arguments;
    let nr = nr.cast_signed() as c_long;
    // SAFETY: the driver's contract: its calls concern memory and descriptors it made through
    // this puppet. If it errs, it breaks this process, which exists to be broken.
    let value = unsafe { libc::syscall(nr, a, b, c, d, e, f) };
    if value == -1 { negative(&io::Error::last_os_error()) } else { value }
}

fn transfer(nr: c_long, pipe: &OwnedFd, at: u64, len: u64) -> i64 {
    let fd = u64::from(pipe.as_raw_fd().cast_unsigned());
    syscall6(nr.unsigned_abs(), [fd, at, len, 0, 0, 0])
}

fn missing_fd() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

fn start_thread(fd: Option<OwnedFd>) -> io::Result<i64> {
    let channel = Channel::from_fd(fd.ok_or_else(missing_fd)?);
    // Two payload buffers live on the stack.
    let builder = std::thread::Builder::new().stack_size(8 * PAYLOAD_MAX);
    builder.spawn(move || serve(channel)).map(|_| 0)
}

/// Forks; the child becomes a sibling, so that the driver can wait for it, and never returns.
fn fork(fd: Option<OwnedFd>) -> io::Result<i64> {
    let channel = Channel::from_fd(fd.ok_or_else(missing_fd)?);
    let flags = u64::from((libc::CLONE_PARENT | libc::SIGCHLD).cast_unsigned());
    let pid = syscall6(libc::SYS_clone.unsigned_abs(), [flags, 0, 0, 0, 0, 0]);
    match pid {
        0 => {
            die_with_parent();
            serve(channel)
        }
        1.. => Ok(pid),
        _ => Err(io::Error::from_raw_os_error(i32::try_from(-pid).unwrap_or(libc::EIO))),
    }
}

fn keep(fd: Option<OwnedFd>) -> i64 {
    use std::os::fd::IntoRawFd;
    fd.map_or(i64::from(-libc::EBADF), |fd| i64::from(fd.into_raw_fd()))
}
