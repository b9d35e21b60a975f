//! Nothing of before a discard is read after it.
//!
//! A word is stale if a discard began after the word was written and ended before the load began.
//! Zeros never are: they are what a discard leaves.

use super::history::{Deed, History, What};

pub(super) fn check(history: &History) -> Result<(), String> {
    for (load, word) in history.loads() {
        let Some(origin) = history.origin(load.page, word).filter(|_| word != 0) else { continue };
        let between = |deed: &&Deed| {
            deed.what == What::Discard && origin.is_before(deed) && deed.is_before(load)
        };
        if let Some(discard) = history.of(load.page).find(between) {
            return Err(format!("{load:?} brought {word:#x} of before {discard:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Page 0 holds 9, is discarded from step 3 to step 5, and loaded with this outcome.
    fn loaded(word: u64, begun: u64) -> History {
        let mut history = History::new([(0, 9)], 0);
        history.now = 3;
        let discard = history.begin(1, 0, What::Discard);
        history.now = 5;
        history.end(discard);
        history.now = begun;
        let load = history.begin(2, 0, What::Load(0));
        history.now += 1;
        history.end_load(load, word);
        history
    }

    #[test]
    fn what_was_discarded_does_not_come_back() {
        assert!(check(&loaded(9, 6)).is_err());
        assert!(check(&loaded(0, 6)).is_ok());
    }

    #[test]
    fn while_a_discard_is_under_way_both_may_be_read() {
        assert!(check(&loaded(9, 4)).is_ok());
        assert!(check(&loaded(0, 4)).is_ok());
    }
}
