//! What can be seen of a world after a step, free of what differs between worlds by right:
//! descriptor numbers, thread ids, addresses of scratch memory.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::conform::{Done, Stop, Thread};

/// What a step led to, and everything visible behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// It could not be taken: the thread was in a call, or what it names was not there.
    pub skipped: bool,
    /// Calls that ended, the step's own among them.
    pub ended: BTreeMap<Thread, Done>,
    /// Messages that were read: faults sorted, then events in order.
    pub messages: Vec<Message>,
    /// Threads that are blocked.
    pub blocked: Vec<Thread>,
    /// The memory of each process that is alive.
    pub memory: BTreeMap<u32, Memory>,
    /// What fdinfo says of each userfaultfd.
    pub queues: BTreeMap<usize, String>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Message {
    /// A fault.
    Fault {
        /// Of this thread, where that is told.
        thread: Option<Thread>,
        /// Here.
        address: u64,
        /// Of this kind.
        flags: u64,
    },
    /// A fork, which brought this userfaultfd.
    Fork(usize),
    /// Another event: its number and its words.
    Event(u8, [u64; 3]),
}

/// The memory of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The pagemap word of each page of the arena, what is always comparable of it.
    pub pagemap: Vec<u64>,
    /// What present pages hold; where a run of them could not be read, why, at its first page.
    pub content: BTreeMap<u64, Result<Vec<u8>, Stop>>,
    /// Bytes mapped by transparent huge pages, for each huge page of the arena.
    pub huge: Vec<u64>,
}

impl Seen {
    /// Names every difference to what another world shows, a line each; `names` are theirs.
    #[must_use]
    pub fn differences(&self, other: &Seen, names: [&str; 2]) -> Vec<String> {
        let mut lines = Lines { names, lines: Vec::new() };
        lines.compare("step skipped", &self.skipped, &other.skipped);
        lines.compare("messages", &self.messages, &other.messages);
        lines.compare("blocked threads", &self.blocked, &other.blocked);
        lines.compare_maps("call of", &self.ended, &other.ended);
        lines.compare_maps("fdinfo of uffd", &self.queues, &other.queues);
        let both = self.memory.keys().chain(other.memory.keys());
        for process in both.collect::<std::collections::BTreeSet<_>>() {
            match (self.memory.get(process), other.memory.get(process)) {
                (Some(ours), Some(theirs)) => lines.compare_memory(*process, ours, theirs),
                (ours, _) => lines.lines.push(format!(
                    "process {process} is alive in {} only",
                    names[usize::from(ours.is_none())]
                )),
            }
        }
        let more = lines.lines.len().saturating_sub(LINES);
        lines.lines.truncate(LINES);
        if more > 0 {
            lines.lines.push(format!("and {more} more"));
        }
        lines.lines
    }
}

/// Most lines a difference is told in; a huge page alone would take 512.
const LINES: usize = 10;

/// Differences as text.
struct Lines<'n> {
    names: [&'n str; 2],
    lines: Vec<String>,
}

impl Lines<'_> {
    fn compare<T: PartialEq + Debug>(&mut self, what: &str, ours: &T, theirs: &T) {
        if ours != theirs {
            let [left, right] = self.names;
            let (ours, theirs) = (shorten(ours), shorten(theirs));
            self.lines.push(format!("{what}: {left} {ours}, {right} {theirs}"));
        }
    }

    fn compare_maps<K, V>(&mut self, what: &str, ours: &BTreeMap<K, V>, theirs: &BTreeMap<K, V>)
    where
        K: Ord + Debug,
        V: PartialEq + Debug,
    {
        for (key, value) in ours {
            self.compare(&format!("{what} {key:x?}"), &Some(value), &theirs.get(key));
        }
        for (key, value) in theirs.iter().filter(|(key, _)| !ours.contains_key(key)) {
            self.compare(&format!("{what} {key:x?}"), &None, &Some(value));
        }
    }

    /// Content of pages that only one world has present shows in the pagemap already.
    fn compare_content(&mut self, process: u32, ours: &Memory, theirs: &Memory) {
        for (page, ours) in &ours.content {
            let Some(theirs) = theirs.content.get(page) else { continue };
            let what = format!("process {process}, content of page {page}");
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    if let Some((at, [left, right])) = first_difference(ours, theirs) {
                        self.compare(&format!("{what} at {at:#x}"), &left, &right);
                    }
                }
                _ => self.compare(&what, &ours.as_ref().err(), &theirs.as_ref().err()),
            }
        }
    }

    fn compare_memory(&mut self, process: u32, ours: &Memory, theirs: &Memory) {
        let words: Vec<_> = ours.pagemap.iter().zip(&theirs.pagemap).enumerate().collect();
        for run in words.chunk_by(|(_, words), (_, next)| words == next) {
            let [(first, (left, right)), .., (last, _)] = run else {
                let (page, (left, right)) = run[0];
                let what = format!("process {process}, pagemap of page {page}");
                self.compare(&what, &bits(*left), &bits(*right));
                continue;
            };
            let what = format!("process {process}, pagemap of pages {first} to {last}");
            self.compare(&what, &bits(**left), &bits(**right));
        }
        self.compare_content(process, ours, theirs);
        self.compare(&format!("process {process}, huge bytes"), &ours.huge, &theirs.huge);
    }
}

/// The first bytes in which two pages differ.
fn first_difference(ours: &[u8], theirs: &[u8]) -> Option<(usize, [u8; 2])> {
    let pairs = ours.iter().zip(theirs).enumerate();
    pairs.filter(|(_, (a, b))| a != b).map(|(at, (a, b))| (at, [*a, *b])).next()
}

/// The bits of a pagemap word by name.
fn bits(word: u64) -> Vec<&'static str> {
    use faultless_uapi::scan::pagemap::{
        EXCLUSIVE, FILE_OR_SHARED, GUARD, PRESENT, SWAPPED, UFFD_WP,
    };
    let names = [
        (PRESENT, "present"),
        (SWAPPED, "swapped"),
        (FILE_OR_SHARED, "file"),
        (GUARD, "guard"),
        (UFFD_WP, "wp"),
        (EXCLUSIVE, "exclusive"),
    ];
    names.iter().filter(|(bit, _)| word & bit != 0).map(|(_, name)| *name).collect()
}

/// A value as text, without the bulk of pages.
fn shorten(value: &impl Debug) -> String {
    let text = format!("{value:x?}");
    if text.len() <= 400 {
        text
    } else {
        format!("{}…", text.chars().take(400).collect::<String>())
    }
}
