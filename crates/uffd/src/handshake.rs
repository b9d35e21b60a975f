//! The handshake (`UFFDIO_API`): features wanted, granted and missing.
//!
//! A handshake succeeds once per descriptor; a failed one may be repeated. Asking for a feature
//! the kernel lacks fails the whole call and says nothing about which, so optional features are
//! settled against a throw-away descriptor where one can be had.

use std::fmt;
use std::io::ErrorKind;
use std::os::fd::AsFd;

use faultless_uapi::{UFFD_API, UffdioApi, ioctl};
use rustix::io::Errno;

use crate::errno::Described;
use crate::{Features, Ioctls, Uffd, UnboundUffd, call, fdinfo, probe};

/// Features to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Without one of these the handshake fails.
    pub required: Features,
    /// These are taken where they can be had; [`Uffd::missing`] names the others.
    pub optional: Features,
}

/// Why the kernel refused a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The kernel lacks required features: these, or one of these if no userfaultfd could be
    /// opened to find out which.
    Lacking(Features),
    /// `EVENT_FORK` was required without `CAP_SYS_PTRACE`.
    ForkNotPermitted,
    /// `RWP_ASYNC` was required without `RWP`.
    AsyncAlone,
    /// The handshake has happened already; adopt the descriptor instead.
    AlreadyDone,
    /// The descriptor's handshake is still to come, so it cannot be adopted.
    NotDone,
    /// The descriptor is not a userfaultfd.
    NotUserfaultfd,
    /// Any other answer.
    Other(Errno),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Lacking(features) => {
                write!(f, "this kernel lacks {features}; run a newer kernel or do without")
            }
            Refusal::ForkNotPermitted => f.write_str(
                "EVENT_FORK needs CAP_SYS_PTRACE; run as root, grant the capability, or do without",
            ),
            Refusal::AsyncAlone => {
                f.write_str("RWP_ASYNC works only together with RWP; ask for both")
            }
            Refusal::AlreadyDone => {
                f.write_str("the handshake has happened already; adopt the descriptor instead")
            }
            Refusal::NotDone => f.write_str("the handshake is still to come; do it first"),
            Refusal::NotUserfaultfd => {
                f.write_str("the descriptor is not a userfaultfd; check what the sender passed")
            }
            Refusal::Other(errno) => write!(f, "{}; see UFFDIO_API(2const)", Described(*errno)),
        }
    }
}

/// A handshake that failed. The descriptor is unharmed and can be tried again.
#[derive(Debug)]
pub struct HandshakeError {
    /// Why.
    pub refusal: Refusal,
    /// The descriptor.
    pub unbound: UnboundUffd,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "userfaultfd handshake refused: {}", self.refusal)
    }
}

impl std::error::Error for HandshakeError {}

impl UnboundUffd {
    /// Switches features on and makes the descriptor ready for use.
    ///
    /// Optional features the kernel lacks, or does not permit this process, are left out and the
    /// call repeated on the same descriptor.
    ///
    /// # Errors
    /// | errno | meaning | becomes |
    /// |---|---|---|
    /// | EINVAL | a feature is unknown | retried without optional ones, then [`Refusal::Lacking`] |
    /// | EINVAL | the handshake is done | [`Refusal::AlreadyDone`] |
    /// | EPERM | `EVENT_FORK` not permitted | retried without, then [`Refusal::ForkNotPermitted`] |
    /// | ENOTTY | no userfaultfd | [`Refusal::NotUserfaultfd`] |
    ///
    /// # Kernel
    /// Since 4.3; features by [`faultless_uapi::feature::HISTORY`]; `UFFDIO_API(2const)`.
    pub fn handshake(self, wanted: Wanted) -> Result<Uffd, HandshakeError> {
        match negotiate(&self, wanted) {
            Ok(agreed) => Ok(agreed.into_uffd(self, wanted)),
            Err(refusal) => Err(HandshakeError { refusal, unbound: self }),
        }
    }

    /// Takes over a descriptor whose handshake another process did, or that came with a FORK
    /// event and inherited it.
    ///
    /// Which features are on is read from `/proc/self/fdinfo`; what else the kernel supports
    /// is not known then.
    ///
    /// # Errors
    /// [`Refusal::NotDone`], [`Refusal::NotUserfaultfd`], or [`Refusal::Other`] if `/proc` cannot
    /// be read.
    ///
    /// # Kernel
    /// The file lists features since 4.3.
    pub fn adopt(self) -> Result<Uffd, HandshakeError> {
        let refusal = match fdinfo::read(self.fd.as_fd()) {
            Ok(info) => match info.features {
                Some(granted) => {
                    return Ok(Uffd {
                        fd: self.fd,
                        route: self.route,
                        granted,
                        supported: Features::empty(),
                        missing: Features::empty(),
                        api_ioctls: Ioctls::empty(),
                    });
                }
                None => Refusal::NotDone,
            },
            Err(error) if error.kind() == ErrorKind::InvalidData => Refusal::NotUserfaultfd,
            Err(error) => Refusal::Other(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        Err(HandshakeError { refusal, unbound: self })
    }
}

/// What a successful handshake agreed on.
struct Agreed {
    asked: Features,
    supported: Features,
    api_ioctls: Ioctls,
}

impl Agreed {
    fn into_uffd(self, unbound: UnboundUffd, wanted: Wanted) -> Uffd {
        let granted = self.asked.effective();
        Uffd {
            fd: unbound.fd,
            route: unbound.route,
            granted,
            supported: self.supported,
            missing: wanted.optional - granted,
            api_ioctls: self.api_ioctls,
        }
    }
}

fn negotiate(unbound: &UnboundUffd, wanted: Wanted) -> Result<Agreed, Refusal> {
    settle(wanted, |asked| try_handshake(unbound, asked), || supported(unbound))
}

/// Asks with fewer and fewer features until the kernel agrees.
///
/// `ask` is the call; `supported` is consulted when the kernel does not know a feature, and
/// returns what it knows, if that can be found out.
fn settle<T>(
    wanted: Wanted,
    mut ask: impl FnMut(Features) -> Result<T, Errno>,
    supported: impl Fn() -> Result<Option<Features>, Refusal>,
) -> Result<T, Refusal> {
    let required = wanted.required;
    let mut asked = (required | wanted.optional).consistent();
    if !asked.contains(required) {
        return Err(Refusal::AsyncAlone);
    }
    loop {
        let refused = match ask(asked) {
            Ok(agreed) => return Ok(agreed),
            Err(Errno::INVAL) => match supported()? {
                Some(known) => asked - known,
                None if asked == required => return Err(Refusal::Lacking(required)),
                // The newest optional feature is the likeliest to be unknown; leaving out one
                // at a time comes to an end after at most 64 tries.
                None => highest(asked - required),
            },
            Err(Errno::PERM) if required.contains(Features::EVENT_FORK) => {
                return Err(Refusal::ForkNotPermitted);
            }
            Err(Errno::PERM) if asked.contains(Features::EVENT_FORK) => Features::EVENT_FORK,
            Err(Errno::NOTTY) => return Err(Refusal::NotUserfaultfd),
            Err(errno) => return Err(Refusal::Other(errno)),
        };
        let rest = (asked - refused).consistent();
        if rest == asked {
            // The kernel supports everything asked for, and still the answer was no.
            return Err(Refusal::Other(Errno::INVAL));
        }
        if !rest.contains(required) {
            return Err(Refusal::Lacking(required - rest));
        }
        asked = rest;
    }
}

/// Finds out what this kernel supports, after it said EINVAL to a handshake on `unbound`;
/// `None` if no throw-away descriptor can be had.
fn supported(unbound: &UnboundUffd) -> Result<Option<Features>, Refusal> {
    match fdinfo::read(unbound.fd.as_fd()) {
        Ok(info) if info.features.is_some() => return Err(Refusal::AlreadyDone),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            return Err(Refusal::NotUserfaultfd);
        }
        // Without /proc the features decide.
        _ => {}
    }
    Ok(probe().ok().map(|capabilities| capabilities.features))
}

fn highest(features: Features) -> Features {
    Features::from_bits_retain(features.bits().checked_ilog2().map_or(0, |bit| 1 << bit))
}

fn try_handshake(unbound: &UnboundUffd, asked: Features) -> Result<Agreed, Errno> {
    let mut arg = UffdioApi { api: UFFD_API, features: asked.bits(), ioctls: 0 };
    // SAFETY: UffdioApi is the struct of UFFDIO_API, which touches no address space.
    unsafe { call::request::<{ ioctl::UFFDIO_API }, _>(unbound.fd.as_fd(), &mut arg) }?;
    Ok(Agreed {
        asked,
        supported: Features::from_bits_retain(arg.features),
        api_ioctls: Ioctls::from_bits_retain(arg.ioctls),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settles with a kernel that supports `supported` and says what it said last.
    fn settle_with(
        wanted: Wanted,
        supported: Features,
        fork: bool,
        probe: bool,
    ) -> Result<Features, Refusal> {
        let ask = |asked: Features| {
            if asked.contains(Features::EVENT_FORK) && !fork {
                Err(Errno::PERM)
            } else if supported.contains(asked) {
                Ok(asked)
            } else {
                Err(Errno::INVAL)
            }
        };
        settle(wanted, ask, || Ok(probe.then_some(supported)))
    }

    #[test]
    fn optional_features_are_left_out_where_the_kernel_lacks_them() {
        let supported = Features::SIGBUS | Features::THREAD_ID | Features::EVENT_FORK;
        let wanted = Wanted {
            required: Features::SIGBUS,
            optional: Features::MOVE | Features::THREAD_ID | Features::EVENT_FORK,
        };
        for probe in [true, false] {
            let granted = settle_with(wanted, supported, false, probe);
            assert_eq!(granted, Ok(Features::SIGBUS | Features::THREAD_ID), "probe {probe}");
        }
    }

    #[test]
    fn required_features_are_never_left_out() {
        let supported = Features::SIGBUS | Features::EVENT_FORK;
        let wanted = |required| Wanted { required, optional: Features::SIGBUS };
        for probe in [true, false] {
            let refused = settle_with(wanted(Features::MOVE), supported, true, probe);
            assert_eq!(refused, Err(Refusal::Lacking(Features::MOVE)));
            let refused = settle_with(wanted(Features::EVENT_FORK), supported, false, probe);
            assert_eq!(refused, Err(Refusal::ForkNotPermitted));
            let both = Wanted { required: Features::RWP_ASYNC, optional: Features::RWP };
            let refused = settle_with(both, supported, true, probe);
            assert!(matches!(refused, Err(Refusal::Lacking(_))), "{refused:?}");
        }
        let stubborn = settle(
            Wanted { required: Features::SIGBUS, ..Wanted::default() },
            |_| Err::<(), _>(Errno::INVAL),
            || Ok(Some(supported)),
        );
        assert_eq!(stubborn, Err(Refusal::Other(Errno::INVAL)));
        let alone = Wanted { required: Features::RWP_ASYNC, ..Wanted::default() };
        assert_eq!(settle_with(alone, supported, true, true), Err(Refusal::AsyncAlone));
    }
}
