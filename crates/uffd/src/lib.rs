//! userfaultfd complete and safe: every ioctl, feature, event and memory type.

pub mod attach;
pub mod ptrace;
