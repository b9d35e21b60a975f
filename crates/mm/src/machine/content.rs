//! What a page holds.

use alloc::boxed::Box;
use alloc::vec;

use faultless_pages::PageSize;

/// The content of a page. Bytes are only made when something needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Zeros.
    #[default]
    Zero,
    /// One word over and over: an identity that costs nothing to copy.
    Word(u64),
    /// Bytes, as many as a page has.
    Bytes(Box<[u8]>),
}

impl Content {
    /// Says whether there is nothing but zeros.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Content::Zero => true,
            Content::Word(word) => *word == 0,
            Content::Bytes(bytes) => bytes.iter().all(|byte| *byte == 0),
        }
    }

    /// Copies out, from `offset` on.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) {
        match self {
            Content::Zero => out.fill(0),
            Content::Word(word) => {
                let raw = word.to_ne_bytes();
                for (place, byte) in out.iter_mut().enumerate() {
                    *byte = raw[(offset + place) % raw.len()];
                }
            }
            Content::Bytes(bytes) => out.copy_from_slice(&bytes[offset..offset + out.len()]),
        }
    }

    /// Copies in, from `offset` on. With `identities`, pages are words and a store makes the page
    /// the word it begins with.
    pub(crate) fn write(&mut self, page: PageSize, offset: usize, from: &[u8], identities: bool) {
        if identities {
            let mut raw = [0; 8];
            let len = from.len().min(raw.len());
            raw[..len].copy_from_slice(&from[..len]);
            *self = Content::Word(u64::from_ne_bytes(raw));
            return;
        }
        if !matches!(self, Content::Bytes(_)) {
            let mut bytes = vec![0; page.bytes().as_usize()].into_boxed_slice();
            self.read(0, &mut bytes);
            *self = Content::Bytes(bytes);
        }
        if let Content::Bytes(bytes) = self {
            bytes[offset..offset + from.len()].copy_from_slice(from);
        }
    }

    /// Makes content of bytes that fill a page, in the cheapest way that says the same.
    pub(crate) fn of(bytes: &[u8]) -> Content {
        let (words, rest) = bytes.as_chunks::<8>();
        match words {
            [first, others @ ..] if rest.is_empty() && others.iter().all(|word| word == first) => {
                match u64::from_ne_bytes(*first) {
                    0 => Content::Zero,
                    word => Content::Word(word),
                }
            }
            _ => Content::Bytes(bytes.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reads_the_same_at_every_word() {
        let content = Content::Word(0x0102_0304_0506_0708);
        let mut out = [0; 8];
        content.read(4088, &mut out);
        assert_eq!(out, 0x0102_0304_0506_0708_u64.to_ne_bytes());
    }

    #[test]
    fn writing_a_byte_keeps_the_others() {
        let mut content = Content::of(&[7; 4096]);
        assert_eq!(content, Content::Word(u64::from_ne_bytes([7; 8])));
        content.write(PageSize::KIB4, 100, &[1], false);
        let mut out = [0; 3];
        content.read(99, &mut out);
        assert_eq!(out, [7, 1, 7]);
    }
}
