//! The handshake of Firecracker's `Uffd` backend.
//!
//! One `sendmsg` on a stream socket: a JSON array of regions, without length or newline, and the
//! userfaultfd. Nothing is ever answered. A forked Firecracker whose guest memory is a memfd sends
//! that as a second descriptor. How regions are spelled, by version:
//!
//! | version | fields |
//! |---|---|
//! | 1.1 to 1.6 | `base_host_virt_addr`, `size`, `offset` |
//! | 1.7 to 1.11 | and `page_size_kib`, which in spite of its name counts **bytes** |
//! | from 1.12 | and `page_size` in bytes, with `page_size_kib` repeating it |
//! | secret-free | and `gpa_start`, `is_guest_memfd`, with three descriptors; declined |
//!
//! Fields not named here are ignored, so that a newer version is served as well. Several arrays
//! may follow each other on one socket, each with a userfaultfd.

use serde::Deserialize;

use crate::{Claim, Dialect, Layout, Refusal};

/// What a version before 1.7 means by saying nothing.
const PAGE_SIZE_DEFAULT: u64 = 4096;
/// The userfaultfd, and the memfd behind the memory.
pub(crate) const FDS_MEANT: usize = 2;
/// What a secret-free Firecracker sends: userfaultfd, guest_memfd, bitmap.
pub(crate) const FDS_SECRET_FREE: usize = 3;

/// A region, as all versions spell it.
#[derive(Deserialize)]
struct Spelling {
    base_host_virt_addr: u64,
    size: u64,
    offset: u64,
    page_size: Option<u64>,
    page_size_kib: Option<u64>,
    #[serde(default)]
    is_guest_memfd: bool,
}

/// Reads the array of regions.
pub(crate) fn decode(text: &[u8]) -> Result<Layout, Refusal> {
    let spelled: Vec<Spelling> = serde_json::from_slice(text)
        .map_err(|error| Refusal::malformed(Dialect::Firecracker, error.to_string()))?;
    if spelled.iter().any(|region| region.is_guest_memfd) {
        return Err(secret_free());
    }
    let claims: Vec<Claim> = spelled.iter().map(Claim::from).collect();
    Layout::new(&claims)
}

/// The refusal of a guest whose memory no other process may map.
pub(crate) fn secret_free() -> Refusal {
    let what = "serving guest_memfd memory".to_owned();
    Refusal::Declined { dialect: Dialect::Firecracker, what }
}

impl From<&Spelling> for Claim {
    fn from(spelled: &Spelling) -> Claim {
        let page_size = spelled.page_size.or(spelled.page_size_kib);
        Claim {
            address: spelled.base_host_virt_addr,
            len: spelled.size,
            offset: spelled.offset,
            page_size: page_size.unwrap_or(PAGE_SIZE_DEFAULT),
        }
    }
}

#[cfg(test)]
mod tests {
    use faultless_pages::{Bytes, PageSize};

    use super::*;

    fn page_size_of(extra: &str) -> PageSize {
        let text = format!(
            "[{{\"base_host_virt_addr\":140737345748992,\"size\":4194304,\"offset\":0{extra}}}]"
        );
        decode(text.as_bytes()).unwrap().regions()[0].page_size
    }

    #[test]
    fn the_page_size_is_found_however_it_is_spelled() {
        assert_eq!(page_size_of(""), PageSize::KIB4);
        assert_eq!(page_size_of(r#","page_size_kib":4096"#), PageSize::KIB4);
        assert_eq!(page_size_of(r#","page_size_kib":2097152"#), PageSize::MIB2);
        let both = r#","page_size":2097152,"page_size_kib":2097152"#;
        assert_eq!(page_size_of(both), PageSize::MIB2);
        assert_eq!(page_size_of(r#","page_size":2097152"#), PageSize::MIB2);
        assert_eq!(page_size_of(r#","page_size":null,"later":{"a":[1]}"#), PageSize::KIB4);
    }

    #[test]
    fn offsets_follow_the_file_and_not_the_addresses() {
        let text = br#"[
            {"base_host_virt_addr":8388608,"size":8192,"offset":4096},
            {"base_host_virt_addr":4194304,"size":4096,"offset":0}
        ]"#;
        let layout = decode(text).unwrap();
        let offsets: Vec<Bytes> = layout.regions().iter().map(|region| region.offset).collect();
        assert_eq!(offsets, [Bytes(0), Bytes(4096)]);
    }

    #[test]
    fn a_size_in_kibibytes_is_refused_rather_than_guessed() {
        let text = br#"[{"base_host_virt_addr":4096,"size":4096,"offset":0,"page_size_kib":4}]"#;
        assert!(matches!(decode(text), Err(Refusal::Region { .. })));
    }

    #[test]
    fn guest_memfd_is_declined_by_name() {
        let text = br#"[{"base_host_virt_addr":4096,"size":4096,"offset":0,"gpa_start":0,
            "page_size":4096,"is_guest_memfd":true,"page_size_kib":4096}]"#;
        assert!(matches!(decode(text), Err(Refusal::Declined { .. })));
    }

    #[test]
    fn what_is_no_array_of_regions_is_malformed() {
        for text in [
            "[1]",
            "[{}]",
            r#"[{"base_host_virt_addr":-1,"size":4096,"offset":0}]"#,
            r#"[{"base_host_virt_addr":4096.5,"size":4096,"offset":0}]"#,
            r#"[{"base_host_virt_addr":18446744073709551616,"size":4096,"offset":0}]"#,
            "[}",
            "[\u{1}]",
        ] {
            let decoded = decode(text.as_bytes());
            assert!(matches!(decoded, Err(Refusal::Malformed { .. })), "{text}: {decoded:?}");
        }
        assert_eq!(decode(b"[]"), Err(Refusal::NoRegions));
    }
}
