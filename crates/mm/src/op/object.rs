//! Objects through their descriptors: making, reading, writing, sealing.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va};

use crate::errno::{EBADF, EBUSY, EINVAL, EPERM, Errno};
use crate::id::{FileId, ObjectId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::machine::{Kind, Object};
use crate::process::FileKind;
use crate::sched::{Lock, Mode};

/// An object to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewObject {
    /// Shared memory.
    Shmem,
    /// Memory of the hugetlb pool.
    Hugetlb,
    /// A file on a disk.
    Regular,
}

impl Kernel {
    /// Makes an object of a size. Returns its descriptor.
    ///
    /// # Errors
    /// EINVAL where there is no hugetlb pool, EMFILE.
    pub fn make_object(&self, who: ThreadId, new: NewObject, size: u64) -> Result<u32, Errno> {
        let process = self.process_of(who);
        let mut state = self.state();
        let kind = match new {
            NewObject::Shmem => Kind::Shmem,
            NewObject::Regular => Kind::Regular,
            NewObject::Hugetlb => Kind::Hugetlb(state.profile.hugetlb.ok_or(EINVAL)?.0),
        };
        state.has_free_number(process)?;
        let object = state.machine.objects.insert(Object::new(kind, size));
        state.install(process, FileKind::Object { object, writable: true }, false, true)
    }

    /// Opens an object again, only for reading. Returns the descriptor.
    ///
    /// # Errors
    /// EBADF, EMFILE.
    pub fn reopen_read_only(&self, who: ThreadId, fd: u32) -> Result<u32, Errno> {
        let process = self.process_of(who);
        let mut state = self.state();
        let (object, _) = state.object(who, fd)?;
        state.has_free_number(process)?;
        state.machine.objects[object].uses += 1;
        state.install(process, FileKind::Object { object, writable: false }, false, true)
    }

    /// Forbids every write to an object from now on.
    ///
    /// # Errors
    /// EBADF, EBUSY while it is mapped for writing.
    pub fn seal(&self, who: ThreadId, fd: u32) -> Result<(), Errno> {
        let mut state = self.state();
        let (object, writable) = state.object(who, fd)?;
        if !writable {
            return Err(EPERM);
        }
        let mapped = state.spaces.iter().any(|(_, space)| {
            space
                .areas
                .all()
                .any(|area| area.object() == Some(object) && area.shared && area.may_write)
        });
        if mapped {
            return Err(EBUSY);
        }
        state.machine.objects[object].sealed = true;
        Ok(())
    }

    /// Keeps an object, and its file open, while a call is at it.
    pub(super) fn hold_object(
        &self,
        who: ThreadId,
        fd: u32,
    ) -> Result<(FileId, ObjectId, bool), Errno> {
        let mut state = self.state();
        let (object, writable) = state.object(who, fd)?;
        let file = state.file(who, fd)?;
        state.files[file].uses += 1;
        Ok((file, object, writable))
    }

    /// `pread(2)` of an object.
    ///
    /// # Errors
    /// EBADF.
    pub async fn read_object(
        &self,
        who: ThreadId,
        fd: u32,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, Errno> {
        let (file, object, _) = self.hold_object(who, fd)?;
        let read = self.read_held(object, offset, len).await;
        self.put_file(file).await;
        read
    }

    async fn read_held(&self, object: ObjectId, offset: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let size = self.state().machine.objects[object].size;
        let len = len.min(size.saturating_sub(offset));
        let mut out = alloc::vec![0; Bytes(len).as_usize()];
        let pieces = self.state().chunks(offset, len);
        for piece in pieces {
            let locked = self.lock_cached(object, piece.page).await?;
            let Some((frame, folio)) = locked else { continue };
            {
                let state = self.state();
                let content = &state.machine.frames[frame].content;
                content.read(piece.within, &mut out[piece.from..piece.to]);
            }
            folio.release().await;
        }
        Ok(out)
    }

    /// `pwrite(2)` to an object, which grows where it must. Returns the bytes written.
    ///
    /// # Errors
    /// EBADF, EPERM for what is sealed, EINVAL for hugetlb memory.
    pub async fn write_object(
        &self,
        who: ThreadId,
        fd: u32,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64, Errno> {
        let (file, object, writable) = self.hold_object(who, fd)?;
        let written =
            if writable { self.write_held(object, offset, bytes).await } else { Err(EBADF) };
        self.put_file(file).await;
        written
    }

    async fn write_held(&self, object: ObjectId, offset: u64, bytes: &[u8]) -> Result<u64, Errno> {
        let file = self.lock(Lock::File(object), Mode::Exclusive).await;
        let Object { kind, sealed, size, .. } = self.state().machine.objects[object];
        if matches!(kind, Kind::Hugetlb(_)) {
            return Err(EINVAL);
        }
        if sealed {
            return Err(EPERM);
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(EINVAL)?;
        self.state().machine.objects[object].size = size.max(end);
        let pieces = self.state().chunks(offset, bytes.len() as u64);
        for piece in pieces {
            let (frame, folio) = self.lock_or_make(object, piece.page).await?;
            {
                let mut state = self.state();
                let (page, identities) = (state.profile.page_size, state.profile.identities);
                state.machine.frames[frame].dirty = true;
                let content = &mut state.machine.frames[frame].content;
                content.write(page, piece.within, &bytes[piece.from..piece.to], identities);
            }
            folio.release().await;
        }
        file.release().await;
        Ok(bytes.len() as u64)
    }
}

/// The part of a transfer that lies in one page of an object.
pub(super) struct Chunk {
    /// The offset of the page in the object.
    pub(super) page: u64,
    /// Where in the page it begins.
    pub(super) within: usize,
    /// Where in the transfer it begins and ends.
    pub(super) from: usize,
    pub(super) to: usize,
}

impl State {
    /// A range of bytes, page by page.
    pub(super) fn chunks(&self, offset: u64, len: u64) -> Vec<Chunk> {
        let page = self.profile.page();
        let range = faultless_pages::VaRange::of(Va(offset), Bytes(len));
        let mut chunks = Vec::new();
        for whole in range.widen(self.profile.page_size).chunks(page) {
            let Some(part) = whole.intersect(range) else { continue };
            let from = part.start().since(Va(offset)).as_usize();
            chunks.push(Chunk {
                page: whole.start().0,
                within: part.start().since(whole.start()).as_usize(),
                from,
                to: from + part.len().as_usize(),
            });
        }
        chunks
    }
}
