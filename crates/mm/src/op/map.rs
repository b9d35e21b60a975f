//! `mmap`.

use faultless_pages::{Bytes, Va, VaRange};

use crate::errno::{EACCES, EINVAL, ENOMEM, Errno};
use crate::id::{SpaceId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::{Kind, Object};
use crate::process::{Area, Backing, Protection, TASK_END, Traits};
use crate::sched::{Lock, Mode};

/// What lies behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing.
    Anonymous,
    /// Pages of the hugetlb pool.
    Hugetlb,
    /// An open object.
    Descriptor {
        /// Its descriptor.
        fd: u32,
        /// Where the mapping begins in it.
        offset: u64,
    },
}

/// What to map, and where.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
pub struct MapRequest {
    /// Where, if it is `fixed`.
    pub at: Va,
    /// Exactly there, over what is there.
    pub fixed: bool,
    /// Bytes.
    pub len: Bytes,
    /// What accesses it allows.
    pub protection: Protection,
    /// Stores are seen by every mapping of the object.
    pub shared: bool,
    /// The kernel may drop its pages at any time.
    pub droppable: bool,
    /// A stack: an area apart from others, which does not grow by itself here.
    pub grows_down: bool,
    /// What lies behind it.
    pub behind: Behind,
}

impl MapRequest {
    /// Private memory with nothing behind it, to load and store, anywhere.
    #[must_use]
    pub fn anonymous(len: Bytes) -> MapRequest {
        MapRequest {
            at: Va(0),
            fixed: false,
            len,
            protection: Protection::READ_WRITE,
            shared: false,
            droppable: false,
            grows_down: false,
            behind: Behind::Anonymous,
        }
    }
}

impl Kernel {
    /// `mmap(2)`. Returns the address.
    ///
    /// # Errors
    /// EINVAL, EBADF, EACCES for what was not opened for it, ENOMEM where there is no room.
    pub async fn map(&self, who: ThreadId, request: MapRequest) -> Result<Va, Errno> {
        let page = self.state().profile.page_size;
        let len = Bytes(request.len.0.checked_next_multiple_of(page.bytes().0).ok_or(ENOMEM)?);
        if len.0 == 0 {
            return Err(EINVAL);
        }
        if request.droppable && !self.state().profile.has_droppable {
            return Err(EINVAL);
        }
        let space = self.state().space_of(who);
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        self.state().may_map(space, &request, len)?;
        let draft = self.state().draft(who, &request, len)?;
        let mut told = alloc::vec::Vec::new();
        let room = if request.fixed {
            self.remove_range(space, draft.range, &mut told).await
        } else {
            Ok(())
        };
        let mapped = self.state().enter_draft(space, draft, room);
        map.release().await;
        self.announce_all(who, told).await;
        mapped.map(|()| draft.range.start())
    }

    /// Finds a page the kernel itself has mapped, of raw frames; maps it the first time.
    ///
    /// # Errors
    /// ENOMEM where there is no room.
    pub fn special_memory(&self, who: ThreadId) -> Result<Va, Errno> {
        let mut state = self.state();
        let space = state.space_of(who);
        let special =
            state.spaces[space].areas.all().find(|area| area.kind() == Some(Kind::Special));
        if let Some(area) = special {
            return Ok(area.range.start());
        }
        let page = state.profile.page_size;
        let start = state.spaces[space].areas.gap(page.bytes(), page).ok_or(ENOMEM)?;
        let object = state.machine.objects.insert(Object::new(Kind::Special, page.bytes().0));
        let id = state.new_area();
        state.spaces[space].areas.insert(Area {
            id,
            range: VaRange::of(start, page.bytes()),
            protection: Protection::READ,
            may_write: true,
            shared: false,
            backing: Backing::Object { object, kind: Kind::Special },
            linear: 0,
            root: None,
            inherited: false,
            traits: Traits::default(),
            registration: None,
        });
        Ok(start)
    }
}

impl State {
    /// Checks that an address space can have one more area, and one less where it goes.
    fn may_map(&self, space: SpaceId, request: &MapRequest, len: Bytes) -> Result<(), Errno> {
        if self.spaces[space].areas.count() > self.profile.areas {
            return Err(ENOMEM);
        }
        match self.page_range(request.at, len) {
            Ok(range) if request.fixed => self.may_unmap(space, range),
            _ => Ok(()),
        }
    }

    /// Adds an area where there is room, or lets its object go. Only now hugetlb memory looks at
    /// the offset: what was mapped there is gone already. It grows to what is mapped for writing.
    fn enter_draft(
        &mut self,
        space: SpaceId,
        draft: Area,
        room: Result<(), Errno>,
    ) -> Result<(), Errno> {
        let fits = Va(draft.linear).is_aligned(self.page_of(&draft));
        let entered = room.and(if fits { Ok(()) } else { Err(EINVAL) });
        if let Some(object) = draft.object() {
            if entered.is_err() {
                self.machine.put_object(object);
            } else if draft.is_hugetlb() && draft.protection.write {
                let size = &mut self.machine.objects[object].size;
                *size = (*size).max(draft.linear + draft.range.len().0);
            }
        }
        entered?;
        self.spaces[space].areas.insert(draft);
        self.merge_areas(space, draft.range);
        Ok(())
    }

    /// The area a request asks for; its object is counted. Memory of the hugetlb pool is rounded up
    /// to its pages.
    fn draft(&mut self, who: ThreadId, request: &MapRequest, len: Bytes) -> Result<Area, Errno> {
        let page = self.profile.page_size;
        let (backing, offset, may_write) = self.behind(who, request, len)?;
        let align = match backing {
            Backing::Object { kind: Kind::Hugetlb(size), .. } => size,
            _ => page,
        };
        let len = Bytes(Va(len.0).align_up(align).0);
        let space = self.space_of(who);
        let placed = if request.fixed {
            let end = request.at.0.checked_add(len.0).ok_or(ENOMEM);
            match end {
                _ if !request.at.is_aligned(align) => Err(EINVAL),
                Ok(end) if end <= TASK_END.0 => Ok(request.at),
                _ => Err(ENOMEM),
            }
        } else {
            self.spaces[space].areas.gap(len, align).ok_or(ENOMEM)
        };
        let start = match (placed, backing) {
            (Ok(start), _) => start,
            (Err(errno), Backing::Object { object, .. }) => {
                self.machine.put_object(object);
                return Err(errno);
            }
            (Err(errno), Backing::Anonymous) => return Err(errno),
        };
        let mut area = Area {
            id: self.new_area(),
            range: VaRange::of(start, len),
            protection: request.protection,
            may_write,
            shared: request.shared,
            backing,
            linear: if backing == Backing::Anonymous { start.0 } else { offset },
            root: None,
            inherited: false,
            traits: Traits {
                droppable: request.droppable,
                grows_down: request.grows_down,
                ..Traits::default()
            },
            registration: None,
        };
        area.traits.charged = area.is_charged_by(request.protection);
        Ok(area)
    }

    /// What lies behind a mapping, counted; where it begins there; whether stores may be allowed.
    fn behind(
        &mut self,
        who: ThreadId,
        request: &MapRequest,
        len: Bytes,
    ) -> Result<(Backing, u64, bool), Errno> {
        let kind = match request.behind {
            Behind::Anonymous if request.shared => Kind::Shmem,
            Behind::Anonymous => return Ok((Backing::Anonymous, 0, true)),
            Behind::Hugetlb => Kind::Hugetlb(self.profile.hugetlb.ok_or(EINVAL)?.0),
            Behind::Descriptor { fd, offset } => {
                return self.behind_descriptor(who, request, fd, offset);
            }
        };
        let object = self.machine.objects.insert(Object::new(kind, len.0));
        Ok((Backing::Object { object, kind }, 0, true))
    }

    fn behind_descriptor(
        &mut self,
        who: ThreadId,
        request: &MapRequest,
        fd: u32,
        offset: u64,
    ) -> Result<(Backing, u64, bool), Errno> {
        let (object, writable) = self.object(who, fd)?;
        if !Va(offset).is_aligned(self.profile.page_size) {
            return Err(EINVAL);
        }
        let Object { kind, sealed, .. } = self.machine.objects[object];
        let may_write = !request.shared || (writable && !sealed);
        let shares = !sealed || self.profile.shares_sealed_objects;
        if request.shared && !may_write && (request.protection.write || !shares) {
            return Err(if sealed { crate::errno::EPERM } else { EACCES });
        }
        self.machine.objects[object].uses += 1;
        Ok((Backing::Object { object, kind }, offset, may_write))
    }
}
