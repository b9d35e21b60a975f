//! The model as a [`World`]: the kernel of crate `mm`, and a runner that goes straight on.
//!
//! | file | holds |
//! |---|---|
//! | `calls.rs` | each [`Call`] as operations of the model |
//!
//! The adapter translates and knows nothing of what a body expects.
//!
//! # Invariants
//! - Between two calls of [`World`] no operation can go on: each has ended or waits.

mod calls;

use faultless_mm as mm;
use faultless_pages::Va;
use faultless_uapi::ioctl::UFFDIO_API;
use faultless_uapi::{UFFD_API, UffdioApi};

use super::call::Call;
use super::errno::Errno;
use super::profile::Profile;
use super::run::Worlds;
use super::verdict::{Failure, Verdict};
use super::world::{Done, Fd, Process, Stop, Thread, World};

/// Worlds of the model, playing one kernel.
#[derive(Debug)]
pub struct ModelWorlds {
    profile: Profile,
    model: mm::Profile,
}

impl ModelWorlds {
    /// Asks the model what it can do.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the model refuses a handshake.
    pub fn probe(model: mm::Profile) -> Verdict<ModelWorlds> {
        Ok(ModelWorlds { profile: probe(&model)?, model })
    }
}

impl Worlds for ModelWorlds {
    fn title(&self) -> String {
        format!("model of kernel {}", self.profile.version)
    }

    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn fresh(&self, profile: &Profile) -> Box<dyn World> {
        Box::new(ModelWorld::new(profile.clone(), self.model.clone()))
    }
}

/// The model, fresh for one body.
#[derive(Debug)]
pub struct ModelWorld {
    profile: Profile,
    kernel: mm::Kernel,
    runner: mm::Runner,
    cast: Vec<Member>,
}

/// A process and its threads; threads lost to an exec are gone from the list.
#[derive(Debug)]
struct Member {
    process: mm::ProcessId,
    actors: Vec<Actor>,
}

#[derive(Debug)]
struct Actor {
    thread: mm::ThreadId,
    call: Option<mm::Call<Ending>>,
    /// What it is doing, for a report.
    doing: String,
}

/// How an operation ended.
#[derive(Debug)]
enum Ending {
    /// As it says.
    Done(Done),
    /// With a child whose first thread this is.
    Forked(mm::ThreadId),
    /// With the program replaced; other threads are gone.
    Replaced,
}

impl ModelWorld {
    /// Makes a world without processes.
    #[must_use]
    pub fn new(profile: Profile, model: mm::Profile) -> ModelWorld {
        let kernel = mm::Kernel::new(model);
        let runner = mm::Runner::new(kernel.clone(), mm::Choice::Straight);
        ModelWorld { profile, kernel, runner, cast: Vec::new() }
    }

    /// Begins calls at once and lets them race as a search says.
    ///
    /// # Errors
    /// [`Failure::Broken`] when a thread is in a call or does not exist.
    pub fn race(&mut self, calls: Vec<(Thread, Call)>, trial: &mut mm::Trial) -> Verdict {
        for (who, call) in calls {
            self.begin(who, call)?;
        }
        trial.race(&mut self.runner);
        Ok(())
    }

    /// Begins a call, of which nothing is done yet.
    fn begin(&mut self, who: Thread, call: Call) -> Verdict {
        let actor = self.actor(who)?;
        if actor.call.is_some() {
            return Err(Failure::Broken(format!("{who:?} is in a call: {}", actor.doing)));
        }
        let thread = actor.thread;
        let doing = format!("{call:?}").chars().take(80).collect();
        let remote = match call {
            Call::RemoteLoad { of, .. } => Some(self.member(of)?.process),
            _ => None,
        };
        let operation = calls::carry_out(self.kernel.clone(), thread, call, remote);
        let under_way = self.runner.start(thread, operation);
        let actor = self.actor(who)?;
        actor.call = Some(under_way);
        actor.doing = doing;
        Ok(())
    }

    fn enter(&mut self, thread: mm::ThreadId) -> Verdict<Process> {
        let number = u32::try_from(self.cast.len()).map_err(|e| broken(&e))?;
        let process = self.kernel.process_of(thread);
        self.cast.push(Member { process, actors: vec![Actor::new(thread)] });
        Ok(Process(number))
    }

    fn member(&mut self, process: Process) -> Verdict<&mut Member> {
        let index = usize::try_from(process.0).unwrap_or(usize::MAX);
        let member = self.cast.get_mut(index);
        member.ok_or_else(|| Failure::Broken(format!("{process:?} does not exist")))
    }

    fn actor(&mut self, who: Thread) -> Verdict<&mut Actor> {
        let index = usize::try_from(who.index).unwrap_or(usize::MAX);
        let actor = self.member(who.process)?.actors.get_mut(index);
        actor.ok_or_else(|| Failure::Broken(format!("{who:?} does not exist")))
    }

    fn find(&self, who: Thread) -> Option<&Actor> {
        let member = self.cast.get(usize::try_from(who.process.0).ok()?)?;
        member.actors.get(usize::try_from(who.index).ok()?)
    }

    /// Tells what an ended operation came to.
    fn conclude(&mut self, who: Thread, ending: Ending) -> Verdict<Done> {
        let value = |value: u64| Done { result: Ok(value), bytes: Vec::new() };
        match ending {
            Ending::Done(done) => Ok(done),
            Ending::Forked(thread) => Ok(value(self.enter(thread)?.0.into())),
            Ending::Replaced => {
                self.member(who.process)?.actors.truncate(1);
                Ok(value(0))
            }
        }
    }
}

impl Actor {
    fn new(thread: mm::ThreadId) -> Actor {
        Actor { thread, call: None, doing: "nothing".into() }
    }
}

impl World for ModelWorld {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn spawn(&mut self) -> Verdict<Thread> {
        let thread = self.kernel.spawn();
        Ok(Thread::first_of(self.enter(thread)?))
    }

    fn spawn_thread(&mut self, beside: Thread) -> Verdict<Thread> {
        let beside_it = self.actor(beside)?.thread;
        let thread = self.kernel.spawn_thread(beside_it);
        let actors = &mut self.member(beside.process)?.actors;
        let index = u32::try_from(actors.len()).map_err(|e| broken(&e))?;
        actors.push(Actor::new(thread));
        Ok(Thread { process: beside.process, index })
    }

    fn start(&mut self, who: Thread, call: Call) -> Verdict {
        self.begin(who, call)?;
        self.runner.run();
        Ok(())
    }

    fn settle(&mut self, who: Thread) -> Verdict<Option<Done>> {
        self.runner.run();
        let actor = self.actor(who)?;
        let Some(call) = &actor.call else {
            return Err(Failure::Broken(format!("{who:?} is in no call")));
        };
        let Some(ending) = call.take() else { return Ok(None) };
        actor.call = None;
        self.conclude(who, ending).map(Some)
    }

    fn describe(&self, who: Thread) -> String {
        self.find(who).map_or_else(|| format!("{who:?} is gone"), |actor| actor.doing.clone())
    }

    fn interrupt(&mut self, who: Thread) -> Verdict {
        let thread = self.actor(who)?.thread;
        self.kernel.interrupt(thread);
        self.runner.run();
        Ok(())
    }

    fn kill(&mut self, process: Process) -> Verdict {
        let member = self.member(process)?;
        let id = member.process;
        let Some(thread) = member.actors.first().map(|actor| actor.thread) else { return Ok(()) };
        member.actors.clear();
        self.kernel.kill(id);
        self.runner.run();
        let kernel = self.kernel.clone();
        let _over = self.runner.start(thread, async move { kernel.exit(id).await });
        self.runner.run();
        Ok(())
    }

    fn pass(&mut self, from: Thread, fd: Fd, to: Thread) -> Verdict<Fd> {
        let (from, to) = (self.actor(from)?.thread, self.actor(to)?.thread);
        let passed = self.kernel.pass(from, fd.0, to);
        passed.map(Fd).map_err(|errno| Failure::Broken(format!("descriptor not passed: {errno}")))
    }

    fn page_kind(&mut self, who: Thread, at: u64) -> Option<mm::PageKind> {
        let thread = self.find(who)?.thread;
        Some(self.kernel.page_kind(thread, Va(at)))
    }

    fn thread_id(&self, who: Thread) -> u32 {
        self.find(who).map_or(0, |actor| self.kernel.thread_number(actor.thread))
    }
}

/// What a model can do, asked of it where it can be asked.
fn probe(model: &mm::Profile) -> Verdict<Profile> {
    let mut profile = Profile {
        version: model.version,
        page_size: model.page().0,
        closed: None,
        features: 0,
        api_ioctls: 0,
        privileged: true,
        unprivileged_allowed: model.unprivileged_allowed,
        has_device: true,
        transparent_huge_page: model.transparent_huge_page.map(|size| size.bytes().0),
        hugetlb_page: model.hugetlb.map(|(size, _)| size.bytes().0),
        has_swap: model.swap_slots > 0,
        has_regular_files: true,
        has_memory_failure: model.has_memory_failure,
        has_scan: model.has_scan,
        has_pinning: true,
        places_heap: true,
    };
    let mut world = ModelWorld::new(profile.clone(), model.clone());
    let who = world.spawn()?;
    let mut call = |call: Call| -> Verdict<Done> {
        world.start(who, call)?;
        let blocked = || Failure::Broken("a probe blocks".into());
        world.settle(who)?.ok_or_else(blocked)
    };
    let opened = call(Call::Userfaultfd { flags: 0 })?.result;
    let fd = opened.map_err(|stop| Failure::Broken(format!("userfaultfd: {stop:?}")))?;
    let fd = Fd(u32::try_from(fd).map_err(|e| broken(&e))?);
    let argument = UffdioApi { api: UFFD_API, ..UffdioApi::default() }.to_bytes().to_vec();
    let done = call(Call::Ioctl { fd, request: UFFDIO_API, argument })?;
    if let Ok(bytes) = <[u8; 24]>::try_from(done.bytes) {
        let api = UffdioApi::from_bytes(bytes);
        profile.features = api.features;
        profile.api_ioctls = api.ioctls;
    }
    Ok(profile)
}

fn refused(errno: mm::Errno) -> Stop {
    Stop::Refused(Errno(errno.0))
}

fn broken(error: &dyn std::error::Error) -> Failure {
    Failure::Broken(error.to_string())
}
