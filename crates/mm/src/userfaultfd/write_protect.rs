//! WRITEPROTECT.

use faultless_uapi::UffdioWriteprotect;
use faultless_uapi::mode::register;

use crate::errno::Errno;
use crate::id::ContextId;
use crate::kernel::Kernel;
use crate::userfaultfd::protect_pages::Wish;
use crate::userfaultfd::request::User;

impl Kernel {
    /// Protects pages against stores, or no longer.
    pub(super) async fn write_protect(
        &self,
        id: ContextId,
        mut user: User<'_>,
    ) -> Result<u64, Errno> {
        let bytes = self.protect_argument(id, &mut user).await?;
        let UffdioWriteprotect { range, mode } = UffdioWriteprotect::from_bytes(bytes);
        self.change_protection(id, &Wish { range, mode, of: register::WP }).await
    }
}
