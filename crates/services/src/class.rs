//! Who has to act on an error of a service: all that its caller decides by.

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What was asked for makes no sense.
    Usage,
    /// This host, or the rights on it, lack something.
    Host,
    /// The other process, a file or a device is at fault.
    Peer,
    /// The user stopped it.
    Interrupted,
    /// A defect of this program.
    Bug,
}
