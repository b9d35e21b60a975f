//! Cloud Hypervisor hands its userfaultfd to a manager.
//!
//! Each message is a length, 32 bits little-endian, and a JSON object of that length. The first
//! comes with the userfaultfd and is answered by one byte; later ones add memory that was plugged
//! in:
//!
//! ```json
//! {"type":"handoff","version":0,"vmm_pid":4711,"mode":"MISSING","regions":[
//!  {"guest_phys_addr":0,"host_virt_addr":4096,"size":4096,"backing_file_offset":0}]}
//! {"type":"add_region","region":{"guest_phys_addr":4096,"host_virt_addr":8192,"size":4096,
//!  "backing_file_offset":4096}}
//! ```
//!
//! Of the modes only `MISSING` asks for pages; the others ask to track writes.

use serde::Deserialize;

use crate::{Claim, Dialect, Layout, MESSAGE_LEN_MAX, Refusal};

/// The answer to a hand-off; its value has no meaning.
pub const ACK: u8 = 1;
/// The version of the protocol.
const VERSION: u64 = 0;
/// Regions name no page size: guest memory on huge pages is not handed off.
const PAGE_SIZE: u64 = 4096;
/// Bytes of the length in front.
pub(crate) const PREFIX_LEN: usize = 4;

/// What a message says.
#[derive(Debug)]
pub(crate) enum Message {
    Handoff { layout: Layout, pid: Option<u32> },
    AddRegion(Layout),
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Spelling {
    Handoff { version: u64, vmm_pid: Option<u32>, mode: String, regions: Vec<SpelledRegion> },
    AddRegion { region: SpelledRegion },
}

#[derive(Deserialize)]
struct SpelledRegion {
    host_virt_addr: u64,
    size: u64,
    backing_file_offset: u64,
}

/// Returns how long the first message in `bytes` is with its length, once it is whole.
pub(crate) fn extent(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let Some(prefix) = bytes.first_chunk::<PREFIX_LEN>() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes(*prefix);
    match usize::try_from(len) {
        Ok(text) if text <= MESSAGE_LEN_MAX - PREFIX_LEN => {
            Ok(Some(PREFIX_LEN + text).filter(|len| *len <= bytes.len()))
        }
        _ => Err(Refusal::TooLong { len: len.into() }),
    }
}

/// Reads a message without its length.
pub(crate) fn decode(text: &[u8]) -> Result<Message, Refusal> {
    let spelled: Spelling = serde_json::from_slice(text)
        .map_err(|error| Refusal::malformed(Dialect::Handoff, error.to_string()))?;
    match spelled {
        Spelling::Handoff { version, .. } if version != VERSION => {
            Err(Refusal::Version { dialect: Dialect::Handoff, found: version, spoken: VERSION })
        }
        Spelling::Handoff { mode, .. } if mode != "MISSING" => {
            let what = format!("the mode {}", mode.chars().take(32).collect::<String>());
            Err(Refusal::Declined { dialect: Dialect::Handoff, what })
        }
        Spelling::Handoff { vmm_pid, regions, .. } => {
            let claims: Vec<Claim> = regions.iter().map(Claim::from).collect();
            Ok(Message::Handoff { layout: Layout::new(&claims)?, pid: vmm_pid })
        }
        Spelling::AddRegion { region } => {
            Layout::new(&[Claim::from(&region)]).map(Message::AddRegion)
        }
    }
}

impl From<&SpelledRegion> for Claim {
    fn from(spelled: &SpelledRegion) -> Claim {
        Claim {
            address: spelled.host_virt_addr,
            len: spelled.size,
            offset: spelled.backing_file_offset,
            page_size: PAGE_SIZE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: &str =
        r#"{"guest_phys_addr":0,"host_virt_addr":4096,"size":4096,"backing_file_offset":8192}"#;

    fn handoff(version: u64, mode: &str) -> Result<Message, Refusal> {
        let head = format!("\"type\":\"handoff\",\"version\":{version},\"vmm_pid\":7");
        decode(format!("{{{head},\"mode\":\"{mode}\",\"regions\":[{REGION}]}}").as_bytes())
    }

    #[test]
    fn memory_is_handed_off_and_added() {
        let Ok(Message::Handoff { layout, pid: Some(7) }) = handoff(0, "MISSING") else {
            panic!("refused");
        };
        assert_eq!(layout.regions()[0].offset.0, 8192);
        let added = decode(format!("{{\"type\":\"add_region\",\"region\":{REGION}}}").as_bytes());
        assert!(matches!(added, Ok(Message::AddRegion(_))));
    }

    #[test]
    fn modes_without_missing_pages_and_other_versions_are_refused() {
        for mode in ["WP", "WP_ASYNC", "", "missing"] {
            assert!(matches!(handoff(0, mode), Err(Refusal::Declined { .. })), "{mode}");
        }
        let refused = handoff(1, "MISSING").err();
        assert!(matches!(refused, Some(Refusal::Version { found: 1, .. })));
        let unknown = decode(br#"{"type":"remove_region"}"#).err();
        assert!(matches!(unknown, Some(Refusal::Malformed { .. })));
    }
}
