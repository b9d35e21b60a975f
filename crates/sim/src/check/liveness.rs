//! Every fault ends within so many steps.
//!
//! The scheduler is fair in the long run: whoever can go on does so sooner or later. A deed that
//! outlasts the patience of the history waits for something that does not come.

use super::history::History;

pub(super) fn check(history: &History) -> Result<(), String> {
    for deed in history.deeds() {
        let until = deed.ended.unwrap_or(history.now);
        let took = until - deed.begun;
        if took > history.patience {
            let ended = if deed.ended.is_some() { "ended" } else { "still under way" };
            return Err(format!("{deed:?} took {took} steps, {ended}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::What;

    #[test]
    fn what_takes_too_long_is_found_whether_it_ended_or_not() {
        let mut history = History::new([], 10);
        let load = history.begin(1, 0, What::Load(0));
        history.now = 10;
        assert!(check(&history).is_ok());
        history.now = 11;
        assert!(check(&history).is_err());
        history.end(load);
        assert!(check(&history).is_err());
    }
}
