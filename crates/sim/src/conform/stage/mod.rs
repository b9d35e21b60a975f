//! What bodies are written with: a [`Stage`] with one process and one userfaultfd, and short
//! names for what bodies do all the time.
//!
//! | file | holds |
//! |---|---|
//! | `memory.rs` | mappings of every kind, ranges of pages |
//! | `request.rs` | requests as values, and what became of them |
//! | `observe.rs` | messages, pagemap, scan, counters |
//!
//! The first thread of the process makes the requests and reads the messages; accesses that may
//! block are given to threads of their own.

mod memory;
mod observe;
pub mod request;

use faultless_uapi::feature::{self, HISTORY};
use faultless_uapi::{UFFD_API, UFFD_USER_MODE_ONLY};

use super::call::Call;
use super::errno::Errno;
use super::linux::{advice, open};
use super::profile::Profile;
use super::verdict::{Failure, Verdict, diverges, skip};
use super::world::{Done, Fd, Process, Stop, Thread, World};

pub use memory::{Area, Memory, Range, advise};
pub use observe::{Scanned, messages_in};
pub use request::{Request, Tried};

/// The flags a body opens its userfaultfd with unless it says otherwise.
pub const USUAL: u32 = open::CLOEXEC | open::NONBLOCK;

/// A process of the world and its userfaultfd.
pub struct Stage<'w> {
    /// The world.
    pub world: &'w mut dyn World,
    /// The thread that makes requests.
    pub me: Thread,
    /// The userfaultfd requests go to.
    pub fd: Fd,
}

impl<'w> Stage<'w> {
    /// Makes a process without a userfaultfd.
    ///
    /// # Errors
    /// Skips where userfaultfd is closed to everybody.
    pub fn bare(world: &'w mut dyn World) -> Verdict<Stage<'w>> {
        if let Some(why) = &world.profile().closed {
            return skip(why.clone());
        }
        let me = world.spawn()?;
        Ok(Stage { world, me, fd: Fd(u32::MAX) })
    }

    /// Makes a process with a non-blocking userfaultfd that has these features; without privileges
    /// it handles faults of instructions only.
    ///
    /// # Errors
    /// Skips where a feature is missing.
    pub fn open(world: &'w mut dyn World, features: u64) -> Verdict<Stage<'w>> {
        Stage::open_with(world, USUAL, features)
    }

    /// As [`Stage::open`], with flags of choice.
    ///
    /// # Errors
    /// Skips where a feature or the permission is missing.
    pub fn open_with(world: &'w mut dyn World, flags: u32, features: u64) -> Verdict<Stage<'w>> {
        let mut stage = Stage::bare(world)?;
        stage.needs(features)?;
        stage.fd = stage.open_another(flags, features)?;
        Ok(stage)
    }

    /// Opens one more userfaultfd in the same process.
    ///
    /// # Errors
    /// Diverges when it is refused or the handshake fails.
    pub fn open_another(&mut self, flags: u32, features: u64) -> Verdict<Fd> {
        // Most bodies need no faults of system calls; those that do say so.
        let restricted = if self.kernel_faults_allowed() { 0 } else { UFFD_USER_MODE_ONLY };
        let fd = self.open_fd(Call::Userfaultfd { flags: flags | restricted })?;
        self.send_to(fd, &request::api(UFFD_API, features))?.ok()?;
        Ok(fd)
    }

    fn kernel_faults_allowed(&self) -> bool {
        self.profile().privileged || self.profile().unprivileged_allowed
    }

    /// Skips the body unless faults of system calls can be handled.
    ///
    /// # Errors
    /// Skips without the permission.
    pub fn needs_kernel_faults(&self) -> Verdict {
        if self.kernel_faults_allowed() {
            return Ok(());
        }
        skip("faults of system calls need CAP_SYS_PTRACE; run as root")
    }

    /// Makes a call that brings a descriptor.
    ///
    /// # Errors
    /// Diverges when it is refused.
    #[track_caller]
    pub fn open_fd(&mut self, call: Call) -> Verdict<Fd> {
        let number = self.value(call)?;
        u32::try_from(number).map(Fd).map_err(|e| Failure::Broken(e.to_string()))
    }

    /// What this world can do.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        self.world.profile()
    }

    /// Bytes of a base page.
    #[must_use]
    pub fn page(&self) -> u64 {
        self.profile().page_size
    }

    /// Skips the body unless the world offers these features.
    ///
    /// # Errors
    /// Skips, naming what is missing.
    pub fn needs(&self, features: u64) -> Verdict {
        let missing = features & !self.profile().features;
        if missing != 0 {
            let mut names = HISTORY.iter().filter(|f| f.mask() & missing != 0).map(|f| f.name);
            let name = names.next().unwrap_or("an unknown feature");
            return skip(format!("this kernel lacks {name}"));
        }
        if features & feature::FEATURE_EVENT_FORK != 0 && !self.profile().privileged {
            return skip("EVENT_FORK needs CAP_SYS_PTRACE; run as root");
        }
        Ok(())
    }

    /// Makes a call in the first thread and expects it to end.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn call(&mut self, call: Call) -> Verdict<Done> {
        self.call_in(self.me, call)
    }

    /// Makes a call in a thread and expects it to end.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn call_in(&mut self, who: Thread, call: Call) -> Verdict<Done> {
        self.world.start(who, call)?;
        self.outcome(who)
    }

    /// Makes a call and expects it to end well.
    ///
    /// # Errors
    /// Diverges when it blocks or is refused.
    #[track_caller]
    pub fn value(&mut self, call: Call) -> Verdict<u64> {
        self.value_in(self.me, call)
    }

    /// As [`Stage::value`], in a thread of choice.
    ///
    /// # Errors
    /// Diverges when it blocks or is refused.
    #[track_caller]
    pub fn value_in(&mut self, who: Thread, call: Call) -> Verdict<u64> {
        let text = format!("{call:?}");
        match self.call_in(who, call)?.result {
            Ok(value) => Ok(value),
            Err(stop) => diverges(format!("{} was stopped by {stop:?}", shorten(&text))),
        }
    }

    /// Expects the call to be refused with this error.
    ///
    /// # Errors
    /// Diverges when it ends otherwise.
    #[track_caller]
    pub fn refuses(&mut self, call: Call, errno: Errno) -> Verdict {
        let text = format!("{call:?}");
        let result = self.call(call)?.result;
        if result == Err(Stop::Refused(errno)) {
            return Ok(());
        }
        diverges(format!("{}: got {result:?}, want {errno}", shorten(&text)))
    }

    /// Adds a thread.
    ///
    /// # Errors
    /// Only when the world breaks down.
    pub fn thread(&mut self) -> Verdict<Thread> {
        self.world.spawn_thread(self.me)
    }

    /// Begins a call in a new thread and expects it to block.
    ///
    /// # Errors
    /// Diverges when it ends.
    #[track_caller]
    pub fn blocked(&mut self, call: Call) -> Verdict<Thread> {
        if faults_in_the_kernel(&call) {
            self.needs_kernel_faults()?;
        }
        let who = self.thread()?;
        self.world.start(who, call)?;
        self.still_blocked(who)?;
        Ok(who)
    }

    /// A new thread that blocks loading the byte at `at`.
    ///
    /// # Errors
    /// Diverges when it does not block.
    #[track_caller]
    pub fn blocked_load(&mut self, at: u64) -> Verdict<Thread> {
        self.blocked(Call::Load { at, len: 1 })
    }

    /// A new thread that blocks storing a byte at `at`.
    ///
    /// # Errors
    /// Diverges when it does not block.
    #[track_caller]
    pub fn blocked_store(&mut self, at: u64, byte: u8) -> Verdict<Thread> {
        self.blocked(Call::Store { at, bytes: vec![byte] })
    }

    /// Expects a thread's call to be blocked.
    ///
    /// # Errors
    /// Diverges when it ended.
    #[track_caller]
    pub fn still_blocked(&mut self, who: Thread) -> Verdict {
        match self.world.settle(who)? {
            None => Ok(()),
            Some(done) => diverges(format!("ended with {:?} instead of blocking", done.result)),
        }
    }

    /// Expects a thread's call to end, however it does.
    ///
    /// # Errors
    /// Diverges when it is blocked.
    #[track_caller]
    pub fn outcome(&mut self, who: Thread) -> Verdict<Done> {
        match self.world.settle(who)? {
            Some(done) => Ok(done),
            None => diverges(format!("blocked: {}", self.world.describe(who))),
        }
    }

    /// Expects a thread's call to end well.
    ///
    /// # Errors
    /// Diverges when it is blocked or was stopped.
    #[track_caller]
    pub fn goes_on(&mut self, who: Thread) -> Verdict<Done> {
        let done = self.outcome(who)?;
        match done.result {
            Ok(_) => Ok(done),
            Err(stop) => diverges(format!("stopped by {stop:?}")),
        }
    }

    /// Expects a thread's load of one byte to end, and returns the byte.
    ///
    /// # Errors
    /// Diverges when it is blocked or was stopped.
    #[track_caller]
    pub fn loaded(&mut self, who: Thread) -> Verdict<u8> {
        let done = self.goes_on(who)?;
        done.bytes.first().copied().ok_or_else(|| Failure::Broken("no byte came".into()))
    }

    /// Loads a byte in the first thread, which must not block.
    ///
    /// # Errors
    /// Diverges when it blocks or is stopped.
    #[track_caller]
    pub fn load(&mut self, at: u64) -> Verdict<u8> {
        self.world.start(self.me, Call::Load { at, len: 1 })?;
        self.loaded(self.me)
    }

    /// Stores a byte in the first thread, which must not block.
    ///
    /// # Errors
    /// Diverges when it blocks or is stopped.
    #[track_caller]
    pub fn store(&mut self, at: u64, byte: u8) -> Verdict {
        self.value(Call::Store { at, bytes: vec![byte] }).map(|_| ())
    }

    /// Expects an access of the first thread to be stopped, and returns by what.
    ///
    /// # Errors
    /// Diverges when it blocks or ends well.
    #[track_caller]
    pub fn stopped(&mut self, call: Call) -> Verdict<Stop> {
        match self.call(call)?.result {
            Err(stop) => Ok(stop),
            Ok(value) => diverges(format!("ended well with {value}")),
        }
    }

    /// Forks in the first thread, without an event to wait for; returns the child's thread.
    ///
    /// # Errors
    /// Diverges when it blocks or is refused.
    #[track_caller]
    pub fn fork(&mut self) -> Verdict<Thread> {
        let child = self.value(Call::Fork)?;
        child_thread(child)
    }

    /// Lets requests be made by another thread through another descriptor for a while.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn acting<T>(
        &mut self,
        who: Thread,
        fd: Fd,
        act: impl FnOnce(&mut Stage<'_>) -> Verdict<T>,
    ) -> Verdict<T> {
        act(&mut Stage { world: &mut *self.world, me: who, fd })
    }
}

/// The first thread of the process that a fork's value names.
///
/// # Errors
/// Only when the world breaks down.
pub fn child_thread(value: u64) -> Verdict<Thread> {
    let number = u32::try_from(value).map_err(|e| Failure::Broken(e.to_string()))?;
    Ok(Thread::first_of(Process(number)))
}

/// Says whether a call that blocks does so because the kernel touches memory for it.
fn faults_in_the_kernel(call: &Call) -> bool {
    match call {
        Call::KernelLoad { .. } | Call::KernelStore { .. } | Call::Ioctl { .. } => true,
        Call::Advise { advice, .. } => {
            [advice::POPULATE_READ, advice::POPULATE_WRITE].contains(advice)
        }
        _ => false,
    }
}

/// Keeps byte vectors out of reports.
fn shorten(text: &str) -> String {
    text.chars().take(160).collect()
}
