//! Which steps are taken: the others name what is not there, or lead where nobody can follow.

use faultless_uapi::mode::register;
use faultless_uapi::scan::pagemap::UFFD_WP;

use super::{Pending, Session, Slot};
use crate::conform::World;
use crate::conform::linux::advice;
use crate::differential::program::{Asked, Backing, Op, PROCESSES, Span, Step, Verb};

/// Most userfaultfds, and most objects.
const DESCRIPTORS: usize = 4;

impl<W: World + ?Sized> Session<'_, W> {
    /// Says whether a step would be taken.
    #[must_use]
    pub fn permits(&self, step: &Step) -> bool {
        let Some(role) = self.role(step.who.process.0) else { return false };
        let pending = role.pending.get(&step.who.index);
        if step.op == Op::Interrupt {
            return pending == Some(&Pending::Access);
        }
        pending.is_none() && self.has_what_it_names(step.who.process.0, &step.op)
    }

    fn blocked(&self) -> usize {
        self.cast.iter().map(|role| role.pending.len()).sum()
    }

    fn has_what_it_names(&self, process: u32, op: &Op) -> bool {
        let holds = |slots: &[Slot], index: usize| {
            slots.get(index).is_some_and(|slot| slot.holders.contains(&process))
        };
        match op {
            Op::Map(_, Backing::Object { index, .. }, _)
            | Op::Resize(index, _)
            | Op::Punch(index, ..)
            | Op::WriteObject(index, ..)
            | Op::ReadObject(index, _) => holds(&self.objects, *index),
            Op::Drain(index) => holds(&self.uffds, *index),
            Op::Close(index) => {
                // A child on its way holds it too, but has no number yet.
                holds(&self.uffds, *index)
                    && self.legacies.is_empty()
                    && (self.uffds[*index].holders.len() > 1 || self.blocked() <= 1)
            }
            Op::Request(index, asked) => holds(&self.uffds, *index) && !self.strands(asked),
            Op::Scan(..) => !self.may_lack_tables(process),
            Op::Kill(process) => *process != 0 && self.may_die(*process),
            Op::Exec => self.legacies.is_empty() && self.may_die(process),
            Op::Advise(span, advice::GUARD_INSTALL) => !self.never_ends(process, *span),
            Op::RemoteLoad(of, _) => self.role(*of).is_some(),
            Op::Fork => self.cast.len() < PROCESSES,
            Op::Open(..) => self.uffds.len() < DESCRIPTORS,
            Op::MakeObject(..) => self.objects.len() < DESCRIPTORS,
            _ => true,
        }
    }

    /// Linux tries for ever to put guards where an object is mapped and its pages, or the markers
    /// that stand for them, are write-protected: dropping them leaves a marker each time.
    fn never_ends(&self, process: u32, span: Span) -> bool {
        self.maps_objects && self.holds_protected(process, span)
    }

    /// A store to a hugetlb page that is still protected after its memory was registered anew,
    /// without write-protection, faults for ever on Linux.
    fn strands(&self, asked: &Asked) -> bool {
        let drops = asked.verb == Verb::Register && asked.mode & register::WP == 0;
        let anywhere =
            || self.last.keys().any(|process| self.holds_protected(*process, asked.span));
        drops && !self.pools.is_empty() && anywhere()
    }

    /// A scan tells missing hugetlb pages by the tables above them, which the model does not keep:
    /// where anything is mapped in the arena they exist.
    fn may_lack_tables(&self, process: u32) -> bool {
        let empty = |words: &Vec<u64>| words.iter().all(|word| *word == 0);
        !self.pools.is_empty() && self.last.get(&process).is_none_or(empty)
    }

    /// Says whether pages or markers of a span were protected when they were seen last.
    fn holds_protected(&self, process: u32, span: Span) -> bool {
        let Some(pagemap) = self.last.get(&process) else { return false };
        let place = |page: u64| usize::try_from(page).unwrap_or(usize::MAX);
        let pages = place(span.page)..place(span.page + span.pages).min(pagemap.len());
        pagemap.get(pages).is_some_and(|words| words.iter().any(|word| word & UFFD_WP != 0))
    }

    /// A userfaultfd that closes lets everybody go on at once, in an order nobody can foresee; an
    /// io_uring that closes lets its pages go some time later.
    fn may_die(&self, process: u32) -> bool {
        let last = |slot: &&Slot| slot.holders.len() == 1 && slot.holders.contains(&process);
        let closes = self.uffds.iter().any(|slot| last(&slot));
        let pins = self.pinning.contains(&process);
        self.role(process).is_some() && !pins && (!closes || self.blocked() <= 1)
    }
}
