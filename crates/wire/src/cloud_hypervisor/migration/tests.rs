//! Tests of the migration protocol: its order, its bytes, and what is refused.

use super::*;

const OK: Response = Response { ok: true, len: 0 };

fn guest() -> Vec<Mapping> {
    let below = Mapping { slot: 0, gpa: 0, size: 0x4000, file_offset: 0x1000 };
    let above = Mapping { slot: 1, gpa: 1 << 32, size: 0x2000, file_offset: 0 };
    vec![below, above]
}

fn request(command: u16, gpa: u64, len: u64) -> Vec<u8> {
    let mut bytes = header(command, RANGE_LEN as u64).to_vec();
    bytes.extend(gpa.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes
}

#[test]
fn a_vm_is_handed_over_in_order() {
    let mut sender = Sender::new(vec![3, 5]);
    let mut steps = Vec::new();
    while sender.step() != Step::Done {
        steps.push(sender.step());
        match sender.step() {
            Step::OpenFaultLine => sender.opened().unwrap(),
            _ => sender.answered(OK).unwrap(),
        }
    }
    let slots = [Step::MemoryFd(3), Step::MemoryFd(5)];
    let [first, last] =
        [vec![Step::Start], vec![Step::Config, Step::OpenFaultLine, Step::State, Step::Complete]];
    assert_eq!(steps, [first, slots.to_vec(), last].concat());
    assert!(sender.answered(OK).is_err());
    assert!(sender.opened().is_err());
}

#[test]
fn a_receiver_that_says_no_ends_the_migration() {
    let mut sender = Sender::new(vec![]);
    assert!(sender.answered(Response { ok: false, len: 0 }).is_err());
    assert_eq!(sender.step(), Step::Start);
    let odd = header(3, 0);
    assert!(Response::decode(&odd).is_err());
    assert_eq!(Response::decode(&OK.encode()), Ok(OK));
}

#[test]
fn a_fault_is_found_in_its_slot_however_it_is_cut() {
    let bytes = request(9, (1 << 32) + 0x1000, 0x1000);
    for cut in 0..bytes.len() {
        let mut line = FaultLine::new(guest());
        line.receive(&bytes[..cut]).unwrap();
        assert_eq!(line.next_fault(), Ok(None));
        line.receive(&bytes[cut..]).unwrap();
        let fault = line.next_fault().unwrap().unwrap();
        assert_eq!((fault.mapping, fault.file_offset, fault.len), (1, 0x1000, Bytes(0x1000)));
        assert_eq!(line.next_fault(), Ok(None));
    }
    let mut line = FaultLine::new(guest());
    line.receive(&request(9, 0x3000, 0x1000)).unwrap();
    assert_eq!(line.next_fault().unwrap().unwrap().file_offset, 0x4000);
}

#[test]
fn faults_outside_of_guest_memory_are_refused() {
    for (gpa, len) in [
        (0x3000, 0x2000),
        (0x4000, 0x1000),
        (u64::MAX, 0x1000),
        (0, 0),
        (0, FAULT_LEN_MAX + 1),
        (1 << 33, 0x1000),
    ] {
        let mut line = FaultLine::new(guest());
        line.receive(&request(9, gpa, len)).unwrap();
        assert!(line.next_fault().is_err(), "{gpa:#x} {len:#x}");
    }
    let mut line = FaultLine::new(guest());
    line.receive(&request(4, 0, 0x1000)).unwrap();
    assert!(line.next_fault().is_err());
    let mut line = FaultLine::new(guest());
    line.receive(&header(9, 17)).unwrap();
    assert!(line.next_fault().is_err());
    assert!(line.receive(&[0; 17]).is_err());
}

#[test]
fn mappings_are_found_wherever_the_configuration_has_them() {
    let mapping = r#"{"slot":1,"gpa":4096,"size":8192,"zone_id":"z","virtio_mem":false}"#;
    let config = format!(
        r#"{{"vm_config":{{"cpus":[1]}},"memory":[{{"guest_ram_mappings":[{mapping}]}}]}}"#
    );
    let found = mappings(config.as_bytes()).unwrap();
    assert_eq!(found, [Mapping { slot: 1, gpa: 4096, size: 8192, file_offset: 0 }]);
    assert_eq!(found[0].file_len(), 8192);
    let bad = r#"{"guest_ram_mappings":[{"slot":1,"gpa":18446744073709551615,"size":2}]}"#;
    for config in ["", "[]", r#"{"guest_ram_mappings":[]}"#, bad] {
        assert!(mappings(config.as_bytes()).is_err(), "{config}");
    }
}
