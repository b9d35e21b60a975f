//! What must hold of a town while nothing is under way: no word stands in two places, comes back
//! or goes for no reason, pinned pages stay, children keep what they were born with, and in the end
//! nothing is left.

use std::collections::BTreeSet;

use faultless_mm::ThreadId;
use faultless_pages::Va;

use crate::town::Town;

impl Town {
    /// The words of both streets as a process sees them, 0 where there is none.
    pub(crate) fn words(&mut self, who: ThreadId) -> Vec<u64> {
        let places: Vec<u64> = self.pages_of(0).chain(self.pages_of(1)).collect();
        places.into_iter().map(|at| self.word_at(who, at)).collect()
    }

    fn word_at(&mut self, who: ThreadId, at: u64) -> u64 {
        let mut out = [0; 8];
        let kernel = self.kernel.clone();
        let load = kernel.load(who, Va(at), &mut out);
        let loaded = self.runner.now(who, load).expect("nobody else is under way");
        if loaded.is_ok() { u64::from_ne_bytes(out) } else { 0 }
    }

    /// Looks at everything while nothing is under way.
    pub(crate) fn look(&mut self) -> Result<(), String> {
        let who = self.threads[0];
        let mut seen = BTreeSet::new();
        for word in self.words(who) {
            if word != 0 && !seen.insert(word) {
                return Err(format!("{word:#x} stands in two places"));
            }
            if self.gone.contains(&word) {
                return Err(format!("{word:#x} has come back"));
            }
        }
        let lost: Vec<u64> = self.alive.difference(&seen).copied().collect();
        if lost.len() > self.losses {
            return Err(format!("{lost:x?} are lost, {} may be", self.losses));
        }
        self.losses = 0;
        self.gone.extend(&lost);
        self.alive = seen;
        self.look_at_pins(who)?;
        self.look_at_children()?;
        self.kernel.audit()
    }

    fn look_at_pins(&mut self, who: ThreadId) -> Result<(), String> {
        for mut pin in std::mem::take(&mut self.pins) {
            let now = self.word_at(who, pin.at);
            if pin.sure && pin.word.is_some_and(|word| word != now) {
                return Err(format!("a pinned page has left {:#x}, {now:#x} came", pin.at));
            }
            if self.random.below(2) == 0 {
                let closed = self.kernel.close(who, pin.fd);
                self.runner.now(who, closed).expect("no waiting").expect("a descriptor");
            } else {
                pin.word = Some(now);
                self.pins.push(pin);
            }
        }
        Ok(())
    }

    fn look_at_children(&mut self) -> Result<(), String> {
        for (child, before) in self.children.clone() {
            let now = self.words(child);
            if now != before {
                return Err(format!("a child had {before:x?} and has {now:x?}"));
            }
        }
        Ok(())
    }

    /// Everybody goes; nothing may be left.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        for (child, _) in std::mem::take(&mut self.children) {
            self.exit(child);
        }
        self.exit(self.threads[0]);
        let usage = self.kernel.usage();
        if usage == faultless_mm::Usage::default() {
            return Ok(());
        }
        Err(format!("{usage:?} are left"))
    }
}
