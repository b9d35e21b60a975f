//! The running kernel as a [`World`]: every process is a puppet.
//!
//! | file | holds |
//! |---|---|
//! | `calls.rs` | each [`Call`] as system calls of a puppet |
//! | `looks.rs` | what `/proc` tells of a puppet |
//! | `roster.rs` | every puppet there is |
//! | `custody.rs` | what was borrowed, given back when a signal comes |
//! | `probe.rs` | what this kernel can do |
//! | `machine.rs` | huge pages and swap, borrowed for a run |
//! | `writeback.rs` | waiting for pages on their way to a disk |
//!
//! # Invariants
//! - A call that may block is one request, sent and left; all others are over when
//!   [`World::start`] returns.
//! - A thread counts as blocked when the kernel says it sleeps in userfaultfd or poll, or sleeps
//!   at the same place for long; never because time passed.

mod calls;
mod custody;
mod looks;
mod machine;
mod probe;
mod roster;
mod writeback;

use std::time::{Duration, Instant};

use faultless_uffd::puppet::{Hand, Newborn, Puppet, PuppetError, Reply, Request, Rest};

use super::call::Call;
use super::errno::Errno;
use super::profile::Profile;
use super::run::Worlds;
use super::verdict::{Failure, Verdict};
use super::world::{Done, Fd, Process, Stop, Thread, World};

pub use custody::Custody;
pub use machine::Machine;
pub use probe::probe;
pub use roster::Roster;

/// How long one body may take on an ordinary machine.
const CASE_LIMIT: Duration = Duration::from_secs(60);
/// How long one reply is waited for before looking what the thread does.
const GLANCE: Duration = Duration::from_micros(300);
/// Where a thread sleeps until somebody else acts.
const WAITING_ROOMS: [&str; 2] = ["userfault", "poll"];
/// Sleeping this long where the kernel does not tell the place counts as blocked.
const SETTLED: Duration = Duration::from_millis(100);
/// Sleeping this long at any other place does: locks and disks keep a thread shorter.
const STUCK: Duration = Duration::from_secs(5);

/// The running kernel, as it was found when it was probed.
#[derive(Clone, Debug)]
pub struct KernelWorlds {
    profile: Profile,
    patience: u32,
    roster: Roster,
}

impl KernelWorlds {
    /// Probes the running kernel. `patience` stretches every limit of time.
    ///
    /// # Errors
    /// [`Failure::Broken`] when no puppet can be started or `/proc` is missing.
    pub fn probe(patience: u32) -> Verdict<KernelWorlds> {
        Ok(KernelWorlds { profile: probe(patience)?, patience, roster: Roster::default() })
    }

    /// The puppets of its worlds.
    #[must_use]
    pub fn roster(&self) -> Roster {
        self.roster.clone()
    }
}

impl Worlds for KernelWorlds {
    fn title(&self) -> String {
        format!("kernel {}", self.profile.version)
    }

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn fresh(&self, profile: &Profile) -> Box<dyn World> {
        let mut world = KernelWorld::new(profile.clone(), self.patience);
        world.roster = self.roster.clone();
        Box::new(world)
    }
}

/// The running kernel, fresh for one body.
#[derive(Debug)]
pub struct KernelWorld {
    profile: Profile,
    patience: u32,
    deadline: Instant,
    cast: Vec<Member>,
    roster: Roster,
}

/// A process and its threads; threads lost to an exec are gone from the list.
#[derive(Debug)]
struct Member {
    puppet: Puppet,
    actors: Vec<Actor>,
}

#[derive(Debug)]
struct Actor {
    hand: Hand,
    state: State,
    /// It was blocked when it was looked at last: probably it still is.
    blocked: bool,
}

#[derive(Debug)]
enum State {
    Idle,
    /// Over, and its outcome not yet taken.
    Over(Done),
    /// Asked; what to make of the reply.
    Asked(Ending),
}

/// What to make of a reply.
#[derive(Debug)]
enum Ending {
    /// The value stands for itself, the bytes go through.
    Plain,
    /// As many bytes came as the value says.
    Counted,
    /// The bytes from this offset on, as many as the value says.
    CountedFrom(usize),
    /// The bytes are a pollfd; its revents are the value.
    Polled,
    /// This is the value, if all went well.
    Standing(u64),
    /// The value is the id of this process.
    Forked(Newborn),
    /// The program was replaced; other threads are gone.
    Replaced,
}

impl KernelWorld {
    /// Makes a world without processes. `patience` stretches every limit of time.
    #[must_use]
    pub fn new(profile: Profile, patience: u32) -> KernelWorld {
        let deadline = Instant::now() + CASE_LIMIT * patience;
        KernelWorld { profile, patience, deadline, cast: Vec::new(), roster: Roster::default() }
    }

    fn actor(&mut self, who: Thread) -> Verdict<&mut Actor> {
        self.cast
            .get_mut(usize::try_from(who.process.0).unwrap_or(usize::MAX))
            .and_then(|member| member.actors.get_mut(usize::try_from(who.index).ok()?))
            .ok_or_else(|| Failure::Broken(format!("{who:?} does not exist")))
    }

    fn hand(&self, who: Thread) -> Option<&Hand> {
        let member = self.cast.get(usize::try_from(who.process.0).ok()?)?;
        member.actors.get(usize::try_from(who.index).ok()?).map(|actor| &actor.hand)
    }

    fn enter(&mut self, puppet: Puppet, hand: Hand) -> Verdict<Process> {
        let number = u32::try_from(self.cast.len()).map_err(|e| broken(&e))?;
        self.roster.add(&puppet)?;
        let actors = vec![Actor { hand, state: State::Idle, blocked: false }];
        self.cast.push(Member { puppet, actors });
        Ok(Process(number))
    }

    /// Makes a request that cannot block and waits for its reply.
    fn quick(&mut self, who: Thread, request: &Request<'_>) -> Verdict<Reply> {
        let limit = self.deadline.saturating_duration_since(Instant::now());
        let hand = &mut self.actor(who)?.hand;
        hand.ask(request).map_err(|e| broken(&e))?;
        match hand.wait(limit).map_err(|e| broken(&e))? {
            Some(reply) => Ok(reply),
            None => Err(Failure::Diverges(format!("out of time: {}", hand.whereabouts()))),
        }
    }

    /// Takes the outcome if the call is over.
    fn take(&mut self, who: Thread, limit: Duration) -> Verdict<Option<Done>> {
        let actor = self.actor(who)?;
        match std::mem::replace(&mut actor.state, State::Idle) {
            State::Idle => Err(Failure::Broken(format!("{who:?} is in no call"))),
            State::Over(done) => Ok(Some(done)),
            State::Asked(ending) => match actor.hand.wait(limit).map_err(|e| broken(&e))? {
                Some(reply) => self.conclude(who, ending, reply).map(Some),
                None => {
                    actor.state = State::Asked(ending);
                    Ok(None)
                }
            },
        }
    }

    fn conclude(&mut self, who: Thread, ending: Ending, reply: Reply) -> Verdict<Done> {
        let mut done = done_of(reply)?;
        let Ok(value) = done.result else { return Ok(done) };
        let count = usize::try_from(value).unwrap_or(usize::MAX);
        match ending {
            Ending::Plain => {}
            Ending::Counted => done.bytes.truncate(count),
            Ending::CountedFrom(offset) => {
                done.bytes.drain(..offset.min(done.bytes.len()));
                done.bytes.truncate(count);
            }
            Ending::Polled => {
                let revents = done.bytes.get(6..8).and_then(|b| b.try_into().ok());
                done.result = Ok(revents.map_or(0, u16::from_ne_bytes).into());
            }
            Ending::Standing(value) => done.result = Ok(value),
            Ending::Forked(newborn) => {
                let pid = u32::try_from(value).map_err(|e| broken(&e))?;
                let (puppet, hand) = newborn.greet_process(pid).map_err(|e| broken(&e))?;
                done.result = Ok(self.enter(puppet, hand)?.0.into());
            }
            Ending::Replaced => {
                let process = usize::try_from(who.process.0).map_err(|e| broken(&e))?;
                self.cast[process].actors.truncate(1);
            }
        }
        Ok(done)
    }

    fn check_time(&self, who: Thread) -> Verdict {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(Failure::Diverges(format!("out of time: {}", self.describe(who))))
    }
}

impl Drop for KernelWorld {
    fn drop(&mut self) {
        self.roster.clear();
    }
}

impl World for KernelWorld {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn spawn(&mut self) -> Verdict<Thread> {
        let (puppet, hand) = Puppet::spawn().map_err(|e| broken(&e))?;
        Ok(Thread::first_of(self.enter(puppet, hand)?))
    }

    fn spawn_thread(&mut self, beside: Thread) -> Verdict<Thread> {
        let limit = self.deadline.saturating_duration_since(Instant::now());
        let hand = &mut self.actor(beside)?.hand;
        let newborn = hand.ask_thread().map_err(|e| broken(&e))?;
        let reply = hand.wait(limit).map_err(|e| broken(&e))?;
        let Some(Reply::Done { value: 0, .. }) = reply else {
            return Err(Failure::Broken(format!("no thread started: {reply:?}")));
        };
        let hand = newborn.greet().map_err(|e| broken(&e))?;
        let process = usize::try_from(beside.process.0).map_err(|e| broken(&e))?;
        let actors = &mut self.cast[process].actors;
        let index = u32::try_from(actors.len()).map_err(|e| broken(&e))?;
        actors.push(Actor { hand, state: State::Idle, blocked: false });
        Ok(Thread { process: beside.process, index })
    }

    fn start(&mut self, who: Thread, call: Call) -> Verdict {
        if !matches!(self.actor(who)?.state, State::Idle) {
            return Err(Failure::Broken(format!("{who:?} is in a call: {}", self.describe(who))));
        }
        let state = calls::start(self, who, call)?;
        let actor = self.actor(who)?;
        (actor.state, actor.blocked) = (state, false);
        Ok(())
    }

    fn settle(&mut self, who: Thread) -> Verdict<Option<Done>> {
        let mut asleep: Option<(String, Instant)> = None;
        let mut glance = if self.actor(who)?.blocked { Duration::ZERO } else { GLANCE };
        loop {
            if let Some(done) = self.take(who, glance)? {
                return Ok(Some(done));
            }
            glance = GLANCE;
            match self.actor(who)?.hand.rest() {
                Rest::Asleep { place } => {
                    // It may have replied and gone to sleep waiting for the next request.
                    if let Some(done) = self.take(who, Duration::ZERO)? {
                        return Ok(Some(done));
                    }
                    if WAITING_ROOMS.iter().any(|room| place.contains(room)) {
                        self.actor(who)?.blocked = true;
                        return Ok(None);
                    }
                    let limit = if place == "0" { SETTLED } else { STUCK };
                    let since = match asleep.take() {
                        Some((before, since)) if before == place => since,
                        _ => Instant::now(),
                    };
                    if since.elapsed() > limit * self.patience {
                        return Ok(None);
                    }
                    asleep = Some((place, since));
                }
                _ => asleep = None,
            }
            self.check_time(who)?;
        }
    }

    fn describe(&self, who: Thread) -> String {
        self.hand(who).map_or_else(|| format!("{who:?} is gone"), Hand::whereabouts)
    }

    fn interrupt(&mut self, who: Thread) -> Verdict {
        self.actor(who)?.hand.interrupt();
        Ok(())
    }

    fn kill(&mut self, process: Process) -> Verdict {
        let index = usize::try_from(process.0).map_err(|e| broken(&e))?;
        let member = self.cast.get_mut(index);
        let member = member.ok_or_else(|| Failure::Broken(format!("{process:?} is unknown")))?;
        member.puppet.kill();
        member.actors.clear();
        Ok(())
    }

    fn pass(&mut self, from: Thread, fd: Fd, to: Thread) -> Verdict<Fd> {
        let reply = self.quick(from, &Request::SendFd(fd.0))?;
        let Reply::Done { fd: Some(fd), .. } = reply else {
            return Err(Failure::Broken(format!("no descriptor came: {reply:?}")));
        };
        let request = Request::TakeFd(std::os::fd::AsFd::as_fd(&fd));
        match done_of(self.quick(to, &request)?)?.result {
            Ok(number) => Ok(Fd(u32::try_from(number).map_err(|e| broken(&e))?)),
            Err(stop) => Err(Failure::Broken(format!("descriptor not taken: {stop:?}"))),
        }
    }

    fn thread_id(&self, who: Thread) -> u32 {
        self.hand(who).map_or(0, Hand::tid)
    }
}

fn done_of(reply: Reply) -> Verdict<Done> {
    const SIGBUS: u64 = libc::SIGBUS.unsigned_abs() as u64;
    match reply {
        Reply::Done { value, output, .. } => {
            let result = match u64::try_from(value) {
                Ok(value) => Ok(value),
                Err(_) => {
                    let errno = i32::try_from(-value).map_err(|e| broken(&e))?;
                    Err(Stop::Refused(Errno(errno)))
                }
            };
            Ok(Done { result, bytes: output })
        }
        Reply::Signal { signal: SIGBUS, code, address } => {
            Ok(stopped(Stop::Sigbus { code, at: address }))
        }
        Reply::Signal { code, address, .. } => Ok(stopped(Stop::Sigsegv { code, at: address })),
        other => Err(Failure::Broken(format!("unknown reply {other:?}"))),
    }
}

fn stopped(stop: Stop) -> Done {
    Done { result: Err(stop), bytes: Vec::new() }
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::Broken(error.to_string())
}

impl From<PuppetError> for Failure {
    fn from(error: PuppetError) -> Failure {
        broken(&error)
    }
}
