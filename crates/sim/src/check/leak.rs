//! Nothing is left when everything is over.

use super::history::History;

pub(super) fn check(history: &History) -> Result<(), String> {
    match history.left.iter().find(|(_, count)| **count > 0) {
        Some((what, count)) => Err(format!("{count} {what} are left")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named() {
        let mut history = History::default();
        history.left.insert("frames", 0);
        assert_eq!(check(&history), Ok(()));
        history.left.insert("frames", 2);
        assert_eq!(check(&history), Err("2 frames are left".to_owned()));
    }
}
