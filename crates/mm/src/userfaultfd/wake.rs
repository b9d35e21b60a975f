//! WAKE.

use faultless_uapi::UffdioRange;

use crate::errno::Errno;
use crate::id::ContextId;
use crate::kernel::Kernel;
use crate::userfaultfd::request::User;

impl Kernel {
    /// Wakes the faults of a range. Works on the dead too.
    pub(super) async fn wake_request(&self, id: ContextId, user: User<'_>) -> Result<u64, Errno> {
        let range = UffdioRange::from_bytes(user.get(self).await?);
        let range = self.state().possible(range)?;
        self.wake_range(id, range);
        Ok(0)
    }
}
