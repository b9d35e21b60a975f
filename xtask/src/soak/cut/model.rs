//! A stamper small enough to know every store of: what the checker's tests take snapshots of.
//!
//! Two writers over 64 pages, each advanced one store at a time, and three slots that hold still.
//! It follows the promises in `stamper.h`, not the checker's code.

use std::collections::BTreeMap;

use anyhow::Result;

use super::layout::{
    HEADER_BASE, MARK_CHURN, MARK_WRITER, SMALL_PAGES, page_identity, slot_content, slot_home,
};
use super::snapshot::{Content, PAGE, Page, Registers, Snapshot};

const THREADS: usize = 2;
const OWN_PAGES: u64 = 32;
const STEP: u64 = 21;
const START: u64 = 5;
const REGION: u64 = 0x21_0000_0000;
const PAGE_LEN: u64 = PAGE as u64;

#[derive(Clone, Copy, Default)]
struct Writer {
    seq: u64,
    page: u64,
    seen: u64,
    /// Next store of the stamp being written: 0 to 3 in the page, 4 publishes it.
    next: usize,
}

#[derive(Clone)]
pub(crate) struct Model {
    pages: BTreeMap<u64, (Content, Box<Page>)>,
    writers: [Writer; THREADS],
    registers: Vec<Registers>,
    /// Stores so far; decides whose turn it is.
    stores: u64,
}

impl Model {
    /// Stamped pages of both writers.
    pub(crate) const PAGES: u64 = OWN_PAGES * THREADS as u64;
    /// A stamped page.
    pub(crate) const STAMPED: u64 = REGION + 7 * PAGE_LEN;
    /// A page with content in a settled slot.
    pub(crate) const SLOT: u64 = 0x38_0000_0000 + 2 * PAGE_LEN;
    /// A dropped page of a settled slot.
    pub(crate) const SLOT_HOLE: u64 = 0x38_0000_0000 + 3 * PAGE_LEN;
    /// A page of a slot that is not mapped.
    pub(crate) const SLOT_UNMAPPED: u64 = 0x38_1000_0000 + 4 * PAGE_LEN;

    pub(crate) fn new() -> Model {
        let mut model = Model {
            pages: BTreeMap::new(),
            writers: [Writer { page: START, next: 5, ..Writer::default() }; THREADS],
            registers: Vec::new(),
            stores: 0,
        };
        for page in 0..17 {
            model.map(HEADER_BASE + page * PAGE_LEN);
        }
        let header = [0x3150_4d41_5453_4c46, 1, THREADS as u64, OWN_PAGES, STEP, START, 1, 3];
        for (at, value) in header.into_iter().enumerate() {
            model.put(HEADER_BASE, at, value);
        }
        model.put(HEADER_BASE, 16, REGION);
        model.put(HEADER_BASE, 17, Model::PAGES);
        model.prepare_threads();
        model.prepare_slots();
        model
    }

    fn prepare_threads(&mut self) {
        for thread in 0..THREADS as u64 {
            for index in 0..OWN_PAGES {
                let at = page_address(thread, index);
                self.map(at);
                self.put(at, 1, page_identity(thread, index));
            }
            self.put(HEADER_BASE + (1 + thread) * PAGE_LEN, 0, 100 + thread);
            self.registers.push(Registers {
                tid: 100 + thread,
                seq: 0,
                mark: MARK_WRITER | thread,
            });
        }
        self.put(HEADER_BASE + 15 * PAGE_LEN, 0, 200);
        self.registers.push(Registers { tid: 200, seq: 0, mark: MARK_CHURN });
    }

    /// Slot 0 is mapped with odd pages dropped, slot 1 is not mapped, slot 2 has an empty shadow.
    fn prepare_slots(&mut self) {
        let table = HEADER_BASE + 16 * PAGE_LEN;
        let shadow = slot_home(2) + 0x0800_0000;
        let entries = [
            [1, slot_home(0), SMALL_PAGES, 9, 1, 3, 2, 0],
            [0, slot_home(1), SMALL_PAGES, 9, 0, 3, 0, 0],
            [1, slot_home(2), SMALL_PAGES, 4, 0, 3, 10, shadow],
        ];
        for (entry, slot) in entries.into_iter().zip(0..) {
            for (field, value) in entry.into_iter().enumerate() {
                self.put(table, slot * 8 + field, value);
            }
        }
        for page in 0..SMALL_PAGES {
            self.fill_slot_page(0, 9, page, page % 2 == 0);
            self.fill_slot_page(2, 4, page, true);
            self.map(shadow + page * PAGE_LEN);
        }
    }

    fn fill_slot_page(&mut self, slot: u64, generation: u64, page: u64, full: bool) {
        let at = slot_home(slot) + page * PAGE_LEN;
        self.map(at);
        for word in if full { &[0, 256, 511][..] } else { &[] } {
            self.put(at, *word, slot_content(slot, generation, page));
        }
    }

    /// Lets one writer do its next store.
    pub(crate) fn store(&mut self) {
        self.stores += 1;
        // Uneven turns, so that no two writers stay in step.
        let thread = if self.stores % 7 < 3 { 0 } else { 1 };
        let mut writer = self.writers[thread];
        let number = thread as u64;
        match writer.next {
            5 => {
                if writer.seq > 0 {
                    writer.page = (writer.page + STEP) % OWN_PAGES;
                }
                writer.seen = self.published(1 - number);
                writer.seq += 1;
                self.registers[thread].seq = writer.seq;
                writer.next = 0;
            }
            4 => {
                self.put(HEADER_BASE + (1 + number) * PAGE_LEN, 1, writer.seq);
                writer.next = 5;
            }
            next => {
                let (word, value) =
                    [(0, writer.seq), (2, writer.seen), (256, writer.seq), (511, writer.seq)][next];
                self.put(page_address(number, writer.page), word, value);
                writer.next += 1;
            }
        }
        self.writers[thread] = writer;
    }

    fn published(&self, thread: u64) -> u64 {
        let page = &self.pages[&(HEADER_BASE + (1 + thread) * PAGE_LEN)].1;
        super::snapshot::word(page, 1)
    }

    fn put(&mut self, address: u64, word: usize, value: u64) {
        self.page_mut(address)[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Makes a page of zeros.
    pub(crate) fn map(&mut self, address: u64) {
        self.pages.insert(address, (Content::Saved, Box::new([0; PAGE])));
    }

    pub(crate) fn page_mut(&mut self, address: u64) -> &mut Page {
        &mut self.pages.get_mut(&address).expect("a mapped page").1
    }

    pub(crate) fn set_content(&mut self, address: u64, content: Content) {
        self.pages.get_mut(&address).expect("a mapped page").0 = content;
    }

    /// Finds a page stamped at `later` with a number its writer had not begun yet.
    pub(crate) fn page_stamped_since(&self, later: &Model) -> Option<u64> {
        let newest = |thread: usize| self.registers[thread].seq;
        let mut pages = (0..OWN_PAGES).flat_map(|index| [(0, index), (1, index)]);
        pages.find_map(|(thread, index)| {
            let at = page_address(thread as u64, index);
            let stamp = super::snapshot::word(&later.pages[&at].1, 0);
            (stamp > newest(thread)).then_some(at)
        })
    }

    pub(crate) fn take_page(&mut self, from: &Model, address: u64) {
        self.pages.insert(address, from.pages[&address].clone());
    }

    pub(crate) fn take_registers(&mut self, from: &Model) {
        self.registers.clone_from(&from.registers);
    }

    pub(crate) fn lose_thread(&mut self) {
        self.registers.remove(0);
    }

    pub(crate) fn unsettle_all_slots(&mut self) {
        for slot in 0..3 {
            self.put(HEADER_BASE + 16 * PAGE_LEN, slot * 8, 2);
        }
    }
}

fn page_address(thread: u64, index: u64) -> u64 {
    REGION + (index * THREADS as u64 + thread) * PAGE_LEN
}

impl Snapshot for Model {
    fn page(&mut self, address: u64, into: &mut Page) -> Result<Content> {
        Ok(match self.pages.get(&address) {
            None => Content::Absent,
            Some((content, page)) => {
                into.copy_from_slice(&page[..]);
                *content
            }
        })
    }

    fn registers(&self) -> Vec<Registers> {
        self.registers.clone()
    }
}
