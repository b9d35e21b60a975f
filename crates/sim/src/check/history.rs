//! What was done to which page, from when to when.

use std::collections::BTreeMap;
use std::fmt;

/// A step of the run: its scheduler lets one task go on.
pub type Step = u64;

/// The index of a page.
pub type Page = u64;

/// What a page holds, as far as anybody looks: every store is of another word.
pub type Word = u64;

/// What is done to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is read, and holds this once the deed has ended.
    Load(Word),
    /// This is written.
    Store(Word),
    /// Its content is given up: from now on it is zeros.
    Discard,
    /// A pager puts a page there, which was missing.
    Install,
    /// A pager drops a page that it can put there again.
    Evict,
}

/// Something done to one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Who did it.
    pub by: u32,
    /// To which page.
    pub page: Page,
    /// What.
    pub what: What,
    /// Its first step.
    pub begun: Step,
    /// Its last step, if it ended.
    pub ended: Option<Step>,
}

impl Deed {
    /// Says whether it was over before the other began.
    #[must_use]
    pub fn is_before(&self, other: &Deed) -> bool {
        self.ended.is_some_and(|ended| ended < other.begun)
    }
}

/// A deed of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeedId(usize);

/// Everything that was done in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What each page held before anybody did anything.
    pub before: BTreeMap<Page, Word>,
    /// How many steps a deed may take.
    pub patience: Step,
    /// How many steps the run has taken.
    pub now: Step,
    /// What should be gone at the end, and how much of it is not.
    pub left: BTreeMap<&'static str, u64>,
    deeds: Vec<Deed>,
}

impl History {
    /// Begins a history of pages that hold something.
    #[must_use]
    pub fn new(before: impl IntoIterator<Item = (Page, Word)>, patience: Step) -> History {
        History { before: before.into_iter().collect(), patience, ..History::default() }
    }

    /// Writes down that somebody begins to do something.
    pub fn begin(&mut self, by: u32, page: Page, what: What) -> DeedId {
        self.deeds.push(Deed { by, page, what, begun: self.now, ended: None });
        DeedId(self.deeds.len() - 1)
    }

    /// Writes down that it is over.
    pub fn end(&mut self, deed: DeedId) {
        self.deeds[deed.0].ended = Some(self.now);
    }

    /// Writes down that a load is over and what it brought.
    pub fn end_load(&mut self, deed: DeedId, word: Word) {
        self.deeds[deed.0].what = What::Load(word);
        self.end(deed);
    }

    /// Strikes a deed out that came to nothing, such as one that was refused.
    pub fn strike(&mut self, deed: DeedId) {
        // Kept in place, for others hold indices: an empty load of no page that never was.
        self.deeds[deed.0].page = Page::MAX;
        self.end(deed);
    }

    /// All deeds, in the order they began.
    pub fn deeds(&self) -> impl Iterator<Item = &Deed> {
        self.deeds.iter().filter(|deed| deed.page != Page::MAX)
    }

    /// What a process forked by a deed remembers: everything that was done before the fork ended.
    /// Of what was under way then nobody can say whether the child has it: it never ends for it.
    #[must_use]
    pub fn forked(&self, begun: Step) -> History {
        let mut child = self.clone();
        for deed in &mut child.deeds {
            deed.ended = deed.ended.filter(|ended| *ended < begun);
        }
        child
    }

    /// The deeds of one page.
    pub(super) fn of(&self, page: Page) -> impl Iterator<Item = &Deed> {
        self.deeds().filter(move |deed| deed.page == page)
    }

    /// The loads that ended, with what they brought.
    pub(super) fn loads(&self) -> impl Iterator<Item = (&Deed, Word)> {
        self.deeds().filter_map(|deed| match (deed.what, deed.ended) {
            (What::Load(word), Some(_)) => Some((deed, word)),
            _ => None,
        })
    }

    /// The deed that gave a page this word: a store, or what was there before.
    pub(super) fn origin(&self, page: Page, word: Word) -> Option<Deed> {
        let stored = self.of(page).find(|deed| deed.what == What::Store(word)).copied();
        stored.or_else(|| (self.before.get(&page) == Some(&word)).then(|| born(page, word)))
    }
}

/// A line a deed.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Deed { by, page, what, begun, ended } in self.deeds() {
            let ended = ended.map_or_else(|| "...".to_owned(), |ended| ended.to_string());
            writeln!(f, "{begun:4}-{ended:4}  actor {by}  page {page}  {what:x?}")?;
        }
        Ok(())
    }
}

/// What was there before, as a store that ended before the first step.
fn born(page: Page, word: Word) -> Deed {
    Deed { by: 0, page, what: What::Store(word), begun: 0, ended: Some(0) }
}
