//! A fault that waits for its resolution.
//!
//! # Concurrency
//! The fault queues itself first and looks at the page table again afterwards: a page that came
//! before the queueing is seen, and who brings one later finds the fault in the queue.

use faultless_pages::Va;
use faultless_uapi::event::fault_flag;
use faultless_uapi::feature::{FEATURE_EXACT_ADDRESS, FEATURE_SIGBUS, FEATURE_THREAD_ID};
use faultless_uapi::{PagefaultArg, UffdMsg};

use crate::id::{ContextId, ThreadId};
use crate::kernel::{Guard, Kernel, State};
use crate::op::{Access, Fault, From};
use crate::process::{Area, Entry, Marker, number_of};
use crate::sched::{On, Point};
use crate::userfaultfd::Waiter;

/// Why a fault is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is no page.
    Missing,
    /// The object has the page, the page table does not.
    Minor,
    /// A store met write-protection.
    WriteProtected,
    /// An access met read-write-protection.
    Closed,
}

impl Reason {
    fn flag(self) -> u64 {
        match self {
            Reason::Missing => 0,
            Reason::Minor => fault_flag::MINOR,
            Reason::WriteProtected => fault_flag::WP,
            Reason::Closed => fault_flag::RWP,
        }
    }
}

impl Kernel {
    /// Reports a fault and waits until it is woken. The area's lock is given back before the
    /// sleep; whatever was locked inside it must have been given back before.
    pub(crate) async fn userfault(
        &self,
        access: &Access,
        area: &Area,
        guard: Guard,
        reason: Reason,
    ) -> Fault {
        let Some(registration) = area.registration else { return Fault::Bus };
        let id = registration.context;
        if let Some(end) = self.state().refuses_userfault(access, id) {
            return end;
        }
        self.state().contexts[id].faulting += 1;
        let end = self.report_fault(access, area, guard, reason, id).await;
        let mut state = self.state();
        state.contexts[id].faulting -= 1;
        state.forget_context(id);
        end
    }

    async fn report_fault(
        &self,
        access: &Access,
        area: &Area,
        guard: Guard,
        reason: Reason,
        id: ContextId,
    ) -> Fault {
        if self.state().contexts[id].released {
            guard.release().await;
            self.wait_for_release(id).await;
            return Fault::Retry;
        }
        let ticket = self.state().queue_fault(access, area, id, reason);
        self.pause(Point::Recheck).await;
        let must_wait = self.state().must_wait(access, area, reason);
        guard.release().await;
        if must_wait && self.state().sleeps(access.thread, id, ticket) {
            self.tasks().wake(On::Message(id));
            self.wait(On::Fault(id, ticket)).await;
        }
        let mut state = self.state();
        state.dequeue_fault(id, ticket);
        let thread = &mut state.threads[access.thread];
        thread.signalled = false;
        if thread.dying { Fault::Killed } else { Fault::Retry }
    }

    /// Waits until a userfaultfd that is being closed has let its memory go. The kernel tries the
    /// access again and again until then.
    async fn wait_for_release(&self, id: ContextId) {
        while !self.state().contexts[id].let_go {
            self.wait(On::LetGo(id)).await;
        }
    }
}

impl State {
    /// How a fault ends that cannot be reported.
    fn refuses_userfault(&self, access: &Access, id: ContextId) -> Option<Fault> {
        let context = &self.contexts[id];
        let in_kernel = access.from != From::User;
        if self.threads[access.thread].dying {
            Some(Fault::Killed)
        } else if context.has(FEATURE_SIGBUS) || (in_kernel && context.is_user_mode_only()) {
            Some(Fault::Bus)
        } else {
            None
        }
    }

    fn queue_fault(&mut self, access: &Access, area: &Area, id: ContextId, reason: Reason) -> u64 {
        let ticket = self.new_ticket();
        let write = if access.write { fault_flag::WRITE } else { 0 };
        let context = &self.contexts[id];
        let page = self.page_at(area, access.at);
        // Who works on whole pages names their first address.
        let whole = access.from == From::Pages;
        let exact = if whole { access.at.align_down(self.profile.page_size) } else { access.at };
        let wants_exact = context.has(FEATURE_EXACT_ADDRESS);
        let named = context.has(FEATURE_THREAD_ID);
        let message = UffdMsg::from_pagefault(PagefaultArg {
            flags: write | reason.flag(),
            address: if wants_exact { exact.0 } else { page.0 },
            ptid: if named { number_of(access.thread) } else { 0 },
        });
        self.contexts[id].pending.push_back(Waiter { ticket, message });
        ticket
    }

    /// The first address of the page at an address, which in hugetlb memory is a huge one.
    pub(crate) fn page_at(&self, area: &Area, at: Va) -> Va {
        at.align_down(self.page_of(area))
    }

    /// Says whether the page table still gives a reason to wait.
    fn must_wait(&self, access: &Access, area: &Area, reason: Reason) -> bool {
        if self.profile.bugs.lost_wake {
            return true;
        }
        let entry = self.entry(access.space, self.page_at(area, access.at));
        match (entry, reason) {
            (None | Some(Entry::Marker(Marker::WriteProtected)), _) => true,
            (Some(Entry::Present(mapped)), Reason::WriteProtected) => !mapped.writable,
            (Some(Entry::Zero { .. }), Reason::WriteProtected) => true,
            (Some(Entry::Present(_) | Entry::Zero { .. }), Reason::Closed) => {
                self.is_closed(access, area)
            }
            _ => false,
        }
    }

    /// Says whether a queued fault still has to sleep: nobody has woken it, and no signal came.
    fn sleeps(&self, thread: ThreadId, id: ContextId, ticket: u64) -> bool {
        let thread = &self.threads[thread];
        let context = &self.contexts[id];
        let mut queued = context.pending.iter().chain(&context.delivered);
        !thread.signalled && !thread.dying && queued.any(|waiter| waiter.ticket == ticket)
    }

    fn dequeue_fault(&mut self, id: ContextId, ticket: u64) {
        let context = &mut self.contexts[id];
        context.pending.retain(|waiter| waiter.ticket != ticket);
        context.delivered.retain(|waiter| waiter.ticket != ticket);
    }
}
