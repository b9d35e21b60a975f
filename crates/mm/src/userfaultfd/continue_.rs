//! CONTINUE.

use faultless_uapi::UffdioContinue;
use faultless_uapi::mode::continue_;

use crate::errno::{EFAULT, EINVAL, Errno};
use crate::id::ContextId;
use crate::kernel::Kernel;
use crate::userfaultfd::fill::{Filling, Order, Target};
use crate::userfaultfd::request::User;

const OUT_AT: usize = core::mem::offset_of!(UffdioContinue, mapped);

impl Kernel {
    /// Maps pages that the object holds.
    pub(super) async fn continue_request(
        &self,
        id: ContextId,
        mut user: User<'_>,
    ) -> Result<u64, Errno> {
        self.refuse_if_changing(id, &mut user, Some(OUT_AT)).await?;
        let request = UffdioContinue::from_bytes(user.get_head::<OUT_AT, _>(self).await?);
        let range = self.state().possible(request.range)?;
        let takes_wp = self.state().profile.continue_takes_wp;
        let known = continue_::DONTWAKE | if takes_wp { continue_::WP } else { 0 };
        if request.mode & !known != 0 {
            return Err(EINVAL);
        }
        let wp = request.mode & continue_::WP != 0;
        let filling = Filling::Continue { wp };
        let order = Order { range, mode: request.mode, filling, out_at: OUT_AT };
        self.fill(id, user, &order).await
    }

    /// A private mapping gets the object's page too, to read; it is copied when written.
    pub(super) async fn continue_page(&self, wp: bool, target: &Target<'_>) -> Result<(), Errno> {
        let object = target.area.object().ok_or(EINVAL)?;
        let offset = target.area.linear_of(target.at);
        let beyond = self.state().profile.continue_beyond_end;
        self.state().check_end(target, beyond)?;
        let (frame, folio) = self.lock_cached(object, offset).await?.ok_or(EFAULT)?;
        let table = self.lock_table(target.space, target.at).await;
        {
            let mut state = self.state();
            let entry = state.entry(target.space, target.at);
            state.gives_way(entry)?;
            state.map_filled(frame, wp, false, target);
        }
        table.release().await;
        folio.release().await;
        Ok(())
    }
}
