//! The kinds of operation a program can draw, and how often one run draws each.
//!
//! A program in which everything happens hides what only shows when something is absent: each
//! kind is therefore on or off for a whole program, by the toss of a coin, and where it is on its
//! weight is drawn too (Groce and others, "Swarm testing", 2012).

use std::collections::BTreeMap;

use faultless_uapi::mode::writeprotect;

use super::program::{Asked, Op, Verb};
use crate::conform::linux::advice;
use crate::random::{Odds, Random};

macro_rules! deeds {
    ($($(#[$meta:meta])* $name:ident $weight:literal,)*) => {
        /// A kind of operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Deed {
            $($(#[$meta])* $name,)*
        }

        impl Deed {
            /// Every kind.
            pub const ALL: &[Deed] = &[$(Deed::$name,)*];

            /// How likely it is compared to others, before weights are drawn.
            #[must_use]
            pub fn usual_weight(self) -> u64 {
                match self {
                    $(Deed::$name => $weight,)*
                }
            }
        }
    };
}

deeds! {
    /// `mmap`.
    Map 6,
    /// `munmap`.
    Unmap 3,
    /// `mprotect`.
    Protect 3,
    /// `mremap`.
    Remap 4,
    /// `mremap` that leaves the old mapping.
    RemapKeep 2,
    /// `brk`.
    Brk 2,
    /// `mlock`.
    Lock 1,
    /// `munlock`.
    Unlock 1,
    /// Pinning.
    Pin 1,
    /// MADV_DONTNEED.
    DontNeed 5,
    /// MADV_DONTNEED_LOCKED.
    DontNeedLocked 1,
    /// MADV_FREE.
    Free 3,
    /// MADV_REMOVE.
    Remove 3,
    /// MADV_DONTFORK.
    DontFork 1,
    /// MADV_MERGEABLE.
    Mergeable 1,
    /// MADV_HUGEPAGE.
    Huge 2,
    /// MADV_NOHUGEPAGE.
    NoHuge 1,
    /// MADV_COLD.
    Cold 1,
    /// MADV_PAGEOUT.
    Pageout 6,
    /// MADV_POPULATE_READ.
    PopulateRead 2,
    /// MADV_POPULATE_WRITE.
    PopulateWrite 2,
    /// MADV_COLLAPSE.
    Collapse 2,
    /// MADV_GUARD_INSTALL.
    GuardInstall 2,
    /// MADV_GUARD_REMOVE.
    GuardRemove 2,
    /// A load.
    Load 12,
    /// A store.
    Store 14,
    /// A load by the kernel.
    KernelLoad 4,
    /// A store by the kernel.
    KernelStore 4,
    /// A load from another process.
    RemoteLoad 3,
    /// `fork`.
    Fork 4,
    /// `execve`.
    Exec 1,
    /// The end of a process.
    Kill 2,
    /// A signal.
    Interrupt 2,
    /// A new object.
    MakeObject 3,
    /// `ftruncate`.
    Resize 2,
    /// A hole.
    Punch 3,
    /// A write to an object.
    WriteObject 4,
    /// A read of an object.
    ReadObject 2,
    /// A userfaultfd.
    Open 2,
    /// Its end.
    Close 1,
    /// Reading messages.
    Drain 14,
    /// REGISTER.
    Register 7,
    /// UNREGISTER.
    Unregister 3,
    /// WAKE.
    Wake 4,
    /// COPY.
    Copy 12,
    /// ZEROPAGE.
    Zeropage 6,
    /// MOVE.
    Move 12,
    /// CONTINUE.
    Continue 7,
    /// POISON.
    Poison 5,
    /// WRITEPROTECT that protects.
    Writeprotect 9,
    /// WRITEPROTECT that takes protection off.
    Unprotect 7,
    /// RWPROTECT.
    ReadProtect 1,
    /// SET_MODE.
    SetMode 1,
    /// `PAGEMAP_SCAN`.
    Scan 4,
}

impl Op {
    /// Its kind.
    #[must_use]
    pub fn deed(&self) -> Deed {
        match self {
            Op::Map(..) => Deed::Map,
            Op::Unmap(_) => Deed::Unmap,
            Op::Protect(..) => Deed::Protect,
            Op::Remap { keep: false, .. } => Deed::Remap,
            Op::Remap { .. } => Deed::RemapKeep,
            Op::Advise(_, advice) => Deed::of_advice(*advice),
            Op::Brk(_) => Deed::Brk,
            Op::Lock(_) => Deed::Lock,
            Op::Unlock(_) => Deed::Unlock,
            Op::Pin(_) => Deed::Pin,
            Op::Load(_) => Deed::Load,
            Op::Store(..) => Deed::Store,
            Op::KernelLoad(_) => Deed::KernelLoad,
            Op::KernelStore(..) => Deed::KernelStore,
            Op::RemoteLoad(..) => Deed::RemoteLoad,
            Op::Fork => Deed::Fork,
            Op::Exec => Deed::Exec,
            Op::Kill(_) => Deed::Kill,
            Op::Interrupt => Deed::Interrupt,
            Op::MakeObject(..) => Deed::MakeObject,
            Op::Resize(..) => Deed::Resize,
            Op::Punch(..) => Deed::Punch,
            Op::WriteObject(..) => Deed::WriteObject,
            Op::ReadObject(..) => Deed::ReadObject,
            Op::Open(..) => Deed::Open,
            Op::Close(_) => Deed::Close,
            Op::Drain(_) => Deed::Drain,
            Op::Request(_, asked) => asked.deed(),
            Op::Scan(..) => Deed::Scan,
        }
    }
}

impl Asked {
    fn deed(self) -> Deed {
        match self.verb {
            Verb::Register => Deed::Register,
            Verb::Unregister => Deed::Unregister,
            Verb::Wake => Deed::Wake,
            Verb::Copy(_) => Deed::Copy,
            Verb::Zeropage => Deed::Zeropage,
            Verb::Move(_) => Deed::Move,
            Verb::Continue => Deed::Continue,
            Verb::Poison => Deed::Poison,
            Verb::Writeprotect if self.mode & writeprotect::WP != 0 => Deed::Writeprotect,
            Verb::Writeprotect => Deed::Unprotect,
            Verb::ReadProtect => Deed::ReadProtect,
            Verb::SetMode(_) => Deed::SetMode,
        }
    }
}

/// Advice and its kind.
const ADVICE: [(Deed, u32); 15] = [
    (Deed::DontNeed, advice::DONTNEED),
    (Deed::DontNeedLocked, advice::DONTNEED_LOCKED),
    (Deed::Free, advice::FREE),
    (Deed::Remove, advice::REMOVE),
    (Deed::DontFork, advice::DONTFORK),
    (Deed::Mergeable, advice::MERGEABLE),
    (Deed::Huge, advice::HUGEPAGE),
    (Deed::NoHuge, advice::NOHUGEPAGE),
    (Deed::Cold, advice::COLD),
    (Deed::Pageout, advice::PAGEOUT),
    (Deed::PopulateRead, advice::POPULATE_READ),
    (Deed::PopulateWrite, advice::POPULATE_WRITE),
    (Deed::Collapse, advice::COLLAPSE),
    (Deed::GuardInstall, advice::GUARD_INSTALL),
    (Deed::GuardRemove, advice::GUARD_REMOVE),
];

impl Deed {
    /// The advice it is, if it is any.
    #[must_use]
    pub fn advice(self) -> Option<u32> {
        ADVICE.iter().find(|(deed, _)| *deed == self).map(|(_, advice)| *advice)
    }

    fn of_advice(number: u32) -> Deed {
        let known = ADVICE.iter().find(|(_, advice)| *advice == number);
        known.map_or(Deed::Cold, |(deed, _)| *deed)
    }
}

/// Without these nothing happens.
const ALWAYS: [Deed; 8] = [
    Deed::Map,
    Deed::Load,
    Deed::Store,
    Deed::Drain,
    Deed::Register,
    Deed::Copy,
    Deed::Wake,
    Deed::Fork,
];

/// How likely each kind is in one program.
#[derive(Clone, Debug)]
pub struct Weights {
    weights: BTreeMap<Deed, u64>,
    total: u64,
}

impl Weights {
    /// Draws the weights of a program, among the kinds that are not left out.
    #[must_use]
    pub fn draw(random: &mut Random, left_out: &[Deed]) -> Weights {
        let mut weights = BTreeMap::new();
        for deed in Deed::ALL {
            let on = random.happens(Odds::one_in(2)) || ALWAYS.contains(deed);
            let factor = random.within(1..=6);
            if on && !left_out.contains(deed) {
                weights.insert(*deed, deed.usual_weight() * factor);
            }
        }
        let total: u64 = weights.values().sum();
        Weights { weights, total }
    }

    /// Says whether a kind can come at all.
    #[must_use]
    pub fn has(&self, deed: Deed) -> bool {
        self.weights.contains_key(&deed)
    }

    /// Draws a kind.
    pub fn pick(&self, random: &mut Random) -> Deed {
        let mut left = random.below(self.total);
        for (deed, weight) in &self.weights {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *deed,
            }
        }
        Deed::Load
    }
}
