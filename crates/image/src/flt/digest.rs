//! Content addresses: the BLAKE3 digest of a chunk, or of an image's index.

use std::fmt;

/// Bytes of a digest.
pub(super) const DIGEST_LEN: usize = 32;

/// A BLAKE3 digest. Equal digests mean equal content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; DIGEST_LEN]);

impl Digest {
    /// Computes the digest of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Digest {
        Digest(*blake3::hash(content).as_bytes())
    }

    /// Says whether all bytes are zero, which stands for "none".
    pub(super) fn is_zero(&self) -> bool {
        self.0 == [0; DIGEST_LEN]
    }
}

/// Prints the digest in hexadecimal.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_published_one() {
        // The first of BLAKE3's official test vectors: no input.
        let text = Digest::of(&[]).to_string();
        assert_eq!(text, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    }
}
