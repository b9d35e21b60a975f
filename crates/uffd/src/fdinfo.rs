//! What `/proc/self/fdinfo` tells about a userfaultfd: waiting faults and the handshake.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Features;

/// Set in the kernel's record of features once the handshake is done.
const INITIALISED: u64 = 1 << 31;

/// How many faults wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Faults whose message was not read yet.
    pub unread: u64,
    /// Faults whose thread waits, read or not.
    pub total: u64,
}

/// The state of a userfaultfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FdInfo {
    pub(crate) queue: Queue,
    /// The features that are on; `None` before the handshake.
    pub(crate) features: Option<Features>,
}

/// Reads the state of `fd`.
///
/// Fails with `InvalidData` if it is not a userfaultfd.
pub(crate) fn read(fd: BorrowedFd<'_>) -> io::Result<FdInfo> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    parse(&text).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "the descriptor is not a userfaultfd")
    })
}

fn parse(text: &str) -> Option<FdInfo> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let queue =
        Queue { unread: field("pending:")?.parse().ok()?, total: field("total:")?.parse().ok()? };
    // "aa:<features>:<requests>", the features with INITIALISED, all hexadecimal.
    let bits = u64::from_str_radix(field("API:")?.split(':').nth(1)?, 16).ok()?;
    let features =
        (bits & INITIALISED != 0).then(|| Features::from_bits_retain(bits & !INITIALISED));
    Some(FdInfo { queue, features })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_known_only_after_the_handshake() {
        let text = "pos:\t0\nflags:\t02000000\npending:\t1\ntotal:\t3\nAPI:\taa:80000101:1ff\n";
        let info = parse(text).unwrap();
        assert_eq!(info.queue, Queue { unread: 1, total: 3 });
        assert_eq!(info.features, Some(Features::PAGEFAULT_FLAG_WP | Features::THREAD_ID));
        let text = text.replace("80000101", "0");
        assert_eq!(parse(&text).unwrap().features, None);
    }

    #[test]
    fn other_descriptors_are_refused() {
        assert_eq!(parse("pos:\t0\nflags:\t0100002\nmnt_id:\t15\n"), None);
        assert_eq!(parse("pending:\t1\ntotal:\t1\nAPI:\tgarbage\n"), None);
    }
}
