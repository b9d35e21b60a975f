//! Tests of whole conversations: every protocol, cut anywhere, and every way to be refused.

use faultless_pages::{Bytes, Va};

use super::*;
use crate::{Claim, REGIONS_MAX};

const ARRAY: &[u8] = br#"[{"base_host_virt_addr":65536,"size":8192,"offset":0,"page_size":4096}]"#;
const NYDUS: &[u8] =
    br#"{"type":0,"regions":[{"base_host_virt_addr":65536,"size":8192,"offset":0}],"policy":1}"#;
const HANDOFF: &[u8] = br#"{"type":"handoff","version":0,"vmm_pid":9,"mode":"MISSING","regions":[
    {"guest_phys_addr":0,"host_virt_addr":65536,"size":8192,"backing_file_offset":0}]}"#;
const ADD: &[u8] = br#"{"type":"add_region","region":
    {"guest_phys_addr":0,"host_virt_addr":131072,"size":8192,"backing_file_offset":8192}}"#;

fn layout(count: u64) -> Layout {
    let claim = |n| Claim { address: 65536 + n * 8192, len: 8192, offset: 0, page_size: 4096 };
    Layout::new(&(0..count).map(claim).collect::<Vec<_>>()).unwrap()
}

fn prefixed(text: &[u8]) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap();
    [&len.to_le_bytes(), text].concat()
}

/// Says messages one after the other, in pieces of `piece` bytes, descriptors with the first.
fn say(messages: &[(Vec<u8>, &[u32])], piece: usize) -> Result<Vec<Request<u32>>, Refusal> {
    let mut conversation = Conversation::new();
    let mut requests = Vec::new();
    for (bytes, fds) in messages {
        let mut fds = fds.to_vec();
        for part in bytes.chunks(piece) {
            conversation.receive(part, fds.drain(..))?;
            while let Some(request) = conversation.next_request()? {
                requests.push(request);
            }
        }
    }
    conversation.end()?;
    Ok(requests)
}

/// Says one message at once.
fn refusal_of(bytes: &[u8], fds: &[u32]) -> Refusal {
    say(&[(bytes.to_vec(), fds)], usize::MAX).unwrap_err()
}

fn hello() -> Vec<u8> {
    Call::hello(true).encode()
}

#[test]
fn every_protocol_hands_memory_over_however_it_is_cut() {
    let native = Call::Attach(layout(1)).encode();
    for (name, messages) in [
        ("firecracker", vec![(ARRAY.to_vec(), &[7, 8][..])]),
        ("nydus", vec![(NYDUS.to_vec(), &[7])]),
        ("handoff", vec![(prefixed(HANDOFF), &[7])]),
        ("native", vec![(hello(), &[]), (native, &[7, 8])]),
    ] {
        let whole = say(&messages, usize::MAX).unwrap();
        let Some(Request::Attach(attach)) = whole.last() else { panic!("{name}: {whole:?}") };
        assert_eq!((attach.layout.clone(), attach.uffd), (layout(1), 7), "{name}");
        let two = matches!(name, "firecracker" | "native");
        assert_eq!(attach.memory, two.then_some(8), "{name}");
        assert_eq!(attach.claimed_pid, (name == "handoff").then_some(9), "{name}");
        for piece in 1..80 {
            assert_eq!(say(&messages, piece).as_ref(), Ok(&whole), "{name} by {piece}");
        }
    }
}

#[test]
fn firecracker_may_hand_over_again_and_end_lines() {
    let line = [ARRAY, b" \n"].concat();
    let again = say(&[(line.clone(), &[1]), (line, &[2])], 16).unwrap();
    let uffds: Vec<u32> = again
        .iter()
        .filter_map(|request| match request {
            Request::Attach(attach) => Some(attach.uffd),
            _ => None,
        })
        .collect();
    assert_eq!(uffds, [1, 2]);
}

#[test]
fn a_descriptor_may_come_after_its_message() {
    let mut conversation = Conversation::new();
    conversation.receive(ARRAY, []).unwrap();
    assert_eq!(conversation.next_request(), Ok(None));
    assert_eq!(conversation.end(), Err(Refusal::NoDescriptor(Dialect::Firecracker)));
    conversation.receive(b"", [3]).unwrap();
    assert!(matches!(conversation.next_request(), Ok(Some(Request::Attach(_)))));
    assert_eq!(conversation.end(), Ok(()));
}

#[test]
fn memory_is_added_after_it_was_handed_over() {
    let messages = [(prefixed(HANDOFF), &[1][..]), (prefixed(ADD), &[])];
    let requests = say(&messages, 10).unwrap();
    assert!(matches!(&requests[1], Request::AddRegions(more) if more.len() == Bytes(8192)));
    let early = say(&[(prefixed(ADD), &[])], 10).unwrap_err();
    assert!(matches!(early, Refusal::OutOfOrder { .. }));
    let twice = say(&[(prefixed(HANDOFF), &[1]), (prefixed(HANDOFF), &[2])], 10).unwrap_err();
    assert!(matches!(twice, Refusal::OutOfOrder { .. }));
}

#[test]
fn the_own_protocol_keeps_its_order() {
    let attach = Call::Attach(layout(1)).encode();
    let prefetch = Call::Prefetch(VaRange::of(Va(65536), Bytes(10))).encode();
    let add = Call::AddRegions(layout(2)).encode();
    let [full, bye] = [layout(1024), layout(1)].map(|l| Call::Attach(l).encode());
    let all = [
        (hello(), &[][..]),
        (attach.clone(), &[1]),
        (prefetch.clone(), &[]),
        (add.clone(), &[]),
        (Call::Bye.encode(), &[]),
    ];
    assert_eq!(say(&all, 7).unwrap().len(), 5);
    assert!(say(&[(hello(), &[]), (full, &[1])], 4096).is_ok());
    let out_of_order = [
        vec![(attach.clone(), &[1][..])],
        vec![(prefetch, &[])],
        vec![(add, &[])],
        vec![(hello(), &[]), (hello(), &[])],
        vec![(hello(), &[]), (attach.clone(), &[1]), (attach.clone(), &[2])],
        vec![(hello(), &[]), (attach, &[1]), (Call::Bye.encode(), &[]), (bye, &[1])],
    ];
    for messages in out_of_order {
        let refused = say(&messages, usize::MAX).unwrap_err();
        assert!(matches!(refused, Refusal::OutOfOrder { .. }), "{refused}");
    }
}

#[test]
fn half_a_message_is_no_message() {
    for whole in [ARRAY.to_vec(), NYDUS.to_vec(), prefixed(HANDOFF), hello()] {
        for len in 1..whole.len() {
            let refused = refusal_of(&whole[..len], &[1]);
            assert_eq!(refused, Refusal::Truncated { have: len });
        }
    }
    assert_eq!(refusal_of(b"", &[]), Refusal::Silent);
}

#[test]
fn descriptors_are_counted() {
    assert_eq!(refusal_of(ARRAY, &[]), Refusal::NoDescriptor(Dialect::Firecracker));
    let followed = [ARRAY, b"["].concat();
    assert_eq!(refusal_of(&followed, &[]), Refusal::NoDescriptor(Dialect::Firecracker));
    assert!(matches!(refusal_of(ARRAY, &[1, 2, 3]), Refusal::Declined { .. }));
    assert!(matches!(refusal_of(ARRAY, &[1; 4]), Refusal::TooManyDescriptors { .. }));
    assert!(matches!(refusal_of(ARRAY, &[1; 5]), Refusal::DescriptorFlood));
    assert!(matches!(refusal_of(NYDUS, &[1, 2]), Refusal::TooManyDescriptors { .. }));
    let handoff = prefixed(HANDOFF);
    assert!(matches!(refusal_of(&handoff, &[1, 2]), Refusal::TooManyDescriptors { .. }));
    assert!(matches!(refusal_of(&hello(), &[1]), Refusal::TooManyDescriptors { .. }));
}

#[test]
fn lengths_are_bounded_before_anything_is_kept() {
    let handoff = [&[0, 0, 0x10, 0][..], b"{"].concat();
    assert!(matches!(refusal_of(&handoff, &[1]), Refusal::TooLong { len: 0x10_0000 }));
    let mut frame = hello();
    frame[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(refusal_of(&frame, &[]), Refusal::TooLong { .. }));
    let endless = [b"[", vec![b' '; MESSAGE_LEN_MAX].as_slice()].concat();
    assert!(matches!(refusal_of(&endless, &[1]), Refusal::TooLong { .. }));
    let mut count = Call::Attach(layout(1)).encode();
    count[16..20].copy_from_slice(&u32::try_from(REGIONS_MAX + 1).unwrap().to_le_bytes());
    let refused = say(&[(hello(), &[]), (count, &[1])], usize::MAX).unwrap_err();
    assert!(matches!(refused, Refusal::Malformed { .. }), "{refused}");
}

#[test]
fn rubbish_is_refused_by_name() {
    assert!(matches!(refusal_of(b"GET / HTTP/1.1\r\n", &[]), Refusal::UnknownDialect(_)));
    assert!(matches!(refusal_of(&[b'['; 64], &[1]), Refusal::Malformed { .. }));
    let trailing = [ARRAY, b"rubbish"].concat();
    assert!(matches!(refusal_of(&trailing, &[1]), Refusal::Malformed { .. }));
    for (at, byte) in [(0, b'G'), (4, 9), (6, 99), (12, 1), (16, 0)] {
        let mut frame = hello();
        frame[at] = byte;
        let refused = refusal_of(&frame, &[]);
        let named = matches!(
            refused,
            Refusal::Malformed { .. } | Refusal::Version { .. } | Refusal::UnknownDialect(_)
        );
        assert!(named, "byte {at}: {refused}");
    }
}
