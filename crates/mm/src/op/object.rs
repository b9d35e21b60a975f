//! Objects through their descriptors: making, reading, writing, resizing, punching, sealing.

use alloc::vec::Vec;

use faultless_pages::{Bytes, Va};

use crate::errno::{EBADF, EBUSY, EINVAL, EPERM, Errno};
use crate::id::{ObjectId, ThreadId};
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
        let (object, _) = self.state().object(who, fd)?;
        let size = self.state().machine.objects[object].size;
        let len = len.min(size.saturating_sub(offset));
        let mut out = alloc::vec![0; Bytes(len).as_usize()];
        let pieces = self.state().chunks(offset, len);
        for piece in pieces {
            let Some(frame) = self.cached_frame(object, piece.page).await? else { continue };
            let state = self.state();
            let content = &state.machine.frames[frame].content;
            content.read(piece.within, &mut out[piece.from..piece.to]);
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
        let (object, writable) = self.state().object(who, fd)?;
        if !writable {
            return Err(EBADF);
        }
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
            let frame = self.frame_for(object, piece.page).await?;
            let mut state = self.state();
            let (page, identities) = (state.profile.page_size, state.profile.identities);
            let content = &mut state.machine.frames[frame].content;
            content.write(page, piece.within, &bytes[piece.from..piece.to], identities);
        }
        Ok(bytes.len() as u64)
    }

    /// `ftruncate(2)`.
    ///
    /// # Errors
    /// EBADF, EPERM for what is sealed, EINVAL for hugetlb memory at no page border.
    pub async fn resize(&self, who: ThreadId, fd: u32, size: u64) -> Result<(), Errno> {
        let (object, writable) = self.state().object(who, fd)?;
        let Object { kind, sealed, size: before, .. } = self.state().machine.objects[object];
        if !writable {
            return Err(EINVAL);
        }
        if let Kind::Hugetlb(page) = kind
            && !Va(size).is_aligned(page)
        {
            return Err(EINVAL);
        }
        if sealed {
            return Err(EPERM);
        }
        self.state().machine.objects[object].size = size;
        if size < before {
            self.drop_object_pages(object, size, before - size, true).await;
        }
        Ok(())
    }

    /// `fallocate(2)` with PUNCH_HOLE.
    ///
    /// # Errors
    /// EBADF, EPERM for what is sealed.
    pub async fn punch(&self, who: ThreadId, fd: u32, offset: u64, len: u64) -> Result<(), Errno> {
        let (object, writable) = self.state().object(who, fd)?;
        if !writable {
            return Err(EBADF);
        }
        if self.state().machine.objects[object].sealed {
            return Err(EPERM);
        }
        self.punch_object(object, offset, len).await;
        Ok(())
    }

    /// Makes a hole in an object.
    pub(crate) async fn punch_object(&self, object: ObjectId, offset: u64, len: u64) {
        self.drop_object_pages(object, offset, len, false).await;
    }

    /// Drops whole pages of an object and what maps them, private copies only with `copies`; the
    /// parts of pages at the ends become zeros.
    async fn drop_object_pages(&self, object: ObjectId, offset: u64, len: u64, copies: bool) {
        let cache = self.lock(Lock::Object(object), Mode::Exclusive).await;
        {
            let mut state = self.state();
            let step = state.object_page(object);
            let end = offset.saturating_add(len);
            let (first, last) = (Va(offset).align_up(step).0, Va(end).align_down(step).0);
            state.zero_parts(object, offset, end);
            if first < last || copies {
                let last = if copies { u64::MAX } else { last };
                state.drop_cached(object, first, last, copies);
            }
        }
        cache.release().await;
    }
}

/// The part of a transfer that lies in one page of an object.
struct Chunk {
    page: u64,
    within: usize,
    from: usize,
    to: usize,
}

impl State {
    fn object_page(&self, object: ObjectId) -> faultless_pages::PageSize {
        match self.machine.objects[object].kind {
            Kind::Hugetlb(size) => size,
            _ => self.profile.page_size,
        }
    }

    fn chunks(&self, offset: u64, len: u64) -> Vec<Chunk> {
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

    /// Zeros the parts of pages that `[offset, end)` covers in part.
    fn zero_parts(&mut self, object: ObjectId, offset: u64, end: u64) {
        let page = self.profile.page_size;
        for chunk in self.chunks(offset, end - offset) {
            let len = chunk.to - chunk.from;
            let cached = self.machine.objects[object].pages.get(&chunk.page).copied();
            if let (true, Some(crate::machine::Cached::Frame(frame))) =
                (len < page.bytes().as_usize(), cached)
            {
                let zeros = alloc::vec![0; len];
                let content = &mut self.machine.frames[frame].content;
                content.write(page, chunk.within, &zeros, false);
            }
        }
    }

    /// Drops the pages of an object from `first` up to `last`, and the entries that show them.
    fn drop_cached(&mut self, object: ObjectId, first: u64, last: u64, copies: bool) {
        let spaces: Vec<_> = self.spaces.iter().map(|(id, _)| id).collect();
        for space in spaces {
            let shows: Vec<_> = self.spaces[space]
                .areas
                .all()
                .filter(|area| area.object() == Some(object))
                .copied()
                .collect();
            for area in shows {
                let start = first.max(area.linear);
                let end = last.min(area.linear + area.range.len().0);
                if start < end {
                    let from = area.range.start().add(Bytes(start - area.linear));
                    let range = faultless_pages::VaRange::of(from, Bytes(end - start));
                    self.drop_entries(space, &area, range, copies);
                }
            }
        }
        let pages = &mut self.machine.objects[object].pages;
        let gone: Vec<u64> = pages.range(first..last).map(|(offset, _)| *offset).collect();
        for offset in gone {
            if let Some(cached) = self.machine.objects[object].pages.remove(&offset) {
                self.machine.put_cached(cached);
            }
        }
    }
}
