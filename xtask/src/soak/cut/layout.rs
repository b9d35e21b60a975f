//! The stamper's memory layout and order, as `tests/targets/stamper.h` fixes them.
//!
//! [`Header::read`] turns the fixed pages of a snapshot into numbers; [`Order`] replays which page
//! carries which stamp. Called by the checks beside it.

use anyhow::{Result, bail, ensure};

use super::snapshot::{Content, PAGE, Page, Snapshot, word};

const STAMP_MAGIC: u64 = 0x3150_4d41_5453_4c46;
const STAMP_VERSION: u64 = 1;
const PAGE_LEN: u64 = PAGE as u64;

/// Where the header page lies.
pub(crate) const HEADER_BASE: u64 = 0x20_0000_0000;
const CHURN_BASE: u64 = 0x38_0000_0000;
const SLOT_STRIDE: u64 = 0x1000_0000;
/// The second window of a slot lies this far above the first.
pub(crate) const SLOT_OTHER: u64 = 0x0800_0000;
const REGIONS_MAX: u64 = 8;
const THREADS_MAX: u64 = 14;
const SLOTS_MAX: u64 = 64;
const CHURN_BLOCK: u64 = 15;
const SLOT_TABLE: u64 = 16;
const SLOT_WORDS: u64 = 8;
const IDENTITY_PAGE: u64 = 0x1d00_0000_0000_0000;
const IDENTITY_SLOT: u64 = 0x5100_0000_0000_0000;

/// A register that shows this, with its number added, belongs to a writer.
pub(crate) const MARK_WRITER: u64 = 0x57a3_b000_0000_0000;
/// A register that shows this belongs to the churn thread.
pub(crate) const MARK_CHURN: u64 = 0x57a3_c000_0000_0000;
/// Most pages a slot of this kind ever has.
pub(crate) const SMALL_PAGES: u64 = 64;
const THP_PAGES: u64 = 1024;

/// Words of a stamped page, in the order a writer stores them.
pub(crate) const WORD_FIRST: usize = 0;
/// Which page this is; never changes.
pub(crate) const WORD_IDENTITY: usize = 1;
/// What the writer had last seen of its neighbour.
pub(crate) const WORD_SEEN: usize = 2;
/// The stamp again, in the middle.
pub(crate) const WORD_MIDDLE: usize = 256;
/// The stamp again, at the end.
pub(crate) const WORD_LAST: usize = 511;

/// One run of pages, striped over the threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// First address.
    pub(crate) base: u64,
    /// Pages of all threads together.
    pub(crate) pages: u64,
    /// A second mapping of the same memory, or 0.
    alias: u64,
}

impl Region {
    /// Returns where each mapping of the region's memory begins.
    pub(crate) fn mappings(&self) -> impl Iterator<Item = u64> {
        [self.base, self.alias].into_iter().filter(|&base| base != 0)
    }
}

/// What one thread says about itself in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// Its thread id.
    pub(crate) tid: u64,
    /// The last stamp it finished and told the others.
    pub(crate) published: u64,
}

/// What a slot held when nobody was changing it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nothing mapped.
    Unmapped,
    /// Mapped, with the content the entry describes.
    Mapped,
    /// In the middle of an operation: nothing is promised.
    Changing,
}

/// One entry of the slot table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Its number.
    pub(crate) index: u64,
    /// What is promised.
    pub(crate) state: State,
    /// First address of the content.
    pub(crate) base: u64,
    /// Pages mapped.
    pub(crate) pages: u64,
    /// How often it was refilled; part of every page's content.
    pub(crate) generation: u64,
    /// Whether the odd pages were dropped.
    pub(crate) odd_holes: bool,
    /// Whether the slot is the moving end of the heap, which has one window only.
    pub(crate) is_heap: bool,
    /// Most pages this slot ever has.
    pub(crate) pages_max: u64,
    /// The other window while it is mapped and empty, or 0.
    pub(crate) shadow: u64,
}

/// Everything the header pages say.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// Replays the order of stamps.
    pub(crate) order: Order,
    /// Runs of stamped pages.
    pub(crate) regions: Vec<Region>,
    /// The writers, by number.
    pub(crate) writers: Vec<Block>,
    /// The churn thread.
    pub(crate) churn: Block,
    /// Churn rounds finished.
    pub(crate) churn_ops: u64,
    /// The slot table.
    pub(crate) slots: Vec<Slot>,
}

impl Header {
    /// Reads the header pages out of a snapshot.
    ///
    /// Fails if they are missing or are not a stamper's: then nothing else can be judged.
    pub(crate) fn read(snapshot: &mut dyn Snapshot) -> Result<Header> {
        let first = header_page(snapshot, 0)?;
        ensure!(word(&first, 0) == STAMP_MAGIC, "the memory holds no stamper that is ready");
        ensure!(word(&first, 1) == STAMP_VERSION, "the stamper has another layout version");
        let [threads, regions, slots] = [2, 6, 7].map(|at| word(&first, at));
        ensure!((1..=THREADS_MAX).contains(&threads), "{threads} writer threads");
        ensure!(regions <= REGIONS_MAX, "{regions} regions");
        ensure!(slots <= SLOTS_MAX, "{slots} slots");
        let order = Order::new(word(&first, 3), word(&first, 4), word(&first, 5))?;
        let regions: Vec<Region> = (0..regions).map(|r| region(&first, r)).collect();
        let own: u64 = regions.iter().map(|r| r.pages / threads).sum();
        ensure!(own == order.pages, "the regions hold {own} pages a thread, not {}", order.pages);
        let writers = (0..threads).map(|t| block(snapshot, 1 + t)).collect::<Result<_>>()?;
        let table = header_page(snapshot, SLOT_TABLE)?;
        Ok(Header {
            order,
            regions,
            writers,
            churn: block(snapshot, CHURN_BLOCK)?,
            churn_ops: word(&first, 11),
            slots: (0..slots).map(|s| slot(&table, s)).collect::<Result<_>>()?,
        })
    }

    /// Returns how many writers there are.
    pub(crate) fn threads(&self) -> u64 {
        self.writers.len() as u64
    }
}

/// Returns the address of the first window of slot `index`.
pub(crate) fn slot_home(index: u64) -> u64 {
    CHURN_BASE + index * SLOT_STRIDE
}

/// Returns the identity word of page `index` of thread `thread`.
pub(crate) fn page_identity(thread: u64, index: u64) -> u64 {
    IDENTITY_PAGE | thread << 48 | index
}

/// Returns what all three marked words of a slot's page hold.
pub(crate) fn slot_content(slot: u64, generation: u64, page: u64) -> u64 {
    IDENTITY_SLOT | slot << 48 | generation << 16 | page
}

fn header_page(snapshot: &mut dyn Snapshot, number: u64) -> Result<Box<Page>> {
    let mut page = Box::new([0; PAGE]);
    let address = HEADER_BASE + number * PAGE_LEN;
    match snapshot.page(address, &mut page)? {
        Content::Saved => Ok(page),
        other => bail!("header page {number} at {address:#x} is {other:?}"),
    }
}

fn region(page: &Page, number: u64) -> Region {
    let at = 16 + 4 * usize_of(number);
    Region { base: word(page, at), pages: word(page, at + 1), alias: word(page, at + 3) }
}

fn block(snapshot: &mut dyn Snapshot, number: u64) -> Result<Block> {
    let page = header_page(snapshot, number)?;
    Ok(Block { tid: word(&page, 0), published: word(&page, 1) })
}

fn slot(table: &Page, index: u64) -> Result<Slot> {
    let at = usize_of(index * SLOT_WORDS);
    let field = |n| word(table, at + n);
    let state = match field(0) {
        0 => State::Unmapped,
        1 => State::Mapped,
        2 => State::Changing,
        other => bail!("slot {index} has state {other}"),
    };
    let (kind_brk, kind_thp) = (3, 5);
    Ok(Slot {
        index,
        state,
        base: field(1),
        pages: field(2),
        generation: field(3),
        odd_holes: field(4) == 1,
        is_heap: field(6) == kind_brk,
        pages_max: if field(6) == kind_thp { THP_PAGES } else { SMALL_PAGES },
        shadow: field(7),
    })
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The order in which a writer visits its pages: `start`, then `step` further, for ever.
///
/// `step` and the number of pages have no common divisor, so a lap visits every page once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    /// Pages of one thread.
    pub(crate) pages: u64,
    start: u64,
    /// Turns a distance in memory into a distance in time.
    inverse: u64,
}

impl Order {
    fn new(pages: u64, step: u64, start: u64) -> Result<Order> {
        ensure!(pages > 1 && step < pages && start < pages, "the stamping order is out of bounds");
        let Some(inverse) = inverse(step, pages) else {
            bail!("a step of {step} does not visit all {pages} pages")
        };
        Ok(Order { pages, start, inverse })
    }

    /// Returns the last stamp up to `now` that fell on page `index`, 0 if none has yet.
    pub(crate) fn stamp_of(&self, index: u64, now: u64) -> u64 {
        let ahead = (index + self.pages - self.start) % self.pages;
        // Stamps 1 + turn, 1 + turn + pages, … fall on this page. The product fits: both factors
        // are below the number of pages a process can have.
        let turn = ahead * self.inverse % self.pages;
        if now <= turn { 0 } else { now - (now - 1 - turn) % self.pages }
    }
}

/// Returns `x` with `step * x = 1` modulo `modulus`, if there is one.
fn inverse(step: u64, modulus: u64) -> Option<u64> {
    let wide = i128::from(modulus);
    let (mut old, mut new) = ((i128::from(step), 1), (wide, 0));
    while new.0 != 0 {
        let quotient = old.0 / new.0;
        (old, new) = (new, (old.0 - quotient * new.0, old.1 - quotient * new.1));
    }
    if old.0 == 1 { u64::try_from(old.1.rem_euclid(wide)).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replayed_order_is_the_one_walked() {
        let (pages, step, start) = (112, 75, 31);
        let order = Order::new(pages, step, start).unwrap();
        let mut memory = vec![0; 112];
        let mut index = start;
        for stamp in 1..=500 {
            memory[usize_of(index)] = stamp;
            index = (index + step) % pages;
            for page in 0..pages {
                assert_eq!(order.stamp_of(page, stamp), memory[usize_of(page)], "{page} {stamp}");
            }
        }
    }

    #[test]
    fn a_step_that_skips_pages_is_refused() {
        assert!(Order::new(100, 40, 0).is_err());
    }

    #[test]
    fn the_c_header_has_the_same_numbers() {
        let header = include_str!("../../../../tests/targets/stamper.h");
        let has = |name: &str, value: u64| {
            let found = header
                .lines()
                .find_map(|line| line.strip_prefix(&format!("#define {name} ")))
                .unwrap_or_else(|| panic!("stamper.h has no {name}"));
            let text = found.split_whitespace().next().unwrap().trim_end_matches("ull");
            let number = match text.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
                None => text.parse().unwrap(),
            };
            assert_eq!(number, value, "{name}");
        };
        has("STAMP_MAGIC", STAMP_MAGIC);
        has("STAMP_VERSION", STAMP_VERSION);
        has("HEADER_BASE", HEADER_BASE);
        has("CHURN_BASE", CHURN_BASE);
        has("SLOT_STRIDE", SLOT_STRIDE);
        has("SLOT_OTHER", SLOT_OTHER);
        has("THREADS_MAX", THREADS_MAX);
        has("SLOTS_MAX", SLOTS_MAX);
        has("CHURN_BLOCK", CHURN_BLOCK);
        has("SLOT_TABLE", SLOT_TABLE);
        has("MARK_WRITER", MARK_WRITER);
        has("MARK_CHURN", MARK_CHURN);
        has("IDENTITY_PAGE", IDENTITY_PAGE);
        has("IDENTITY_SLOT", IDENTITY_SLOT);
        has("WORD_MIDDLE", WORD_MIDDLE as u64);
        has("WORD_LAST", WORD_LAST as u64);
        has("SLOT_PAGES_SMALL", SMALL_PAGES);
        has("SLOT_PAGES_HUGE", THP_PAGES);
    }
}
