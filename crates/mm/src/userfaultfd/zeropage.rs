//! ZEROPAGE.

use faultless_uapi::UffdioZeropage;
use faultless_uapi::mode::zeropage;

use crate::errno::{EEXIST, EINVAL, ENOMEM, Errno};
use crate::id::ContextId;
use crate::kernel::Kernel;
use crate::machine::Content;
use crate::process::Entry;
use crate::userfaultfd::fill::{Filling, Order, Target};
use crate::userfaultfd::request::User;

const OUT_AT: usize = core::mem::offset_of!(UffdioZeropage, zeropage);

impl Kernel {
    /// Installs pages of zeros.
    pub(super) async fn zeropage(&self, id: ContextId, mut user: User<'_>) -> Result<u64, Errno> {
        self.refuse_if_changing(id, &mut user, Some(OUT_AT)).await?;
        let request = UffdioZeropage::from_bytes(user.get_head::<OUT_AT, _>(self).await?);
        let range = self.state().possible(request.range)?;
        if request.mode & !zeropage::DONTWAKE != 0 {
            return Err(EINVAL);
        }
        let order = Order { range, mode: request.mode, filling: Filling::Zero, out_at: OUT_AT };
        self.fill(id, user, &order).await
    }

    /// Private memory gets the page that all share, shared memory one of its own.
    pub(super) async fn zero_page(&self, target: &Target<'_>) -> Result<(), Errno> {
        if let (true, Some(object)) = (target.area.shared, target.area.object()) {
            // Markers give way, as they do to COPY; only in private memory none does.
            let frame = self.state().machine.frames.allocate(Content::Zero).ok_or(ENOMEM)?;
            let installed = self.install_in_object(object, frame, false, target).await;
            self.state().machine.put_frame(frame);
            return installed;
        }
        let table = self.lock_table(target.space, target.at).await;
        {
            let mut state = self.state();
            let beyond = state.profile.copy_beyond_end;
            state.check_end(target, beyond)?;
            if state.entry(target.space, target.at).is_some() {
                return Err(EEXIST);
            }
            state.set(target.space, target.at, Entry::Zero { uffd_wp: false });
        }
        table.release().await;
        Ok(())
    }
}
