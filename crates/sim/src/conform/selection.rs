//! Which cases are wanted, by parts of their names.

use super::cases::{CASES, Case};

/// What is asked of a name; the default wants every case.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Parts of names; a case is wanted when its name contains one of them, or when there are none.
    pub filters: Vec<String>,
    /// Parts of names; a case whose name contains one of them is not wanted.
    pub skips: Vec<String>,
    /// Both are whole names, not parts.
    pub exact: bool,
}

impl Selection {
    /// Says whether the case is wanted.
    #[must_use]
    pub fn wants(&self, case: &Case) -> bool {
        let name = case.full_name();
        let matches = |filter: &String| {
            if self.exact { name == *filter } else { name.contains(filter.as_str()) }
        };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skips.iter().any(matches)
    }

    /// The wanted cases, in the order of [`CASES`].
    #[must_use]
    pub fn cases(&self) -> Vec<&'static Case> {
        CASES.iter().filter(|case| self.wants(case)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(selection: &Selection) -> Vec<String> {
        selection.cases().into_iter().map(Case::full_name).collect()
    }

    #[test]
    fn filters_are_parts_of_names_and_exact_ones_whole_names() {
        let wake = vec!["wake::".to_owned()];
        let only = Selection { filters: wake.clone(), ..Selection::default() };
        assert!(names(&only).iter().all(|name| name.starts_with("wake::")));
        let without = Selection { skips: wake, ..Selection::default() };
        assert!(!names(&without).iter().any(|name| name.starts_with("wake::")));
        let one = vec![CASES[0].full_name()];
        let exact = Selection { filters: one.clone(), exact: true, ..Selection::default() };
        assert_eq!(names(&exact), one);
    }

    #[test]
    fn names_are_unique() {
        let mut names = names(&Selection::default());
        assert_eq!(names.len(), CASES.len());
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
    }
}
