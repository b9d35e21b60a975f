//! The cut checker: says whether a snapshot of a stamper is a state that existed at one instant.

use anyhow::Result;

use super::layout::Header;
use super::snapshot::Snapshot;
use super::verdict::Verdict;
use super::{slots, writers};

/// Checks every promise of the stamper in one snapshot.
///
/// Fails only if the snapshot cannot be judged at all: it is no stamper's, or cannot be read.
/// Everything else is in the verdict.
pub(crate) fn check(snapshot: &mut dyn Snapshot) -> Result<Verdict> {
    let header = Header::read(snapshot)?;
    let mut verdict = Verdict::default();
    writers::check(snapshot, &header, &mut verdict)?;
    slots::check(snapshot, &header, &mut verdict)?;
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::super::model::Model;
    use super::super::snapshot::{Content, PAGE};
    use super::super::verdict::Promise;
    use super::*;

    fn broken_promises(model: &mut Model) -> Vec<Promise> {
        let verdict = check(model).expect("the model is a stamper");
        verdict.told.iter().map(|v| v.promise).collect()
    }

    #[test]
    fn every_instant_of_a_stamper_passes() {
        let mut model = Model::new();
        for store in 0..2_000 {
            let verdict = check(&mut model).expect("the model is a stamper");
            assert_eq!(verdict.told, [], "after {store} stores");
            assert_eq!(verdict.pages, Model::PAGES);
            model.store();
        }
    }

    #[test]
    fn a_page_from_later_is_caught() {
        // 40 stores are several stamps of either writer, so the page is none of those in flight.
        // The page of the earlier instant in a snapshot of the later one, and the other way round.
        for age in [40, 100, 300, 900] {
            let mut before = Model::new();
            (0..1_000).for_each(|_| before.store());
            let mut after = before.clone();
            (0..age).for_each(|_| after.store());
            let changed = before.page_stamped_since(&after).expect("a stamp takes six stores");
            let (mut newer, mut older) = (before.clone(), after.clone());
            newer.take_page(&after, changed);
            older.take_page(&before, changed);
            assert!(!broken_promises(&mut newer).is_empty(), "newer by {age}");
            assert!(!broken_promises(&mut older).is_empty(), "older by {age}");
        }
    }

    #[test]
    fn a_thread_from_later_is_caught() {
        let mut before = Model::new();
        (0..1_000).for_each(|_| before.store());
        let mut after = before.clone();
        (0..64).for_each(|_| after.store());
        before.take_registers(&after);
        assert!(broken_promises(&mut before).contains(&Promise::RegisterMatches));
    }

    #[test]
    fn a_lost_thread_is_caught() {
        let mut model = Model::new();
        model.lose_thread();
        assert_eq!(broken_promises(&mut model), [Promise::ThreadThere]);
    }

    #[test]
    fn zeros_in_place_of_a_page_are_caught() {
        let mut model = Model::new();
        (0..1_000).for_each(|_| model.store());
        *model.page_mut(Model::STAMPED) = [0; PAGE];
        assert!(broken_promises(&mut model).contains(&Promise::Identity));
    }

    #[test]
    fn a_stray_byte_is_caught() {
        for (at, promise) in
            [(Model::STAMPED, Promise::Untouched), (Model::SLOT, Promise::Untouched)]
        {
            let mut model = Model::new();
            model.page_mut(at)[1000] = 1;
            assert_eq!(broken_promises(&mut model), [promise]);
        }
    }

    #[test]
    fn stamped_memory_may_not_be_missing() {
        for content in [Content::Absent, Content::Freed] {
            let mut model = Model::new();
            model.set_content(Model::STAMPED, content);
            assert_eq!(broken_promises(&mut model), [Promise::PageThere]);
        }
    }

    #[test]
    fn slot_memory_may_be_freed_but_not_missing() {
        let mut model = Model::new();
        model.set_content(Model::SLOT, Content::Freed);
        let verdict = check(&mut model).expect("the model is a stamper");
        assert_eq!((verdict.violations, verdict.freed), (0, 1));
        model.set_content(Model::SLOT, Content::Absent);
        assert_eq!(broken_promises(&mut model), [Promise::SlotThere]);
    }

    #[test]
    fn slot_memory_of_another_generation_is_caught() {
        let mut model = Model::new();
        model.page_mut(Model::SLOT)[2] ^= 1;
        assert_eq!(broken_promises(&mut model), [Promise::SlotContent]);
    }

    #[test]
    fn content_in_a_dropped_page_is_caught() {
        let mut model = Model::new();
        model.page_mut(Model::SLOT_HOLE)[0] = 1;
        assert_eq!(broken_promises(&mut model), [Promise::SlotHole]);
    }

    #[test]
    fn memory_that_was_not_mapped_is_caught() {
        let mut model = Model::new();
        model.map(Model::SLOT_UNMAPPED);
        assert_eq!(broken_promises(&mut model), [Promise::SlotGone]);
    }

    #[test]
    fn two_unsettled_slots_are_caught() {
        let mut model = Model::new();
        model.unsettle_all_slots();
        assert_eq!(broken_promises(&mut model), [Promise::OneChange]);
    }
}
