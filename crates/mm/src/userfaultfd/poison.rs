//! POISON.

use faultless_uapi::UffdioPoison;
use faultless_uapi::feature::FEATURE_POISON;
use faultless_uapi::mode::poison;

use crate::errno::{EEXIST, EFAULT, EINVAL, Errno};
use crate::id::ContextId;
use crate::kernel::Kernel;
use crate::process::{Entry, Marker};
use crate::userfaultfd::fill::{Filling, Order, Target};
use crate::userfaultfd::request::User;

const OUT_AT: usize = core::mem::offset_of!(UffdioPoison, updated);

impl Kernel {
    /// Installs markers that make accesses fail.
    pub(super) async fn poison(&self, id: ContextId, mut user: User<'_>) -> Result<u64, Errno> {
        if !self.state().profile.offers(FEATURE_POISON) {
            return Err(EINVAL);
        }
        self.refuse_if_changing(id, &mut user, Some(OUT_AT)).await?;
        let request = UffdioPoison::from_bytes(user.get_head::<OUT_AT, _>(self).await?);
        let range = self.state().possible(request.range)?;
        if request.mode & !poison::DONTWAKE != 0 {
            return Err(EINVAL);
        }
        let order = Order { range, mode: request.mode, filling: Filling::Poison, out_at: OUT_AT };
        self.fill(id, user, &order).await
    }

    pub(super) async fn poison_page(&self, target: &Target<'_>) -> Result<(), Errno> {
        let table = self.lock_table(target.space, target.at).await;
        {
            let mut state = self.state();
            if !target.area.is_hugetlb() {
                state.check_end(target, EFAULT)?;
            }
            if state.entry(target.space, target.at).is_some() {
                return Err(EEXIST);
            }
            state.set_page(target, Entry::Marker(Marker::POISON));
        }
        table.release().await;
        Ok(())
    }
}
