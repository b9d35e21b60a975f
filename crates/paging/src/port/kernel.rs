//! Who carries requests out, for shells in which a call returns when it is done.

use std::os::fd::BorrowedFd;

use super::{Message, Outcome, Request};

/// One address space, as the kernel lets it be served.
///
/// Calls may come from several threads at once; the core sees to it that those which must not
/// overlap do not.
pub trait Kernel: Send + Sync {
    /// Carries a request out. `bytes` is what its [supply](super::Supply) names, and empty where
    /// it names nothing.
    fn perform(&self, request: &Request, bytes: &[u8]) -> Outcome;

    /// Takes all messages that are there and puts them behind `messages`, in their order.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(&self, messages: &mut Vec<Message>) -> Result<(), ReadError>;

    /// Takes over the address space of a child that a [`Message::Fork`] named. `None` if it is
    /// gone, or was taken.
    fn child(&self, child: u64) -> Option<Box<dyn Kernel>>;

    /// What becomes readable when there are messages.
    fn descriptor(&self) -> BorrowedFd<'_>;
}

/// Why no messages could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A signal came; read again.
    #[error("interrupted")]
    Interrupted,
    /// There is no room for the descriptor of a child; its message stays.
    #[error("no descriptor is left for the child of a fork")]
    NoDescriptor,
    /// The descriptor is not a userfaultfd that was shaken hands with.
    #[error("the descriptor cannot be read")]
    Unreadable,
}
