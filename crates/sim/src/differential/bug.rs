//! Historic bugs by name, to be switched over in a model: what cannot be wrong on demand tests
//! nothing.

use faultless_mm::Profile;

/// A bug, and how to change a model in that respect.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// It only shows when two calls run at once.
    pub races: bool,
    field: fn(&mut Profile) -> &mut bool,
}

impl Bug {
    /// Every bug that some call shows. A walk of the reverse map that forgets to look again shows
    /// in what reclaim thinks of a page, which no call tells.
    pub const ALL: &[Bug] = &[
        Bug { name: "move-drops-wp", races: false, field: |p| &mut p.bugs.move_drops_wp },
        Bug {
            name: "unregister-leaves-wp-waiters",
            races: false,
            field: |p| &mut p.bugs.unregister_leaves_wp_waiters,
        },
        Bug { name: "copy-over-poison", races: false, field: |p| &mut p.copy_respects_poison },
        Bug { name: "lost-wake", races: true, field: |p| &mut p.bugs.lost_wake },
        Bug {
            name: "move-forgets-swap-cache",
            races: true,
            field: |p| &mut p.bugs.move_forgets_swap_cache,
        },
        Bug {
            name: "move-forgets-swap-recheck",
            races: true,
            field: |p| &mut p.bugs.move_forgets_swap_recheck,
        },
    ];

    /// The bug of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.iter().find(|bug| bug.name == name).copied()
    }

    /// Switches it on where it is off, and off where it is on.
    pub fn toggle(&self, model: &mut Profile) {
        let field = (self.field)(model);
        *field = !*field;
    }
}
