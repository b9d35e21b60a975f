//! No page is installed twice.
//!
//! Two pages may only be put at the same place if the first was given up or dropped in between:
//! some discard or eviction was under way at some time between the first step of the one and the
//! last of the other.

use super::history::{Deed, History, What};

pub(super) fn check(history: &History) -> Result<(), String> {
    let installs: Vec<&Deed> =
        history.deeds().filter(|deed| deed.what == What::Install && deed.ended.is_some()).collect();
    for (place, second) in installs.iter().enumerate() {
        let earlier = installs[..place].iter().rev();
        let Some(first) = earlier.copied().find(|first| first.page == second.page) else {
            continue;
        };
        let between = |deed: &Deed| {
            let drops = matches!(deed.what, What::Discard | What::Evict);
            drops && !deed.is_before(first) && !second.is_before(deed)
        };
        if !history.of(second.page).any(between) {
            return Err(format!("{first:?}, and again {second:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(deeds: &[(What, u64, u64)]) -> History {
        let mut history = History::default();
        for (what, begun, ended) in deeds {
            history.now = *begun;
            let deed = history.begin(1, 0, *what);
            history.now = *ended;
            history.end(deed);
        }
        history
    }

    const FIRST: (What, u64, u64) = (What::Install, 1, 2);
    const SECOND: (What, u64, u64) = (What::Install, 7, 8);

    #[test]
    fn a_page_that_is_there_is_not_installed_again() {
        assert!(check(&history(&[FIRST])).is_ok());
        assert!(check(&history(&[FIRST, SECOND])).is_err());
    }

    #[test]
    fn after_a_discard_it_may_be() {
        assert!(check(&history(&[FIRST, (What::Discard, 4, 5), SECOND])).is_ok());
        assert!(check(&history(&[FIRST, SECOND, (What::Discard, 9, 10)])).is_err());
    }

    #[test]
    fn an_install_that_was_refused_does_not_count() {
        let mut history = history(&[FIRST]);
        let refused = history.begin(1, 0, What::Install);
        history.strike(refused);
        assert!(check(&history).is_ok());
    }
}
