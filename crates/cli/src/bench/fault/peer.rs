//! The minimal loop on the crate `userfaultfd`, if it is built in.

use super::Made;
use super::scene::Scene;

/// Makes the loop.
#[cfg(feature = "bench-peers")]
pub(super) fn minimal_loop(scene: &Scene) -> Made<'_> {
    Ok(Ok(Box::new(built_in::Peer(scene))))
}

/// Says that the loop is not there.
#[cfg(not(feature = "bench-peers"))]
pub(super) fn minimal_loop(_: &Scene) -> Made<'_> {
    Ok(Err("built without the feature bench-peers"))
}

#[cfg(feature = "bench-peers")]
mod built_in {
    //! The loop as a contender.

    use std::sync::Arc;

    use faultless_peers::MinimalLoop;

    use crate::bench::fault::crowd::{Expected, Touches, touch};
    use crate::bench::fault::scene::{Scene, host};
    use crate::bench::fault::{Contender, Task};
    use crate::exit::Failure;

    pub(super) struct Peer<'a>(pub(super) &'a Scene);

    impl Contender for Peer<'_> {
        fn touch(&mut self, task: Task) -> Result<Touches, Failure> {
            let memory = self.0.memory()?;
            let content = Arc::clone(self.0.content());
            let served = MinimalLoop::serve(Arc::clone(&memory), content);
            let served = served.map_err(|error| host(&error))?;
            let touches = touch(&memory, task, Expected::Content);
            drop(served);
            touches
        }
    }
}
