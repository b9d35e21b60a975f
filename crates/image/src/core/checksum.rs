//! Zero test and checksums of pages.
//!
//! A segment's checksum is a wrapping sum over its non-zero pages of a mixed word of the page's
//! address and CRC-32C. Addition commutes, so pages may be written in any order and by several
//! threads; a page of zeros adds nothing, so a hole needs no visit. Both functions sit on the
//! path of every saved page: CRC-32C is one instruction per 8 bytes, the zero test is an OR over
//! words the compiler vectorises.

/// Says whether every byte is zero.
///
/// Looks at 64 bytes at a time and stops at the first that are not all zero: a page with content
/// mostly shows it at once.
#[must_use]
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (lines, rest) = bytes.as_chunks::<64>();
    lines.iter().all(line_is_zero) && rest.iter().all(|&byte| byte == 0)
}

fn line_is_zero(line: &[u8; 64]) -> bool {
    let (words, _) = line.as_chunks::<8>();
    words.iter().fold(0, |all, &word| all | u64::from_ne_bytes(word)) == 0
}

/// Returns what the non-zero page at `address` adds to its segment's sum.
#[must_use]
pub(crate) fn page_term(address: u64, page: &[u8]) -> u64 {
    mix(mix(address) ^ u64::from(crc32c::crc32c(page)))
}

/// Mixes a word so that every input bit moves about half of the output bits; a bijection.
///
/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014). The added constant keeps 0 from being
/// a fixed point.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_set_bit_anywhere_makes_a_page_non_zero() {
        assert!(is_zero(&[0; 4096]));
        assert!(is_zero(&[]));
        for at in 0..200 {
            let mut page = [0; 200];
            page[at] = 0x80;
            assert!(!is_zero(&page), "byte {at}");
        }
    }

    #[test]
    fn the_term_depends_on_content_and_address() {
        let page = [7; 4096];
        let mut other = page;
        other[4095] ^= 1;
        assert_ne!(page_term(0x1000, &page), page_term(0x1000, &other));
        assert_ne!(page_term(0x1000, &page), page_term(0x2000, &page));
    }

    #[test]
    fn the_mixer_is_the_published_one() {
        // The first output of SplitMix64 seeded with 1234567.
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }
}
