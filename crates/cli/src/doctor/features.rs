//! Every feature of the handshake: its name, the first kernel, whether it is here.

use faultless_uapi::feature::{self, HISTORY};
use serde::Serialize;

/// One feature bit.
#[derive(Debug, Serialize)]
pub(crate) struct Feature {
    pub(crate) bit: u8,
    pub(crate) name: &'static str,
    /// The first kernel that has it.
    pub(crate) since: String,
    /// What works only with it.
    pub(crate) gives: &'static str,
    /// `None` where the kernel could not be asked.
    pub(crate) supported: Option<bool>,
    /// Whether a snapshot needs it.
    pub(crate) needed: bool,
}

/// What a snapshot cannot do without: the first write to a page must be held back, and memory that
/// goes away be told of.
const NEEDED: u64 = feature::FEATURE_PAGEFAULT_FLAG_WP
    | feature::FEATURE_EVENT_REMAP
    | feature::FEATURE_EVENT_REMOVE
    | feature::FEATURE_EVENT_UNMAP;

/// Lists every known feature; `supported` is the kernel's answer, if it gave one.
pub(crate) fn list(supported: Option<u64>) -> Vec<Feature> {
    HISTORY
        .iter()
        .map(|feature| Feature {
            bit: feature.bit,
            name: feature.name,
            since: feature.since_here().to_string(),
            gives: feature.gives,
            supported: supported.map(|bits| bits & feature.mask() != 0),
            needed: NEEDED & feature.mask() != 0,
        })
        .collect()
}

/// Returns the bits the kernel has and nobody here knows.
pub(crate) fn unknown(supported: Option<u64>) -> u64 {
    supported.unwrap_or(0) & !feature::KNOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_question_is_not_a_no() {
        assert!(list(None).iter().all(|feature| feature.supported.is_none()));
        let listed = list(Some(1));
        assert_eq!(listed[0].supported, Some(true));
        assert_eq!(listed[1].supported, Some(false));
        assert_eq!(listed[1].since, "4.11");
        assert_eq!(unknown(Some(1 << 40 | 1)), 1 << 40);
    }
}
