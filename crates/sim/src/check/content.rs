//! Every read equals the last write.
//!
//! A load may bring a word that was stored, unless another store lay wholly between the two; and
//! zeros, if a discard came and no store lay wholly between it and the load. That a discard takes
//! earlier words away is the rule of `stale`.

use super::history::{Deed, History, What, Word};

pub(super) fn check(history: &History) -> Result<(), String> {
    for (load, word) in history.loads() {
        if !explained(history, load, word) {
            return Err(format!("{load:?} brought {word:#x}, which is not what was written last"));
        }
    }
    Ok(())
}

fn explained(history: &History, load: &Deed, word: Word) -> bool {
    let current = |origin: &Deed| {
        let overwrites = |deed: &&Deed| {
            matches!(deed.what, What::Store(_)) && origin.is_before(deed) && deed.is_before(load)
        };
        !load.is_before(origin) && history.of(load.page).find(overwrites).is_none()
    };
    let stored = history.origin(load.page, word).is_some_and(|store| current(&store));
    let discarded = |deed: &Deed| deed.what == What::Discard && current(deed);
    stored || (word == 0 && history.of(load.page).any(discarded))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A history of page 0, which holds 9 before; each deed with its first and last step.
    fn history(deeds: &[(What, u64, u64)]) -> History {
        let mut history = History::new([(0, 9)], 0);
        for (what, begun, ended) in deeds {
            history.now = *begun;
            let deed = history.begin(1, 0, *what);
            history.now = *ended;
            history.end(deed);
        }
        history
    }

    #[test]
    fn what_was_there_before_is_read_until_it_is_overwritten() {
        assert!(check(&history(&[(What::Load(9), 1, 2)])).is_ok());
        assert!(check(&history(&[(What::Store(5), 1, 2), (What::Load(5), 3, 4)])).is_ok());
        assert!(check(&history(&[(What::Store(5), 1, 2), (What::Load(9), 3, 4)])).is_err());
    }

    #[test]
    fn overlapping_stores_may_come_in_any_order() {
        let stores = [(What::Store(5), 1, 6), (What::Store(6), 2, 5)];
        for word in [5, 6] {
            assert!(check(&history(&[&stores[..], &[(What::Load(word), 7, 8)]].concat())).is_ok());
        }
        assert!(check(&history(&[&stores[..], &[(What::Load(9), 7, 8)]].concat())).is_err());
        assert!(check(&history(&[&stores[..], &[(What::Load(9), 3, 3)]].concat())).is_ok());
    }

    #[test]
    fn zeros_and_words_of_nobody_are_found() {
        assert!(check(&history(&[(What::Load(0), 1, 2)])).is_err());
        assert!(check(&history(&[(What::Load(7), 1, 2)])).is_err());
        assert!(check(&history(&[(What::Load(5), 1, 2), (What::Store(5), 3, 4)])).is_err());
    }

    #[test]
    fn a_discard_brings_zeros_until_the_next_store() {
        let discard = (What::Discard, 1, 2);
        assert!(check(&history(&[discard, (What::Load(0), 3, 4)])).is_ok());
        let stored = (What::Store(5), 3, 4);
        assert!(check(&history(&[discard, stored, (What::Load(0), 5, 6)])).is_err());
    }
}
