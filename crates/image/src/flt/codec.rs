//! How chunks are compressed.
//!
//! The writer chooses a [`Codec`]; each chunk records the [`Method`] it was stored with, so that a
//! reader needs to be told nothing and a chunk that does not shrink is stored as it is.

use std::io;

use zstd::bulk::{Compressor, Decompressor};

/// What a writer compresses chunks with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Codec {
    /// Nothing: chunks can be read straight into memory.
    None,
    /// LZ4: little smaller, quickly read.
    Lz4,
    /// Zstandard: smaller, still quickly read.
    Zstd {
        /// From 1 (fast) to 19 (small).
        level: i32,
    },
}

/// Zstandard's own default.
impl Default for Codec {
    fn default() -> Codec {
        Codec::Zstd { level: 3 }
    }
}

/// How one chunk is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    None,
    Lz4,
    Zstd,
}

impl Method {
    /// Every method with its number in the file.
    pub(super) const ALL: [(Method, u8); 3] =
        [(Method::None, 0), (Method::Lz4, 1), (Method::Zstd, 2)];

    pub(super) fn number(self) -> u8 {
        Self::ALL.iter().find(|(method, _)| *method == self).map_or(0, |&(_, number)| number)
    }

    pub(super) fn from_number(number: u8) -> Option<Method> {
        Self::ALL.iter().find(|&&(_, known)| known == number).map(|&(method, _)| method)
    }

    /// Fills `out` from what was stored; `false` if it does not decompress to exactly that length.
    pub(super) fn expand(self, stored: &[u8], out: &mut [u8]) -> bool {
        let made = match self {
            Method::None if stored.len() == out.len() => {
                out.copy_from_slice(stored);
                Some(out.len())
            }
            Method::None => None,
            Method::Lz4 => lz4_flex::block::decompress_into(stored, out).ok(),
            Method::Zstd => Decompressor::new()
                .and_then(|mut decoder| decoder.decompress_to_buffer(stored, out))
                .ok(),
        };
        made == Some(out.len())
    }
}

/// Compresses chunk after chunk.
pub(super) struct Encoder {
    codec: Codec,
    /// Its tables are worth keeping from chunk to chunk.
    zstd: Option<Compressor<'static>>,
    buffer: Vec<u8>,
}

impl Encoder {
    /// Prepares to compress chunks of at most `chunk_len` bytes.
    pub(super) fn new(codec: Codec, chunk_len: usize) -> io::Result<Encoder> {
        let zstd = match codec {
            Codec::Zstd { level } => Some(Compressor::new(level)?),
            Codec::None | Codec::Lz4 => None,
        };
        // Enough for either in the worst case, which LZ4's own bound covers.
        let room = lz4_flex::block::get_maximum_output_size(chunk_len)
            .max(zstd::zstd_safe::compress_bound(chunk_len));
        Ok(Encoder { codec, zstd, buffer: vec![0; room] })
    }

    /// Returns what to store for `content`, which is `content` itself where nothing is gained.
    pub(super) fn encode<'a>(&'a mut self, content: &'a [u8]) -> io::Result<(Method, &'a [u8])> {
        let (method, len) = match (&mut self.zstd, self.codec) {
            (Some(zstd), _) => {
                (Method::Zstd, zstd.compress_to_buffer(content, self.buffer.as_mut_slice())?)
            }
            (None, Codec::Lz4) => {
                let made = lz4_flex::block::compress_into(content, &mut self.buffer);
                (Method::Lz4, made.map_err(io::Error::other)?)
            }
            (None, _) => return Ok((Method::None, content)),
        };
        if len < content.len() {
            Ok((method, &self.buffer[..len]))
        } else {
            Ok((Method::None, content))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Codec; 3] = [Codec::None, Codec::Lz4, Codec::Zstd { level: 1 }];

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let content: Vec<u8> = (0..4096u32).map(|i| (i / 7).to_le_bytes()[0]).collect();
        for codec in CODECS {
            let mut encoder = Encoder::new(codec, content.len()).unwrap();
            let (method, stored) = encoder.encode(&content).unwrap();
            assert_eq!(stored.len() < content.len(), codec != Codec::None, "{codec:?}");
            let mut out = vec![0; content.len()];
            assert!(method.expand(stored, &mut out), "{codec:?}");
            assert_eq!(out, content, "{codec:?}");
            assert!(!method.expand(stored, &mut vec![0; content.len() - 1]), "{codec:?}");
            assert!(!method.expand(stored, &mut vec![0; content.len() + 1]), "{codec:?}");
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let mut word = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.to_le_bytes()[7]
        })
        .take(4096)
        .collect();
        for codec in CODECS {
            let mut encoder = Encoder::new(codec, noise.len()).unwrap();
            let (method, stored) = encoder.encode(&noise).unwrap();
            assert_eq!((method, stored), (Method::None, noise.as_slice()), "{codec:?}");
        }
    }
}
