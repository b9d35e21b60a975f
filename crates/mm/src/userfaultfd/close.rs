//! Closing: when the last use of a userfaultfd goes, its memory is let go and who waits goes on.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use crate::errno::Errno;
use crate::id::{ContextId, FileId, SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::process::{Area, FileKind};
use crate::sched::{Lock, Mode, On};

impl Kernel {
    /// `close(2)`.
    ///
    /// # Errors
    /// EBADF.
    pub async fn close(&self, who: ThreadId, fd: u32) -> Result<(), Errno> {
        let file = {
            let mut state = self.state();
            let file = state.file(who, fd)?;
            let process = state.threads[who].process;
            state.processes[process].descriptors.map.remove(&fd);
            file
        };
        self.put_file(file).await;
        Ok(())
    }

    /// Drops one use of an open file; the last one closes it.
    pub(crate) async fn put_file(&self, file: FileId) {
        let closed = {
            let mut state = self.state();
            state.files[file].uses -= 1;
            if state.files[file].uses == 0 { state.files.remove(file) } else { None }
        };
        match closed.map(|file| file.kind) {
            Some(FileKind::Userfaultfd(id)) => self.release_userfaultfd(id).await,
            Some(FileKind::Object { object, .. }) => self.state().machine.put_object(object),
            Some(FileKind::Pins(frames)) => self.state().unpin(&frames),
            Some(FileKind::Device) | None => {}
        }
    }

    /// Ends a userfaultfd: nobody can read it any more.
    ///
    /// Boxed because it may end others in turn: those of children nobody was told of.
    pub(crate) fn release_userfaultfd(
        &self,
        id: ContextId,
    ) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            let space = {
                let mut state = self.state();
                state.contexts[id].released = true;
                state.contexts[id].space
            };
            self.let_go(id, space).await;
            self.state().contexts[id].let_go = true;
            self.tasks().wake(On::LetGo(id));
            self.wake_all(id);
            let events: Vec<u64> =
                self.state().contexts[id].events.iter().map(|event| event.ticket).collect();
            for ticket in events {
                self.tasks().wake(On::Event(id, ticket));
            }
            self.state().forget_context(id);
        })
    }

    /// Unregisters everything, and takes protection off.
    async fn let_go(&self, id: ContextId, space: SpaceId) {
        if self.state().spaces[space].is_dead() {
            return;
        }
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        let owned = self.state().areas_of(id, space);
        for area in owned {
            let guard = self.lock(Lock::Area(area.id), Mode::Exclusive).await;
            if self.state().profile.closing_clears_protection {
                self.clear_protection(space, &area).await;
            }
            let whole = area.range;
            let let_go = self.state().change_areas(space, whole, |area| area.registration = None);
            debug_assert_eq!(let_go, Ok(()), "a whole area is not cut");
            drop(guard);
        }
        map.release().await;
    }
}

impl State {
    fn areas_of(&self, id: ContextId, space: SpaceId) -> Vec<Area> {
        let owned = |area: &&Area| area.registration.is_some_and(|owner| owner.context == id);
        self.spaces[space].areas.all().filter(owned).copied().collect()
    }
}
