//! SET_MODE: from waiting to recording and back, new in 7.3.

use faultless_uapi::UffdioSetMode;
use faultless_uapi::feature::{FEATURE_RWP, FEATURE_RWP_ASYNC};

use crate::errno::{EINVAL, Errno};
use crate::id::ContextId;
use crate::kernel::{Kernel, State};
use crate::sched::{Lock, Mode};
use crate::userfaultfd::request::User;

impl Kernel {
    /// Switches features that may be switched. Who waits for what is only recorded now is woken.
    pub(super) async fn set_mode(&self, id: ContextId, user: User<'_>) -> Result<u64, Errno> {
        if !self.state().profile.offers(FEATURE_RWP) {
            return Err(EINVAL);
        }
        let request = UffdioSetMode::from_bytes(user.get(self).await?);
        self.state().check_set_mode(id, &request)?;
        let space = self.state().contexts[id].space;
        self.state().get_space(space)?;
        let map = self.lock(Lock::Mmap(space), Mode::Exclusive).await;
        self.state().contexts[id].switch(request.enable, request.disable);
        map.release().await;
        self.put_space(space).await;
        if request.enable != 0 {
            self.wake_all(id);
        }
        Ok(0)
    }
}

impl State {
    fn check_set_mode(&self, id: ContextId, request: &UffdioSetMode) -> Result<(), Errno> {
        let UffdioSetMode { enable, disable } = *request;
        let unknown = (enable | disable) & !FEATURE_RWP_ASYNC;
        let unasked = enable != 0 && !self.contexts[id].has(FEATURE_RWP);
        if enable & disable != 0 || unknown != 0 || unasked { Err(EINVAL) } else { Ok(()) }
    }
}
