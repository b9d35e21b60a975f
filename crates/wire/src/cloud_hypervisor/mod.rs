//! The two protocols of Cloud Hypervisor.
//!
//! | module | who connects | is |
//! |---|---|---|
//! | [`handoff`] | Cloud Hypervisor | its userfaultfd handed to a manager of its memory |
//! | [`migration`] | the page server, as the sender of a migration | pages sent on request |

pub mod handoff;
pub mod migration;
