//! How a mapping is made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use faultless_pages::{Bytes, PageSize};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

use super::{Advice, MapError, MapOp, Mapping, Object, Protection};
use crate::pagemap::base_page_size;

/// What a mapping shall be like, before it is known what it shows.
///
/// ```
/// use faultless_pages::{Bytes, PageSize};
/// use faultless_uffd::Mapping;
///
/// let mapping = Mapping::builder(Bytes::mib(4))
///     .aligned(PageSize::MIB2)
///     .huge_pages(true)
///     .dont_fork()
///     .anonymous()?;
/// assert!(mapping.range().is_aligned(PageSize::MIB2));
/// # Ok::<(), faultless_uffd::MapError>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct MappingBuilder {
    len: Bytes,
    shared: Option<bool>,
    populate: bool,
    no_reserve: bool,
    dont_fork: bool,
    huge_pages: Option<bool>,
    align: Option<PageSize>,
    protection: Protection,
}

impl MappingBuilder {
    /// Begins a mapping of `len`, rounded up to whole pages.
    pub fn new(len: Bytes) -> MappingBuilder {
        MappingBuilder {
            len,
            shared: None,
            populate: false,
            no_reserve: false,
            dont_fork: false,
            huge_pages: None,
            align: None,
            protection: Protection::ReadWrite,
        }
    }

    /// Keeps what is written from the object and from other processes. The default for
    /// anonymous memory, hugetlb memory and files.
    pub fn private(self) -> MappingBuilder {
        MappingBuilder { shared: Some(false), ..self }
    }

    /// Shares what is written. The default for memfds.
    pub fn shared(self) -> MappingBuilder {
        MappingBuilder { shared: Some(true), ..self }
    }

    /// Faults all pages in at once; what cannot be faulted in is left out without an error. Use
    /// [`Advice::PopulateWrite`] to learn of those.
    pub fn populate(self) -> MappingBuilder {
        MappingBuilder { populate: true, ..self }
    }

    /// Reserves neither swap space nor huge pages: a page that cannot be had raises `SIGBUS`.
    pub fn no_reserve(self) -> MappingBuilder {
        MappingBuilder { no_reserve: true, ..self }
    }

    /// Leaves the memory out of children. Pages that were never shared with a child stay
    /// movable.
    pub fn dont_fork(self) -> MappingBuilder {
        MappingBuilder { dont_fork: true, ..self }
    }

    /// Asks for (`true`) or forbids (`false`) transparent huge pages. The default is the
    /// system's.
    pub fn huge_pages(self, wanted: bool) -> MappingBuilder {
        MappingBuilder { huge_pages: Some(wanted), ..self }
    }

    /// Starts the mapping at a multiple of `size`.
    pub fn aligned(self, size: PageSize) -> MappingBuilder {
        MappingBuilder { align: Some(size), ..self }
    }

    /// Sets what may be done with the memory; reading and writing by default.
    pub fn protection(self, protection: Protection) -> MappingBuilder {
        MappingBuilder { protection, ..self }
    }

    /// Maps anonymous memory.
    ///
    /// # Errors
    /// As for [`Mapping::anonymous`].
    pub fn anonymous(self) -> Result<Mapping, MapError> {
        self.map(MapOp::Map, None, base_page_size(), MapFlags::empty())
    }

    /// Makes a memfd and maps it.
    ///
    /// # Errors
    /// As for [`Mapping::memfd`].
    pub fn memfd(self) -> Result<Mapping, MapError> {
        let page_size = base_page_size();
        let object = self.create_object(page_size, MemfdFlags::empty())?;
        let shared = self.shared.or(Some(true));
        let builder = MappingBuilder { shared, ..self };
        builder.map(MapOp::Map, Some(object), page_size, MapFlags::empty())
    }

    /// Maps huge pages from the pool for `page_size`: anonymous if private, else a memfd.
    ///
    /// # Errors
    /// As for [`Mapping::hugetlb`].
    pub fn hugetlb(self, page_size: PageSize) -> Result<Mapping, MapError> {
        let size = page_size.shift() << libc::MAP_HUGE_SHIFT;
        if self.shared == Some(true) {
            let flags = MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(size);
            let object = self.create_object(page_size, flags)?;
            return self.map(MapOp::MapHuge, Some(object), page_size, MapFlags::empty());
        }
        let flags = MapFlags::HUGETLB | MapFlags::from_bits_retain(size);
        self.map(MapOp::MapHuge, None, page_size, flags)
    }

    /// Maps part of a file, from `offset` bytes on.
    ///
    /// # Errors
    /// As for [`Mapping::file`].
    pub fn file(self, fd: OwnedFd, offset: u64) -> Result<Mapping, MapError> {
        let fd = Arc::new(fd);
        let object = Object { fd, offset };
        self.map(MapOp::Map, Some(object), base_page_size(), MapFlags::empty())
    }

    /// Maps an object that another mapping already shows.
    pub(super) fn object(self, object: Object, page_size: PageSize) -> Result<Mapping, MapError> {
        self.map(MapOp::Alias, Some(object), page_size, MapFlags::empty())
    }

    fn create_object(&self, page_size: PageSize, flags: MemfdFlags) -> Result<Object, MapError> {
        let flags = flags | MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let len = self.rounded(page_size);
        let make = || {
            let fd = memfd_create("faultless", flags)?;
            ftruncate(&fd, len.0)?;
            Ok(Object { fd: Arc::new(fd), offset: 0 })
        };
        make().map_err(|errno| MapError { op: MapOp::CreateObject, len, errno })
    }

    fn map(
        self,
        op: MapOp,
        object: Option<Object>,
        page_size: PageSize,
        extra: MapFlags,
    ) -> Result<Mapping, MapError> {
        let len = self.rounded(page_size);
        let fd = object.as_ref().map(|object| (object.fd.as_fd(), object.offset));
        let base = self.place(len, fd, extra | self.flags()).map_err(|errno| MapError {
            op,
            len,
            errno,
        })?;
        let mapping = Mapping { base, len, page_size, shared: self.shared == Some(true), object };
        self.advise_whole(&mapping)?;
        Ok(mapping)
    }

    fn rounded(&self, page_size: PageSize) -> Bytes {
        let mask = page_size.bytes().0 - 1;
        Bytes(self.len.0.saturating_add(mask) & !mask)
    }

    fn flags(&self) -> MapFlags {
        let mut flags = match self.shared {
            Some(true) => MapFlags::SHARED,
            _ => MapFlags::PRIVATE,
        };
        // With transparent huge pages advised for, populating waits until the advice is given.
        flags.set(MapFlags::POPULATE, self.populate && self.huge_pages.is_none());
        flags.set(MapFlags::NORESERVE, self.no_reserve);
        flags
    }

    /// Maps at an address of the kernel's choice, or at an aligned one.
    fn place(
        &self,
        len: Bytes,
        fd: Option<(BorrowedFd<'_>, u64)>,
        flags: MapFlags,
    ) -> Result<NonNull<u8>, Errno> {
        let protection = self.protection.map_flags();
        let Some(align) = self.align else {
            return map_at(ptr::null_mut(), len, protection, flags, fd);
        };
        let reserved = reserve(len, align)?;
        map_at(reserved.as_ptr(), len, protection, flags | MapFlags::FIXED, fd).inspect_err(|_| {
            // SAFETY: the reservation was made above and nobody else knows of it.
            let freed = unsafe { munmap(reserved.as_ptr().cast(), len.as_usize()) };
            // A failure costs address space only; the caller learns of the first error.
            let _ = freed;
        })
    }

    fn advise_whole(&self, mapping: &Mapping) -> Result<(), MapError> {
        let whole = mapping.range();
        match self.huge_pages {
            Some(true) => mapping.advise(whole, Advice::HugePage)?,
            Some(false) => mapping.advise(whole, Advice::NoHugePage)?,
            None => {}
        }
        if self.dont_fork {
            mapping.advise(whole, Advice::DontFork)?;
        }
        if self.populate && self.huge_pages.is_some() {
            let writable = self.protection == Protection::ReadWrite;
            let advice = if writable { Advice::PopulateWrite } else { Advice::PopulateRead };
            mapping.advise(whole, advice)?;
        }
        Ok(())
    }
}

/// Sets `len` bytes of address space aside, at a multiple of `align`.
pub(super) fn reserve(len: Bytes, align: PageSize) -> Result<NonNull<u8>, Errno> {
    let align = align.bytes().as_usize();
    let total = len.as_usize().checked_add(align).ok_or(Errno::NOMEM)?;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let base = map_at(ptr::null_mut(), Bytes::from(total), ProtFlags::empty(), flags, None)?;
    let head = base.as_ptr().align_offset(align);
    let start = base.as_ptr().wrapping_add(head);
    let end = start.wrapping_add(len.as_usize());
    for (from, spare) in [(base.as_ptr(), head), (end, align - head)] {
        if spare > 0 {
            // SAFETY: an edge of the reservation above, which nobody else knows of.
            unsafe { munmap(from.cast(), spare) }?;
        }
    }
    NonNull::new(start).ok_or(Errno::NOMEM)
}

fn map_at(
    address: *mut u8,
    len: Bytes,
    protection: ProtFlags,
    flags: MapFlags,
    fd: Option<(BorrowedFd<'_>, u64)>,
) -> Result<NonNull<u8>, Errno> {
    let address = address.cast();
    let len = len.as_usize();
    let base = match fd {
        // SAFETY: the address is null, or a reservation that only the caller knows of (`FIXED`).
        Some((fd, offset)) => unsafe { mmap(address, len, protection, flags, fd, offset) }?,
        // SAFETY: as above.
        None => unsafe { mmap_anonymous(address, len, protection, flags) }?,
    };
    NonNull::new(base.cast()).ok_or(Errno::NOMEM)
}
