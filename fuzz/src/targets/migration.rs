//! What Cloud Hypervisor says to the sender of a migration.
//!
//! The first byte says what an input is: a configuration, an answer, or requests for pages.

use faultless_wire::cloud_hypervisor::migration::{
    Command, FaultLine, HEADER_LEN, Mapping, Response, Sender, Step, mappings,
};

use crate::way;

/// Decodes, and checks that no fault lies outside of the guest.
pub fn run(data: &[u8]) -> u64 {
    let Some((&[kind], bytes)) = data.split_first_chunk::<1>() else { return 0 };
    match kind % 3 {
        0 => match mappings(bytes) {
            Ok(mappings) => {
                assert!(mappings.iter().all(|mapping| mapping.file_len() >= mapping.size));
                way("guest")
            }
            Err(refusal) => way(&refusal.to_string()),
        },
        1 => answers(bytes),
        _ => faults(bytes, usize::from(kind)),
    }
}

fn answers(bytes: &[u8]) -> u64 {
    let mut sender = Sender::new(vec![0, 1]);
    for answer in bytes.as_chunks::<HEADER_LEN>().0 {
        let answered = match sender.step() {
            Step::OpenFaultLine => sender.opened(),
            _ => Response::decode(answer).and_then(|response| sender.answered(response)),
        };
        if let Err(refusal) = answered {
            return way(&format!("{:?} {refusal}", sender.step()));
        }
    }
    way(&format!("{:?}", sender.step()))
}

fn faults(bytes: &[u8], piece: usize) -> u64 {
    let guest = vec![
        Mapping { slot: 0, gpa: 0, size: 3 << 30, file_offset: 0 },
        Mapping { slot: 1, gpa: 4 << 30, size: 1 << 30, file_offset: 3 << 30 },
    ];
    let mut line = FaultLine::new(guest.clone());
    for part in bytes.chunks(piece % 32 + 1) {
        if let Err(refusal) = line.receive(part) {
            return way(refusal.label());
        }
        match line.next_fault() {
            Ok(Some(fault)) => {
                let mapping = guest[fault.mapping];
                assert!(fault.file_offset >= mapping.file_offset);
                assert!(fault.file_offset + fault.len.0 <= mapping.file_len());
            }
            Ok(None) => {}
            Err(refusal) => return way(&refusal.to_string()),
        }
    }
    way("served")
}

/// One of each.
pub fn seeds() -> Vec<Vec<u8>> {
    let config = br#"{"vm_config":{},"memory_manager_data":{"guest_ram_mappings":
        [{"slot":0,"gpa":0,"size":4096,"file_offset":0,"virtio_mem":false}]}}"#;
    let ok = Response { ok: true, len: 0 }.encode();
    let mut fault = Command::PageFault.header(16).to_vec();
    fault.extend((4u64 << 30).to_le_bytes());
    fault.extend(4096u64.to_le_bytes());
    vec![
        [&[0], &config[..]].concat(),
        [vec![1], ok.repeat(7)].concat(),
        [vec![2 + 27], fault].concat(),
    ]
}
