//! API: the handshake.

use faultless_uapi::feature::{
    FEATURE_EVENT_FORK, FEATURE_MOVE, FEATURE_POISON, FEATURE_RWP, FEATURE_RWP_ASYNC,
    FEATURE_WP_ASYNC, FEATURE_WP_UNPOPULATED,
};
use faultless_uapi::ioctl::nr;
use faultless_uapi::{UFFD_API, UffdioApi};

use crate::errno::{EINVAL, EPERM, Errno};
use crate::id::ContextId;
use crate::kernel::{Kernel, State};
use crate::userfaultfd::Userfaultfd;
use crate::userfaultfd::request::User;

const ARGUMENT: usize = size_of::<UffdioApi>();

impl Kernel {
    /// Agrees on features. A failed handshake may be tried again.
    pub(super) async fn handshake(&self, id: ContextId, mut user: User<'_>) -> Result<u64, Errno> {
        let api = UffdioApi::from_bytes(user.get(self).await?);
        let refusal = self.refuses_handshake(&api, &user);
        if let Some(errno) = refusal {
            user.put(self, 0, &[0; ARGUMENT]).await?;
            return Err(errno);
        }
        let offered = self.state().profile.features;
        let answer = UffdioApi {
            api: UFFD_API,
            features: offered,
            ioctls: self.state().handshake_requests(),
        };
        user.put(self, 0, &answer.to_bytes()).await?;
        let implied = if api.features & FEATURE_WP_ASYNC != 0 { FEATURE_WP_UNPOPULATED } else { 0 };
        if self.state().contexts[id].initialise(api.features | implied) {
            return Ok(0);
        }
        user.put(self, 0, &[0; ARGUMENT]).await?;
        Err(EINVAL)
    }

    fn refuses_handshake(&self, api: &UffdioApi, user: &User<'_>) -> Option<Errno> {
        let state = self.state();
        let asks = |bits: u64| api.features & bits != 0;
        if api.api != UFFD_API {
            Some(EINVAL)
        } else if asks(FEATURE_EVENT_FORK) && !state.threads[user.who].privileged {
            Some(EPERM)
        } else if (asks(FEATURE_RWP_ASYNC) && !asks(FEATURE_RWP)) || asks(!state.profile.features) {
            Some(EINVAL)
        } else {
            None
        }
    }
}

impl State {
    /// The requests that need no registered range.
    pub(super) fn handshake_requests(&self) -> u64 {
        let set_mode = if self.profile.offers(FEATURE_RWP) { 1 << nr::SET_MODE } else { 0 };
        1 << nr::API | 1 << nr::REGISTER | 1 << nr::UNREGISTER | set_mode
    }

    /// The requests on registered ranges.
    pub(super) fn range_requests(&self) -> u64 {
        let with = |feature: u64, nr: u8| u64::from(self.profile.offers(feature)) << nr;
        let fills = 1 << nr::COPY | 1 << nr::ZEROPAGE | 1 << nr::CONTINUE;
        let newer = with(FEATURE_POISON, nr::POISON)
            | with(FEATURE_MOVE, nr::MOVE)
            | with(FEATURE_RWP, nr::RWPROTECT);
        1 << nr::WAKE | 1 << nr::WRITEPROTECT | fills | newer
    }
}

impl Userfaultfd {
    /// Enables features, unless that was done before.
    fn initialise(&mut self, features: u64) -> bool {
        let first = self.features.is_none();
        self.features = Some(self.features.unwrap_or(features));
        first
    }
}
