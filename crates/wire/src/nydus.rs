//! The handshake of nydus, for memory that shows a read-only image.
//!
//! A JSON object without length, and the userfaultfd:
//!
//! ```json
//! {"type":0,"regions":[{"base_host_virt_addr":1,"size":1,"offset":0,"page_size":4096,
//!  "page_size_kib":4096,"prot":1,"flags":2}],"policy":1,"enable_prefault":false}
//! ```
//!
//! With the policy 1 pages are copied. With 0 the server may answer faults by ranges of a file for
//! the client to map; it need not, and here it does not: a page copied in is as right.

use serde::Deserialize;

use crate::{Claim, Dialect, Layout, Refusal};

/// The `type` of a handshake; a response to a fault is 1 and never comes from a client.
const TYPE_HANDSHAKE: u64 = 0;
/// The `policy`s there are: to map, and to copy.
const POLICY_MAX: u64 = 1;
const PAGE_SIZE_DEFAULT: u64 = 4096;

#[derive(Deserialize)]
struct Spelling {
    r#type: u64,
    regions: Vec<SpelledRegion>,
    #[serde(default)]
    policy: u64,
    #[serde(default)]
    enable_prefault: bool,
}

#[derive(Deserialize)]
struct SpelledRegion {
    base_host_virt_addr: u64,
    size: u64,
    offset: u64,
    page_size: Option<u64>,
    page_size_kib: Option<u64>,
}

/// What a handshake says.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) layout: Layout,
    /// Fill all memory without waiting for faults.
    pub(crate) prefault: bool,
}

/// Reads the handshake.
pub(crate) fn decode(text: &[u8]) -> Result<Handshake, Refusal> {
    let spelled: Spelling = serde_json::from_slice(text)
        .map_err(|error| Refusal::malformed(Dialect::Nydus, error.to_string()))?;
    let declined = |what| Err(Refusal::Declined { dialect: Dialect::Nydus, what });
    if spelled.r#type != TYPE_HANDSHAKE {
        return declined(format!("message type {}", spelled.r#type));
    }
    if spelled.policy > POLICY_MAX {
        return declined(format!("policy {}", spelled.policy));
    }
    let claims: Vec<Claim> = spelled.regions.iter().map(Claim::from).collect();
    Ok(Handshake { layout: Layout::new(&claims)?, prefault: spelled.enable_prefault })
}

impl From<&SpelledRegion> for Claim {
    fn from(spelled: &SpelledRegion) -> Claim {
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
    use super::*;

    const REGION: &str = r#"{"base_host_virt_addr":4096,"size":4096,"offset":0,"page_size":4096,
        "page_size_kib":4096,"prot":1,"flags":2}"#;

    fn handshake(rest: &str) -> Result<Handshake, Refusal> {
        decode(format!("{{\"regions\":[{REGION}],{rest}}}").as_bytes())
    }

    #[test]
    fn both_policies_are_served_by_copying() {
        assert!(!handshake(r#""type":0,"policy":0"#).unwrap().prefault);
        assert!(handshake(r#""type":0,"policy":1,"enable_prefault":true"#).unwrap().prefault);
    }

    #[test]
    fn what_is_no_handshake_is_declined() {
        for rest in [r#""type":1"#, r#""type":0,"policy":2"#] {
            assert!(matches!(handshake(rest), Err(Refusal::Declined { .. })), "{rest}");
        }
        assert!(matches!(handshake(r#""policy":1"#), Err(Refusal::Malformed { .. })));
    }
}
