//! Historic bugs by name, to be switched over in a model: what cannot be wrong on demand tests
//! nothing.

use faultless_mm::Profile;

use super::deed::Deed;

/// A bug, and how to change a model in that respect.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// It only shows when two calls run at once.
    pub races: bool,
    /// The kinds of operation it is about.
    pub theme: &'static [Deed],
    field: fn(&mut Profile) -> &mut bool,
}

impl Bug {
    /// Every bug that is looked for here. Those of MOVE at the swap cache and of walks of the
    /// reverse map take searches of their own, which the model's tests make.
    pub const ALL: &[Bug] = &[
        Bug {
            name: "move-drops-wp",
            races: false,
            theme: &[Deed::Register, Deed::Writeprotect, Deed::Move, Deed::Store],
            field: |model| &mut model.bugs.move_drops_wp,
        },
        Bug {
            name: "unregister-leaves-wp-waiters",
            races: false,
            theme: &[Deed::Register, Deed::Writeprotect, Deed::Unregister, Deed::Store],
            field: |model| &mut model.bugs.unregister_leaves_wp_waiters,
        },
        Bug {
            name: "copy-over-poison",
            races: false,
            theme: &[Deed::Register, Deed::Poison, Deed::Copy],
            field: |model| &mut model.bugs.copy_over_poison,
        },
        Bug {
            name: "lost-wake",
            races: true,
            theme: &[Deed::Register, Deed::Copy, Deed::Load],
            field: |model| &mut model.bugs.lost_wake,
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
