//! FORK, REMAP, REMOVE, UNMAP: a thread that changes memory tells so and waits until it is read.
//!
//! Raising an event counts in the context, under the lock that filling holds shared, so that no
//! page comes between the two. The thread itself lowers the count, some time after its event was
//! read.

use alloc::vec::Vec;

use faultless_pages::{Va, VaRange};
use faultless_uapi::feature::{
    FEATURE_EVENT_FORK, FEATURE_EVENT_REMAP, FEATURE_EVENT_REMOVE, FEATURE_EVENT_UNMAP,
};
use faultless_uapi::{RemapArg, RemoveArg, UffdMsg, event};

use crate::id::{ContextId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::process::Area;
use crate::sched::{Lock, Mode, On};
use crate::userfaultfd::{Event, Userfaultfd};

/// An event that was raised and is still to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcement {
    pub(crate) context: ContextId,
    pub(crate) message: UffdMsg,
    pub(crate) child: Option<ContextId>,
}

impl Kernel {
    /// Notes that memory of a userfaultfd is about to change.
    async fn raise(&self, id: ContextId) {
        let guard = self.lock(Lock::Changing(id), Mode::Exclusive).await;
        self.state().contexts[id].changing += 1;
        guard.release().await;
    }

    /// Notes that a change is over.
    fn lower(&self, id: ContextId) {
        let mut state = self.state();
        state.contexts[id].changing -= 1;
        state.forget_context(id);
    }

    /// Raises REMOVE of a range of an area, if it is to be told.
    pub(crate) async fn raise_remove(&self, area: &Area, range: VaRange) -> Option<Announcement> {
        let context = self.state().listener(area, FEATURE_EVENT_REMOVE)?;
        self.raise(context).await;
        let message = UffdMsg::from_remove(event::REMOVE, arg(range));
        Some(Announcement { context, message, child: None })
    }

    /// Raises UNMAP of a range for every userfaultfd of the areas before `end` that is to be told,
    /// once for each.
    pub(crate) async fn raise_unmap(
        &self,
        space: SpaceId,
        range: VaRange,
        end: Va,
    ) -> Vec<Announcement> {
        let mut contexts: Vec<ContextId> = Vec::new();
        {
            let state = self.state();
            for area in state.spaces[space].areas.within(VaRange::new(range.start(), end)) {
                let listener = state.listener(area, FEATURE_EVENT_UNMAP);
                contexts.extend(listener.filter(|listener| !contexts.contains(listener)));
            }
        }
        let mut raised = Vec::new();
        for context in contexts {
            self.raise(context).await;
            let message = UffdMsg::from_remove(event::UNMAP, arg(range));
            raised.push(Announcement { context, message, child: None });
        }
        raised
    }

    /// Raises REMAP of an area, if it is to be told.
    pub(crate) async fn raise_remap(&self, area: &Area, remap: RemapArg) -> Option<Announcement> {
        let context = self.state().listener(area, FEATURE_EVENT_REMAP)?;
        self.raise(context).await;
        Some(Announcement { context, message: UffdMsg::from_remap(remap), child: None })
    }

    /// Raises FORK of an area's userfaultfd, if it is to be told: a userfaultfd of the child's
    /// memory is made for it.
    pub(crate) async fn raise_fork(&self, area: &Area, child: SpaceId) -> Option<Announcement> {
        let context = self.state().listener(area, FEATURE_EVENT_FORK)?;
        self.raise(context).await;
        let mut state = self.state();
        let Userfaultfd { flags, features, .. } = state.contexts[context];
        let heir = Userfaultfd { features, ..Userfaultfd::new(child, flags) };
        let heir = state.add_context(heir);
        let message = UffdMsg::from_fork(0);
        Some(Announcement { context, message, child: Some(heir) })
    }

    /// Takes raised events back that nobody is to be told of, for what they announce failed.
    pub(crate) async fn take_back(&self, raised: Vec<Announcement>) {
        for Announcement { context, child, .. } in raised {
            if let Some(child) = child {
                self.release_userfaultfd(child).await;
            }
            self.lower(context);
        }
    }

    /// Tells a raised event and waits until it is read, or nobody is left to read it.
    pub(crate) async fn announce(&self, who: ThreadId, announcement: Announcement) {
        let Announcement { context: id, message, child } = announcement;
        let ticket = {
            let mut state = self.state();
            let ticket = state.new_ticket();
            state.contexts[id].events.push_back(Event { ticket, message, child });
            ticket
        };
        self.tasks().wake(On::Message(id));
        while self.state().must_tell(who, id, ticket) {
            self.wait(On::Event(id, ticket)).await;
        }
        let untold = self.state().withdraw(id, ticket);
        if let (true, Some(child)) = (untold, child) {
            self.release_userfaultfd(child).await;
        }
        self.lower(id);
    }
}

impl State {
    /// The userfaultfd of an area, if it wants to be told of this.
    fn listener(&self, area: &Area, feature: u64) -> Option<ContextId> {
        let context = area.registration?.context;
        self.contexts[context].has(feature).then_some(context)
    }

    fn must_tell(&self, who: ThreadId, id: ContextId, ticket: u64) -> bool {
        let context = &self.contexts[id];
        let unread = context.events.iter().any(|event| event.ticket == ticket);
        unread && !context.released && !self.threads[who].dying
    }

    /// Takes an event back; says whether it was still unread.
    fn withdraw(&mut self, id: ContextId, ticket: u64) -> bool {
        let events = &mut self.contexts[id].events;
        let before = events.len();
        events.retain(|event| event.ticket != ticket);
        events.len() < before
    }
}

fn arg(range: VaRange) -> RemoveArg {
    RemoveArg { start: range.start().0, end: range.end().0 }
}
