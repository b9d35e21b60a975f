//! Why memory cannot be handed over.

use std::io;

use faultless_uffd::{HandshakeError, OpError, OpenError, PassError};
use faultless_wire::Refusal;

/// Why memory cannot be handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is no server, or it has gone.
    #[error("the page server cannot be reached: {0}")]
    Socket(#[from] io::Error),
    /// The server has ended, or closed the connection.
    #[error("the page server has closed the connection")]
    Closed,
    /// The server refuses.
    #[error("the page server refuses: {0}")]
    Refused(String),
    /// What the server says makes no sense, or what is asked of it does not.
    #[error(transparent)]
    Protocol(Refusal),
    /// The kernel gives no userfaultfd.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The userfaultfd lacks what is needed.
    #[error("{0}")]
    Handshake(String),
    /// The memory cannot be registered.
    #[error(transparent)]
    Register(#[from] OpError),
    /// The descriptor cannot be passed.
    #[error(transparent)]
    Pass(#[from] PassError),
}

impl From<HandshakeError> for ConnectError {
    fn from(error: HandshakeError) -> ConnectError {
        ConnectError::Handshake(error.to_string())
    }
}

impl From<Refusal> for ConnectError {
    fn from(refusal: Refusal) -> ConnectError {
        ConnectError::Protocol(refusal)
    }
}
