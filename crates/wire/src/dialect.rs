//! Which protocol a peer speaks, by its first bytes.
//!
//! Every protocol begins differently, but for one trap: the length in front of a hand-off message
//! may look like the `[` or the `{` of a JSON text. Its fourth byte tells them apart: it is zero
//! in every length allowed here, and no JSON text holds a zero byte.

use std::fmt;

use crate::{Refusal, native};

/// How many bytes it takes to tell.
pub(crate) const SNIFF_LEN: usize = 5;
/// How Firecracker's proposed backend for block devices begins: `UFFD` as a little-endian number.
const UFFD_BLOCK: [u8; 4] = *b"DFFU";
/// Commands of Cloud Hypervisor's migration protocol; its request begins with one, in 16 bits.
const MIGRATION_COMMANDS: std::ops::RangeInclusive<u8> = 1..=9;

/// A protocol in which memory is handed over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Dialect {
    /// Firecracker's `Uffd` backend, since 1.1: a JSON array, and the userfaultfd.
    Firecracker,
    /// Cloud Hypervisor's hand-off: a length, a JSON object with a `type`, and the userfaultfd.
    Handoff,
    /// nydus: a JSON object, and the userfaultfd.
    Nydus,
    /// This project's own ([`native`]).
    Native,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Dialect {
    /// Returns its name, for metrics and machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dialect::Firecracker => "firecracker",
            Dialect::Handoff => "cloud-hypervisor",
            Dialect::Nydus => "nydus",
            Dialect::Native => "faultless",
        }
    }

    /// Returns what a peer that handed its memory over is told once its faults are served; most
    /// protocols say nothing.
    #[must_use]
    pub fn accepted(self) -> Vec<u8> {
        match self {
            Dialect::Firecracker | Dialect::Nydus => Vec::new(),
            Dialect::Handoff => vec![crate::cloud_hypervisor::handoff::ACK],
            Dialect::Native => native::Reply::Ready.encode(),
        }
    }

    /// Returns what a peer that is refused is told; most protocols have no words for it, and the
    /// peer sees its socket close.
    #[must_use]
    pub fn refused(self, why: &Refusal) -> Vec<u8> {
        match self {
            Dialect::Firecracker | Dialect::Nydus | Dialect::Handoff => Vec::new(),
            Dialect::Native => native::Reply::refused(why).encode(),
        }
    }

    /// Tells the protocol by the first bytes; `None` while there are too few.
    pub(crate) fn sniff(bytes: &[u8]) -> Result<Option<Dialect>, Refusal> {
        match bytes.first_chunk::<SNIFF_LEN>() {
            None => Ok(None),
            Some([.., 0, b'{']) => Ok(Some(Dialect::Handoff)),
            Some([b'[', _, _, third, _]) if *third != 0 => Ok(Some(Dialect::Firecracker)),
            Some([b'{', _, _, third, _]) if *third != 0 => Ok(Some(Dialect::Nydus)),
            Some(first) if first.starts_with(&native::MAGIC) => Ok(Some(Dialect::Native)),
            Some(first) => Err(refuse(*first)),
        }
    }
}

/// Names what the first bytes are, where they are known and not spoken.
fn refuse(first: [u8; SNIFF_LEN]) -> Refusal {
    if first.starts_with(&UFFD_BLOCK) {
        return Refusal::Unsupported("Firecracker's block protocol");
    }
    if MIGRATION_COMMANDS.contains(&first[0]) && first[1..].iter().all(|byte| *byte == 0) {
        return Refusal::Unsupported("Cloud Hypervisor's migration protocol on this socket");
    }
    Refusal::UnknownDialect(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_is_told_by_its_first_bytes() {
        let sniff = |bytes: &[u8]| Dialect::sniff(bytes).unwrap();
        assert_eq!(sniff(b"[{\"base"), Some(Dialect::Firecracker));
        assert_eq!(sniff(b"{\"type"), Some(Dialect::Nydus));
        assert_eq!(sniff(b"\x80\x01\0\0{\"ty"), Some(Dialect::Handoff));
        assert_eq!(sniff(b"FLTW\x01\0"), Some(Dialect::Native));
        assert_eq!(sniff(b"[{\"b"), None);
    }

    #[test]
    fn a_length_that_looks_like_json_is_a_length() {
        for length in [u32::from(b'['), 0x315b, u32::from(b'{'), 0x017b, 0x2_007b] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend(b"{\"type\"");
            assert_eq!(Dialect::sniff(&bytes), Ok(Some(Dialect::Handoff)), "{length:#x}");
        }
    }

    #[test]
    fn what_is_known_and_not_spoken_is_named() {
        let refused = |bytes: &[u8]| Dialect::sniff(bytes).unwrap_err();
        assert!(matches!(refused(b"DFFU\0\0\x01\0"), Refusal::Unsupported(_)));
        assert!(matches!(refused(b"\x01\0\0\0\0\0\0\0"), Refusal::Unsupported(_)));
        assert!(matches!(refused(b"GET / HTTP/1.1"), Refusal::UnknownDialect(_)));
        assert!(matches!(refused(b"[\0\0\0["), Refusal::UnknownDialect(_)));
    }
}
