//! One run: a program and its pager, what happens to them by chance, and its end.
//!
//! # Invariants
//! - A run is a function of its seed and the pager's flaw.

use std::fmt;
use std::rc::Rc;

use faultless_mm::{ProcessId, Usage};
use faultless_pages::{Bytes, Va, VaRange};
use faultless_paging::core::{Ending, Event};
use faultless_paging::page::PageRun;
use faultless_paging::port::{Request, Supply};

use super::Flaw;
use super::port::Port;
use super::program::Birth;
use super::scene::Scene;
use super::served::REGION;
use crate::check::{Finding, Step, check};
use crate::random::{Odds, Random};
use crate::swarm::{Fault, Swarm};

/// Most steps one deed may take: many times what any took in a run without flaws.
pub(super) const PATIENCE: Step = 30_000;
/// A run that takes more steps than this does not end by itself.
const STEPS_MAX: Step = 90_000;

/// What happens to a pager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// It is to bring what is missing, and let go.
    Complete,
    /// The program is killed.
    Die,
    /// The workers are killed, and others take over.
    Replace,
    /// The workers are to let others go on.
    HandOver,
}

impl Order {
    pub(super) fn draw(random: &mut Random) -> Order {
        let orders = [Order::Complete, Order::Die, Order::Replace, Order::HandOver];
        random.pick(&orders).copied().unwrap_or(Order::Complete)
    }
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How many steps it took.
    pub steps: Step,
    /// What kind of run it was.
    pub kind: String,
    /// The rules that were broken.
    pub findings: Vec<Finding>,
    /// Who went on when, and what was done, if it was recorded.
    pub interleaving: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "SEED={} ({}), {} steps", self.seed, self.kind, self.steps)?;
        if let Some(interleaving) = &self.interleaving {
            writeln!(f, "{interleaving}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, flaw: Option<Flaw>) -> Report {
    Scene::new(seed, flaw).play(false)
}

/// Runs a seed once more and records who went on when.
#[must_use]
pub fn replay(seed: u64, flaw: Option<Flaw>) -> Report {
    Scene::new(seed, flaw).play(true)
}

impl Scene {
    /// Lets everybody go on until all have ended, or nobody can, or it takes too long.
    fn play(mut self, record: bool) -> Report {
        if record {
            self.play.runner.record();
        }
        let kind = self.kind();
        let mut steps = 0;
        while steps <= STEPS_MAX && !self.is_over() {
            self.interfere(steps);
            // Nobody can go on, and nothing is due: whoever still runs waits for ever. Looked at
            // before the end of serving lets everybody go.
            let stuck = !self.play.advance(&self.environment);
            if stuck && (self.programs_running.get() > 0 || !self.finishes()) {
                break;
            }
            steps = self.play.steps();
            for history in &self.histories {
                history.borrow_mut().now = steps;
            }
        }
        let over = self.is_over();
        let mut findings = self.findings(over);
        if over {
            findings.extend(self.leaks());
            // What the memory manager keeps twice must agree, whatever its users do.
            let contradiction = self.kernel.audit().err();
            findings.extend(contradiction.map(|what| Finding { checker: "audit", what }));
        }
        let interleaving = record.then(|| self.story());
        Report { seed: self.seed, steps, kind, findings, interleaving }
    }

    /// Says whether somebody can go on now that no program runs.
    fn finishes(&mut self) -> bool {
        self.interfere(0);
        self.play.advance(&self.environment) || self.is_over()
    }

    fn kind(&self) -> String {
        let source = self.pool.source.borrow();
        format!("{:?}, {:?}, {source:?}, {}", self.cast, self.turn, Swarm::clone(&self.swarm))
    }

    fn findings(&mut self, over: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (number, history) in self.histories.iter().enumerate() {
            let found = check(&history.borrow());
            // What was under way when a child was forked never ends for the child.
            findings.extend(
                found.into_iter().filter(|found| number == 0 || found.checker != "liveness"),
            );
        }
        if !over {
            let what = format!("{} threads wait for ever", self.programs_running.get());
            findings.insert(0, Finding { checker: "liveness", what });
        }
        findings
    }

    fn story(&self) -> String {
        let trace = self.play.runner.trace().map(ToString::to_string).unwrap_or_default();
        let histories = self.histories.iter().map(|history| history.borrow().to_string());
        let cores =
            self.pool.all().into_iter().map(|served| format!("{:?}\n", served.core.borrow()));
        histories.chain(cores).fold(trace, |story, part| format!("{story}\n{part}"))
    }

    fn is_over(&self) -> bool {
        self.programs_running.get() == 0 && self.pagers_running.get() == 0
    }

    /// Does what happens by chance before this step.
    fn interfere(&mut self, now: Step) {
        self.welcome();
        let moving = self.pool.all().iter().any(|served| served.memory.moving.get());
        if self.programs_running.get() == 0 {
            self.finish();
        } else if let Some((_, order)) = self.turn.take_if(|(step, _)| *step <= now && !moving) {
            self.carry_out(order, now);
        }
        let gone = self.pool.stopped.get() && self.pagers_running.get() == 0;
        if gone && self.programs_running.get() > 0 && !self.dead.get() {
            self.replace();
        }
        // The odds are meant for deeds, of which each takes many steps.
        let may = self.random.happens(Odds::one_in(32));
        let strikes = self.swarm.strikes(Fault::Signal, &mut self.random);
        let who = self.random.pick(&self.programs).copied();
        if let (true, true, Some(who)) = (may, strikes, who) {
            self.kernel.interrupt(who);
        }
        if may && self.random.happens(Odds::one_in(8)) {
            self.ask_something();
        }
        self.let_lay_down();
    }

    /// Wishes for pages, or has some dropped.
    fn ask_something(&mut self) {
        let (region, drops) = (REGION, self.random.happens(Odds::one_in(2)));
        let first = self.random.below(self.cast.pages);
        let pages = PageRun::new(first, self.random.within(1..=self.cast.pages - first));
        // A child is single-threaded when it is served: who dropped its pages would be its parent.
        let Some(served) = self.pool.all().first().cloned() else { return };
        if served.ended.get() || self.dead.get() || self.completing {
            return;
        }
        if self.cast.rival && self.random.happens(Odds::one_in(2)) {
            return self.let_rival_install(pages.first.0);
        }
        // Nobody drops pages of another process.
        let event = match drops && self.cast.own && !self.cast.shared {
            true => Event::Evict { region, pages },
            false => Event::Wish { region, pages },
        };
        served.step(&self.pool.clone(), event);
    }

    /// Has somebody else put a page there that holds what its source has.
    fn let_rival_install(&mut self, page: u64) {
        let Some(served) = self.pool.all().first().cloned() else { return };
        let word = self.pool.source.borrow().words.get(usize::try_from(page).unwrap_or(0)).copied();
        if self.rival_is_busy.replace(true) {
            return;
        }
        let busy = Rc::clone(&self.rival_is_busy);
        let (who, (_, fd)) = (self.rival, served.kept);
        let (kernel, staging) = (self.kernel.clone(), self.rival_page);
        let (at, page_bytes) = (served.memory.at(page), served.memory.page_bytes);
        let (running, protect) = (Rc::clone(&self.pagers_running), served.tracked);
        self.start(who, running, async move {
            let word = word.unwrap_or(0).to_ne_bytes();
            // Only a kill ends a store to one's own memory.
            let _ = kernel.store(who, Va(staging), &word).await;
            let range = VaRange::of(Va(at), Bytes(page_bytes));
            let request = Request::Copy { range, from: Supply::Zeros, protect, wake: false };
            // Whatever comes of it: it may be there by now, or all be over.
            let _ = Port { kernel, who, fd }.perform(&request, staging).await;
            busy.set(false);
        });
    }

    fn carry_out(&mut self, order: Order, now: Step) {
        match order {
            Order::Complete => {
                for served in self.pool.all() {
                    served.memory.settled.set(true);
                }
                self.tell_all(&mut || Event::End(Ending::Complete));
            }
            Order::Die => self.kill_programs(),
            // Threads of the program's process do not die alone.
            Order::HandOver | Order::Replace if self.cast.own || order == Order::HandOver => {
                self.tell_all(&mut || Event::End(Ending::HandOver));
            }
            Order::HandOver | Order::Replace => {
                let process = self.kernel.process_of(self.pager);
                self.dismiss();
                self.kernel.kill(process);
            }
        }
        if matches!(order, Order::HandOver | Order::Replace) {
            let again = if self.random.happens(Odds::one_in(2)) { Order::Complete } else { order };
            self.turn = Some((now + self.random.within(1..=1500), again));
        }
    }

    fn tell_all(&mut self, event: &mut dyn FnMut() -> Event<'static>) {
        for served in self.pool.all() {
            served.step(&self.pool, event());
        }
    }

    fn kill_programs(&mut self) {
        self.dead.set(true);
        for process in self.processes() {
            self.kernel.kill(process);
        }
        if self.cast.own {
            self.dismiss();
        }
    }

    /// The processes of programs: the first, and its children.
    fn processes(&self) -> Vec<ProcessId> {
        // A child that was born when serving had ended is nobody's.
        let unserved = self.births.borrow().iter().map(|birth| birth.thread).collect::<Vec<_>>();
        let children = self.children.iter().copied().chain(unserved);
        let all = std::iter::once(self.client).chain(children);
        all.map(|thread| self.kernel.process_of(thread)).collect()
    }

    /// Serves children that were born.
    fn welcome(&mut self) {
        self.close_inherited();
        if self.births.borrow().is_empty() || self.pool.born.borrow().is_empty() {
            return;
        }
        let birth = self.births.borrow_mut().remove(0);
        let Some((child, core)) = self.pool.born.borrow_mut().pop_front() else { return };
        let memory = Rc::new(birth.memory);
        self.histories.push(Rc::clone(&memory.history));
        self.children.push(birth.thread);
        let fd = u32::try_from(child).expect("a descriptor");
        let kept = self.kernel.pass(self.pager, fd, self.supervisor).expect("a number is left");
        self.take_on(&memory, core, fd, (self.supervisor, kept), birth.thread);
        let number = 10 + self.children.len() as u64;
        let program = self.program(birth.thread, number, &memory);
        self.start_program(birth.thread, program);
    }

    /// Closes what children inherited of a pager in their parent: as long as they have it, nobody's
    /// end lets their parent's memory go.
    fn close_inherited(&mut self) {
        let fresh: Vec<_> = self.births.borrow_mut().iter_mut().filter_map(Birth::clean).collect();
        let fds: Vec<u32> = self.pool.all().iter().map(|served| served.fd.get()).collect();
        for (child, fd) in
            fresh.into_iter().flat_map(|child| fds.iter().map(move |fd| (child, *fd)))
        {
            let kernel = self.kernel.clone();
            // EBADF: the pager has a process of its own.
            let _ = self.now(async move { kernel.close(child, fd).await });
        }
    }

    /// Ends serving once no program runs.
    fn finish(&mut self) {
        if self.pool.stopped.get() {
            return;
        }
        if self.dead.get() && !self.client_gone() {
            return;
        }
        let mut open = false;
        for served in self.pool.all() {
            open |= !served.closed.get();
            if self.dead.get() && !served.ended.get() {
                served.step(&self.pool, Event::Dead);
            } else if !served.ended.get() && !self.completing {
                served.step(&self.pool, Event::End(Ending::Complete));
            }
        }
        self.completing = true;
        if !open {
            self.dismiss();
        }
    }

    /// Ends the processes of programs that were killed; says whether they have ended. A request of
    /// the pager that is at their memory keeps it until it is done.
    fn client_gone(&mut self) -> bool {
        if !self.exited {
            self.exited = true;
            for process in self.processes() {
                let kernel = self.kernel.clone();
                let running = Rc::clone(&self.exiting);
                self.start(self.client, running, async move { kernel.exit(process).await });
            }
        }
        self.exiting.get() == 0
    }

    /// Ends every process, and counts what they leave behind.
    fn leaks(&mut self) -> Option<Finding> {
        let mut others = if self.exited { Vec::new() } else { self.processes() };
        others.push(self.kernel.process_of(self.supervisor));
        if !self.cast.own {
            others.push(self.kernel.process_of(self.pager));
        }
        for process in others {
            let kernel = self.kernel.clone();
            self.now(async move { kernel.exit(process).await });
        }
        let Usage { frames, files, waiting, .. } = self.kernel.usage();
        let left = [("frames", frames), ("open files", files), ("waiting faults", waiting)];
        let (what, count) = left.into_iter().find(|(_, count)| *count > 0)?;
        Some(Finding { checker: "leak", what: format!("{count} {what} are left") })
    }
}
