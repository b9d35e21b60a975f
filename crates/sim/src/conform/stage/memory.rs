//! Mappings of every kind userfaultfd knows, and ranges of their pages.

use super::Stage;
use crate::conform::call::Call;
use crate::conform::linux::{advice, map, prot};
use crate::conform::verdict::{Verdict, skip};
use crate::conform::world::Fd;

/// A kind of mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Private anonymous.
    Anon,
    /// Shared anonymous: shared memory without a descriptor.
    SharedAnon,
    /// Shared mapping of a memfd.
    Shmem,
    /// Private mapping of a memfd.
    PrivateShmem,
    /// Shared mapping of a hugetlb memfd.
    Hugetlb,
    /// Private mapping of a hugetlb memfd.
    PrivateHugetlb,
    /// Shared mapping of a regular file.
    File,
    /// Private mapping of a regular file.
    PrivateFile,
}

impl Memory {
    /// Says whether its pages come from the hugetlb pool.
    #[must_use]
    pub fn is_hugetlb(self) -> bool {
        matches!(self, Memory::Hugetlb | Memory::PrivateHugetlb)
    }

    fn sharing(self) -> u32 {
        match self {
            Memory::SharedAnon | Memory::Shmem | Memory::Hugetlb | Memory::File => map::SHARED,
            _ => map::PRIVATE,
        }
    }
}

/// Bytes of an address space, `[start, start + len)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

impl Range {
    /// The address behind the last.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start + self.len
    }
}

/// A mapping a body made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// How many pages.
    pub pages: u64,
    /// Bytes of each.
    pub page_size: u64,
    /// The object behind it, if it has a descriptor.
    pub object: Option<Fd>,
}

impl Area {
    /// All of it.
    #[must_use]
    pub fn range(&self) -> Range {
        self.part(0, self.pages)
    }

    /// Address of a page.
    #[must_use]
    pub fn at(&self, index: u64) -> u64 {
        self.start + index * self.page_size
    }

    /// One page.
    #[must_use]
    pub fn one(&self, index: u64) -> Range {
        self.part(index, 1)
    }

    /// `count` pages from `index` on.
    #[must_use]
    pub fn part(&self, index: u64, count: u64) -> Range {
        Range { start: self.at(index), len: count * self.page_size }
    }
}

impl Stage<'_> {
    /// Maps private anonymous memory, bordered by inaccessible pages so that nothing merges.
    ///
    /// # Errors
    /// Diverges when `mmap` refuses.
    #[track_caller]
    pub fn anon(&mut self, pages: u64) -> Verdict<Area> {
        self.map(Memory::Anon, pages)
    }

    /// Maps memory of any kind, bordered by inaccessible pages so that nothing merges.
    ///
    /// # Errors
    /// Skips where the world has no such memory.
    #[track_caller]
    pub fn map(&mut self, memory: Memory, pages: u64) -> Verdict<Area> {
        let page_size = self.page_size_of(memory)?;
        let len = pages * page_size;
        let object = match memory {
            Memory::Anon | Memory::SharedAnon => None,
            Memory::Shmem | Memory::PrivateShmem => {
                Some(self.open_fd(Call::Memfd { len, huge: false })?)
            }
            Memory::Hugetlb | Memory::PrivateHugetlb => {
                Some(self.open_fd(Call::Memfd { len, huge: true })?)
            }
            Memory::File | Memory::PrivateFile => Some(self.regular_file(len)?),
        };
        let anonymous = if object.is_none() { map::ANONYMOUS } else { 0 };
        let flags = memory.sharing() | anonymous;
        self.map_object(object, pages, page_size, flags, prot::READ_WRITE)
    }

    /// Bytes of a page of this memory.
    ///
    /// # Errors
    /// Skips where the world has no such memory.
    pub fn page_size_of(&self, memory: Memory) -> Verdict<u64> {
        if !memory.is_hugetlb() {
            return Ok(self.page());
        }
        match self.profile().hugetlb_page {
            Some(size) => Ok(size),
            None => skip("no hugetlb pages are reserved and none could be"),
        }
    }

    /// Makes a regular file.
    ///
    /// # Errors
    /// Skips where the world has none.
    #[track_caller]
    pub fn regular_file(&mut self, len: u64) -> Verdict<Fd> {
        if !self.profile().has_regular_files {
            return skip("no folder for regular files: all of them are shared memory");
        }
        self.open_fd(Call::RegularFile { len })
    }

    /// Maps an object, or anonymous memory without one, with these flags and protection.
    ///
    /// # Errors
    /// Diverges when `mmap` refuses.
    #[track_caller]
    pub fn map_object(
        &mut self,
        object: Option<Fd>,
        pages: u64,
        page_size: u64,
        flags: u32,
        prot: u32,
    ) -> Verdict<Area> {
        let len = pages * page_size;
        let at = self.reserve(len, page_size)?;
        let flags = flags | map::FIXED;
        let start = self.value(Call::Map { at, len, prot, flags, fd: object, offset: 0 })?;
        Ok(Area { start, pages, page_size, object })
    }

    /// A second, shared mapping of the object behind an area.
    ///
    /// # Errors
    /// Diverges when `mmap` refuses.
    #[track_caller]
    pub fn alias(&mut self, area: &Area) -> Verdict<Area> {
        self.map_object(area.object, area.pages, area.page_size, map::SHARED, prot::READ_WRITE)
    }

    /// Reserves `len` bytes at a multiple of `align`, with inaccessible pages on both sides.
    ///
    /// # Errors
    /// Diverges when `mmap` refuses.
    #[track_caller]
    pub fn reserve(&mut self, len: u64, align: u64) -> Verdict<u64> {
        let border = align.max(self.page());
        let flags = map::PRIVATE | map::ANONYMOUS | map::NORESERVE;
        let whole = len + 2 * border;
        let call = Call::Map { at: 0, len: whole, prot: prot::NONE, flags, fd: None, offset: 0 };
        let start = self.value(call)?;
        // The border leaves room to round up and still have an inaccessible page behind.
        Ok((start + 1).next_multiple_of(border))
    }

    /// Anonymous memory of `pages` base pages at a multiple of the transparent huge page size,
    /// advised to use such pages.
    ///
    /// # Errors
    /// Skips where the world has none.
    #[track_caller]
    pub fn huge_anon(&mut self, huge_pages: u64) -> Verdict<(Area, u64)> {
        let Some(size) = self.profile().transparent_huge_page else {
            return skip("transparent huge pages are switched off");
        };
        let flags = map::PRIVATE | map::ANONYMOUS;
        let area = self.map_object(None, huge_pages, size, flags, prot::READ_WRITE)?;
        self.advise(area.range(), advice::HUGEPAGE)?;
        let page_size = self.page();
        let small = Area { pages: huge_pages * (size / page_size), page_size, ..area };
        Ok((small, size))
    }

    /// A page of anonymous memory that holds `byte` everywhere; returns its address.
    ///
    /// # Errors
    /// Diverges when it cannot be filled.
    #[track_caller]
    pub fn source(&mut self, byte: u8) -> Verdict<u64> {
        self.sources(&[byte])
    }

    /// Pages of anonymous memory, each holding its byte everywhere; returns the first address.
    ///
    /// # Errors
    /// Diverges when they cannot be filled.
    #[track_caller]
    pub fn sources(&mut self, contents: &[u8]) -> Verdict<u64> {
        let area = self.anon(contents.len() as u64)?;
        for (index, byte) in (0..).zip(contents) {
            let bytes = vec![*byte; usize::try_from(self.page()).unwrap_or(4096)];
            self.value(Call::Store { at: area.at(index), bytes })?;
        }
        Ok(area.start)
    }

    /// Unmaps a range.
    ///
    /// # Errors
    /// Diverges when it blocks or is refused.
    #[track_caller]
    pub fn unmap(&mut self, range: Range) -> Verdict {
        self.value(Call::Unmap { at: range.start, len: range.len }).map(|_| ())
    }

    /// Changes the protection of a range.
    ///
    /// # Errors
    /// Diverges when it blocks or is refused.
    #[track_caller]
    pub fn mprotect(&mut self, range: Range, prot: u32) -> Verdict {
        self.value(Call::Protect { at: range.start, len: range.len, prot }).map(|_| ())
    }

    /// Gives advice on a range.
    ///
    /// # Errors
    /// Diverges when it blocks or is refused.
    #[track_caller]
    pub fn advise(&mut self, range: Range, advice: u32) -> Verdict {
        self.value(advise(range, advice)).map(|_| ())
    }

    /// Moves a mapping to a fresh place and returns the new one.
    ///
    /// # Errors
    /// Diverges when it blocks or is refused.
    #[track_caller]
    pub fn move_mapping(&mut self, area: &Area, flags: u32) -> Verdict<Area> {
        let call = self.moving(area, flags)?;
        let start = self.value(call)?;
        Ok(Area { start, ..*area })
    }

    /// The call that moves a mapping to a fresh place.
    ///
    /// # Errors
    /// Diverges when no place can be reserved.
    #[track_caller]
    pub fn moving(&mut self, area: &Area, flags: u32) -> Verdict<Call> {
        use crate::conform::linux::remap;
        let Range { start: from, len } = area.range();
        let to = self.reserve(len, area.page_size)?;
        let flags = flags | remap::MAYMOVE | remap::FIXED;
        Ok(Call::Remap { from, len, new_len: len, flags, to })
    }
}

/// The call that gives advice on a range.
#[must_use]
pub fn advise(range: Range, advice: u32) -> Call {
    Call::Advise { at: range.start, len: range.len, advice }
}
