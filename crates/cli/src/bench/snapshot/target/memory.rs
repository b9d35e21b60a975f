//! The memory of the target: full, of the wanted page size, and not worth compressing.
//!
//! [`Memory`] is one private anonymous mapping. Its content is the same in every run, so that both
//! tools face the same work.

use faultless_pages::Bytes;
use faultless_uffd::{MapError, Mapping};

use crate::exit::{Exit, Failure};

use crate::bench::snapshot::PageKind;
use crate::bench::snapshot::random::Xorshift;

const PAGE: usize = 4096;
/// Filled at a stretch: small enough for the cache, large enough to be one fault of a huge page.
const STRETCH: usize = 2 << 20;

/// Memory that is touched, all of it.
pub(super) struct Memory {
    mapping: Mapping,
    pages: u64,
}

impl Memory {
    /// Maps `size` bytes, rounded up to 2 MiB, and fills them.
    ///
    /// # Errors
    /// [`Exit::Host`] if the host has not that much memory, or refuses the page size.
    pub(super) fn filled(size: u64, kind: PageKind) -> Result<Memory, Failure> {
        let size = size.next_multiple_of(STRETCH as u64);
        let refused = |error: MapError| {
            Failure::new(Exit::Host, format_args!("{} of memory: {error}", Bytes(size)))
                .next("choose smaller --sizes")
        };
        let mapping = Mapping::builder(Bytes(size))
            .huge_pages(kind == PageKind::Thp)
            .anonymous()
            .map_err(refused)?;
        let mut random = Xorshift::new(1);
        let mut stretch = vec![0; STRETCH];
        for offset in (0..size).step_by(STRETCH) {
            random.fill(&mut stretch);
            mapping.write(Bytes(offset), &stretch);
        }
        Ok(Memory { mapping, pages: size / PAGE as u64 })
    }

    /// Returns how many base pages there are.
    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    /// Reads a word of a page.
    pub(super) fn load(&self, page: u64, word: u64) -> u64 {
        self.mapping.load_u64(Bytes(page * PAGE as u64 + word * 8))
    }

    /// Writes a word of a page.
    pub(super) fn store(&self, page: u64, word: u64, value: u64) {
        self.mapping.store_u64(Bytes(page * PAGE as u64 + word * 8), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_full_of_words_that_differ() {
        let memory = Memory::filled(1, PageKind::Base).expect("2 MiB");
        assert_eq!(memory.pages(), 512);
        assert_ne!(memory.load(0, 0), 0);
        assert_ne!(memory.load(0, 0), memory.load(511, 511));
        memory.store(511, 511, 7);
        assert_eq!(memory.load(511, 511), 7);
    }
}
