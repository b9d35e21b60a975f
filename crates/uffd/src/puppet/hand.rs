//! The driver's side of one thread: requests, replies, and watching it sleep.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::channel::{Channel, Header, PAYLOAD_MAX, Received};
use super::driver::{Puppet, PuppetError};
use super::protocol::{kind, op};

/// Most bytes one load, store or syscall can carry.
pub const TRANSFER_MAX: usize = PAYLOAD_MAX;

/// How long a new puppet or thread may take to say hello; generous, for emulated machines.
const GREETING_PATIENCE: Duration = Duration::from_secs(60);

/// A thread or process that has been asked for and has not greeted yet.
#[derive(Debug)]
pub struct Newborn(pub(super) Channel);

impl Newborn {
    /// Waits for the greeting of a new thread.
    ///
    /// # Errors
    /// [`PuppetError::NoGreeting`] when it does not come, [`PuppetError::Gone`] when the process
    /// ended first.
    pub fn greet(self) -> Result<Hand, PuppetError> {
        if !readable(self.0.as_fd(), GREETING_PATIENCE) {
            return Err(PuppetError::NoGreeting);
        }
        let mut hand = Hand { pid: 0, tid: 0, channel: self.0, scratch: 0, asked: true };
        hand.hear()?;
        Ok(hand)
    }

    /// Waits for the greeting of a forked process, whose parent named `pid`.
    ///
    /// # Errors
    /// As [`Newborn::greet`], and [`PuppetError::Setup`] when the process cannot be watched.
    pub fn greet_process(self, pid: u32) -> Result<(Puppet, Hand), PuppetError> {
        let puppet = Puppet::adopt(pid)?;
        Ok((puppet, self.greet()?))
    }
}

/// What a thread of a puppet is asked to do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Request<'a> {
    /// Make a system call.
    Syscall {
        /// Its number.
        nr: u64,
        /// Its arguments; a pointer may lead into [`Hand::scratch`].
        args: [u64; 6],
        /// Bytes put at the start of the scratch area first.
        input: &'a [u8],
        /// Bytes of the scratch area that come back, whatever the call returned.
        output_len: usize,
    },
    /// Read memory in user mode.
    Load {
        /// Address.
        at: u64,
        /// Bytes.
        len: usize,
    },
    /// Write memory in user mode.
    Store {
        /// Address.
        at: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// Have the kernel read memory, as `write(2)` does.
    KernelLoad {
        /// Address.
        at: u64,
        /// Bytes.
        len: usize,
    },
    /// Have the kernel write memory, as `read(2)` does.
    KernelStore {
        /// Address.
        at: u64,
        /// What.
        bytes: &'a [u8],
    },
    /// Become a fresh run of this program, which serves the same channel.
    Exec,
    /// Send a descriptor to the driver.
    SendFd(u32),
    /// Keep a descriptor; the value is its number.
    TakeFd(BorrowedFd<'a>),
}

/// How a request ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reply {
    /// It ran to its end.
    Done {
        /// The value, or minus the error number.
        value: i64,
        /// What came back from the scratch area.
        output: Vec<u8>,
        /// The descriptor asked for.
        fd: Option<OwnedFd>,
    },
    /// A signal ended the access.
    Signal {
        /// Its number.
        signal: u64,
        /// Its `si_code`.
        code: u64,
        /// Its `si_addr`.
        address: u64,
    },
}

/// What a thread without an answer is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Running or runnable.
    Awake,
    /// Asleep in the kernel.
    Asleep {
        /// The kernel function it waits in, or `0` where the kernel does not tell.
        place: String,
    },
    /// It no longer exists.
    Gone,
}

/// One thread of a puppet.
#[derive(Debug)]
pub struct Hand {
    pid: u32,
    tid: u32,
    channel: Channel,
    scratch: u64,
    asked: bool,
}

impl Hand {
    /// The thread id.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.tid
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Address of [`TRANSFER_MAX`] bytes in the puppet that belong to this thread: the input of a
    /// system call lies at its start.
    #[must_use]
    pub fn scratch(&self) -> u64 {
        self.scratch
    }

    /// Sends the thread a signal whose handler does nothing.
    pub fn interrupt(&self) {
        let (pid, tid) = (u64::from(self.pid), u64::from(self.tid));
        // SAFETY: tgkill touches no memory; both ids are of a child that is not reaped yet, and
        // an id that is gone is ESRCH.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, libc::SIGUSR1) };
    }

    /// Starts a request; [`Hand::wait`] brings its reply.
    ///
    /// # Errors
    /// [`PuppetError::Busy`] before the last reply was taken, [`PuppetError::Gone`].
    pub fn ask(&mut self, request: &Request<'_>) -> Result<(), PuppetError> {
        let (header, payload, fd) = Self::encode(request);
        self.send(header, payload, fd)
    }

    /// Asks for a new thread; once the request is done, the newborn greets.
    ///
    /// # Errors
    /// As [`Hand::ask`], and [`PuppetError::Setup`].
    pub fn ask_thread(&mut self) -> Result<Newborn, PuppetError> {
        self.ask_newborn(op::THREAD)
    }

    /// Asks for a fork; once the request is done with a process id, the newborn greets.
    ///
    /// # Errors
    /// As [`Hand::ask`], and [`PuppetError::Setup`].
    pub fn ask_fork(&mut self) -> Result<Newborn, PuppetError> {
        self.ask_newborn(op::FORK)
    }

    fn ask_newborn(&mut self, operation: u64) -> Result<Newborn, PuppetError> {
        let (ours, theirs) =
            Channel::pair().map_err(|errno| PuppetError::setup("make a channel", errno))?;
        self.send(header(operation, &[]), &[], Some(theirs.as_fd()))?;
        Ok(Newborn(ours))
    }

    fn encode<'a>(request: &Request<'a>) -> (Header, &'a [u8], Option<BorrowedFd<'a>>) {
        match *request {
            Request::Syscall { nr, args, input, output_len } => {
                let [a, b, c, d, e, f] = args;
                let words = [nr, a, b, c, d, e, f, output_len as u64];
                (header(op::SYSCALL, &words), input, None)
            }
            Request::Load { at, len } => (header(op::LOAD, &[at, len as u64]), &[], None),
            Request::Store { at, bytes } => (header(op::STORE, &[at]), bytes, None),
            Request::KernelLoad { at, len } => {
                (header(op::KERNEL_LOAD, &[at, len as u64]), &[], None)
            }
            Request::KernelStore { at, bytes } => (header(op::KERNEL_STORE, &[at]), bytes, None),
            Request::Exec => (header(op::EXEC, &[]), &[], None),
            Request::SendFd(fd) => (header(op::SEND_FD, &[u64::from(fd)]), &[], None),
            Request::TakeFd(fd) => (header(op::TAKE_FD, &[]), &[], Some(fd)),
        }
    }

    fn send(
        &mut self,
        header: Header,
        payload: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), PuppetError> {
        if self.asked {
            return Err(PuppetError::Busy { tid: self.tid });
        }
        let gone = PuppetError::Gone { tid: self.tid };
        self.channel.send(header, payload, fd).map_err(|_| gone)?;
        self.asked = true;
        Ok(())
    }

    /// Waits at most `limit` for the reply; `None` when there is none yet.
    ///
    /// # Errors
    /// [`PuppetError::Gone`] when the thread's process has ended.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<Reply>, PuppetError> {
        if readable(self.channel.as_fd(), limit) { self.hear().map(Some) } else { Ok(None) }
    }

    /// Takes the next frame; a greeting (a new program after exec) counts as done.
    fn hear(&mut self) -> Result<Reply, PuppetError> {
        let mut payload = vec![0; PAYLOAD_MAX];
        let received = self.channel.receive(&mut payload).ok().flatten();
        let Some(Received { header, payload_len, fd }) = received else {
            return Err(PuppetError::Gone { tid: self.tid });
        };
        payload.truncate(payload_len);
        self.asked = false;
        let [kind, a, b, c, ..] = header.0;
        match kind {
            kind::SIGNAL => Ok(Reply::Signal { signal: a, code: b, address: c }),
            kind::HELLO => {
                self.pid = u32::try_from(a).unwrap_or(0);
                self.tid = u32::try_from(b).unwrap_or(0);
                self.scratch = c;
                Ok(Reply::Done { value: 0, output: Vec::new(), fd: None })
            }
            _ => Ok(Reply::Done { value: a.cast_signed(), output: payload, fd }),
        }
    }

    /// Looks whether the thread sleeps, and where.
    #[must_use]
    pub fn rest(&self) -> Rest {
        let Ok(stat) = self.read_proc("stat") else { return Rest::Gone };
        // The name in parentheses may hold anything; the state follows the last one.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        match state {
            Some('S' | 'D' | 'T' | 't') => {
                Rest::Asleep { place: self.read_proc("wchan").unwrap_or_default() }
            }
            Some('Z' | 'X') | None => Rest::Gone,
            Some(_) => Rest::Awake,
        }
    }

    /// Describes where the thread is stuck, for a report.
    #[must_use]
    pub fn whereabouts(&self) -> String {
        let syscall = self.read_proc("syscall").unwrap_or_default();
        let nr = syscall.split_whitespace().next().unwrap_or("?");
        format!("thread {} in {:?}, syscall {nr}", self.tid, self.rest())
    }

    fn read_proc(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(format!("/proc/{}/task/{}/{file}", self.pid, self.tid))
    }
}

fn header(operation: u64, words: &[u64]) -> Header {
    let mut header = Header::default();
    header.0[0] = operation;
    header.0[1..=words.len()].copy_from_slice(words);
    header
}

/// Waits until `fd` has something, or `limit` has passed.
pub(super) fn readable(fd: BorrowedFd<'_>, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
