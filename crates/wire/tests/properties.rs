//! Properties of the decoders: what is encoded is decoded, however it is cut; what is not sound is
//! refused; and no bytes whatever do harm.

use faultless_pages::{Bytes, Va, VaRange};
use faultless_wire::cloud_hypervisor::migration::{FaultLine, Mapping};
use faultless_wire::native::{Call, Loss, Replies, Reply};
use faultless_wire::{Claim, Conversation, Layout, Refusal, Request};
use proptest::prelude::*;

/// Claims near each other, near the edges, and of odd sizes.
fn any_claim() -> impl Strategy<Value = Claim> {
    let number = || {
        prop_oneof![
            6 => (0u64..24).prop_map(|pages| pages * 4096),
            1 => (0u64..64).prop_map(|bit| 1 << bit),
            1 => (0u64..3).prop_map(|below| (below * 4096).wrapping_neg()),
            1 => any::<u64>(),
        ]
    };
    let page_size = prop_oneof![8 => Just(4096u64), 2 => Just(2u64 << 20), 1 => any::<u64>()];
    (number(), number(), number(), page_size).prop_map(|(address, len, offset, page_size)| Claim {
        address,
        len,
        offset,
        page_size,
    })
}

/// Sound regions: pages with gaps between them, in any order.
fn sound_claims() -> impl Strategy<Value = Vec<Claim>> {
    prop::collection::vec((1u64..100, 0u64..3, 0u64..1 << 30), 1..40)
        .prop_map(|pieces| {
            let mut address = 1 << 30;
            pieces
                .into_iter()
                .map(|(pages, gap, offset)| {
                    address += (pages + gap) * 4096;
                    let start = address - pages * 4096;
                    let offset = offset * 4096;
                    Claim { address: start, len: pages * 4096, offset, page_size: 4096 }
                })
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}

/// Says with the numbers' full width what a sound layout is.
fn is_sound(claims: &[Claim]) -> bool {
    let wide = u128::from;
    let alone = |claim: &Claim| {
        let page = claim.page_size;
        let power = page.is_power_of_two() && (4096..=1 << 30).contains(&page);
        let numbers = [claim.address, claim.len, claim.offset];
        power
            && claim.len > 0
            && numbers.iter().all(|number| number % page == 0)
            && [claim.address, claim.offset]
                .iter()
                .all(|start| wide(*start) + wide(claim.len) <= 1 << 56)
    };
    let apart = |a: &Claim, b: &Claim| {
        wide(a.address) + wide(a.len) <= wide(b.address)
            || wide(b.address) + wide(b.len) <= wide(a.address)
    };
    !claims.is_empty()
        && claims.iter().all(alone)
        && (0..claims.len()).all(|i| (0..i).all(|j| apart(&claims[i], &claims[j])))
}

fn feed(bytes: &[u8], cuts: &[usize], fds: u32) -> Result<Vec<Request<u32>>, Refusal> {
    let mut conversation = Conversation::new();
    let mut requests = Vec::new();
    let (mut rest, mut fds) = (bytes, 0..fds);
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |cut| 1 + cut % rest.len());
        let (piece, more) = rest.split_at(cut);
        conversation.receive(piece, &mut fds)?;
        while let Some(request) = conversation.next_request()? {
            requests.push(request);
        }
        rest = more;
    }
    conversation.end()?;
    Ok(requests)
}

fn attached(requests: &[Request<u32>]) -> &Layout {
    requests
        .iter()
        .find_map(|request| match request {
            Request::Attach(attach) => Some(&attach.layout),
            _ => None,
        })
        .expect("memory was handed over")
}

fn json_regions(claims: &[Claim], address: &str, len: &str, offset: &str) -> String {
    let region = |claim: &Claim| {
        let Claim { address: a, len: l, offset: o, page_size } = claim;
        format!(
            "{{\"{address}\":{a},\"{len}\":{l},\"{offset}\":{o},\"page_size_kib\":{page_size}}}"
        )
    };
    format!("[{}]", claims.iter().map(region).collect::<Vec<_>>().join(","))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn a_layout_exists_exactly_if_it_is_sound(
        claims in prop::collection::vec(any_claim(), 0..4)
    ) {
        prop_assert_eq!(Layout::new(&claims).is_ok(), is_sound(&claims));
    }

    #[test]
    fn no_bytes_do_harm(
        start in prop_oneof![
            Just(&b""[..]), Just(&b"[{\"base"[..]), Just(&b"{\"type\":0,"[..]),
            Just(&b"FLTW\x01\0\x02\0"[..]), Just(&b"\x10\0\0\0{"[..]),
        ],
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(any::<usize>(), 1..8),
        fds in 0u32..6,
    ) {
        let bytes = [start, &bytes].concat();
        let _ = feed(&bytes, &cuts, fds);
        let mut replies = Replies::<u32>::default();
        let _ = replies.receive(&bytes, 0..fds);
        let _ = replies.next_reply();
        let guest = Mapping { slot: 0, gpa: 4096, size: 1 << 20, file_offset: 0 };
        let mut line = FaultLine::new(vec![guest]);
        for piece in bytes.chunks(16) {
            if line.receive(piece).is_err() || line.next_fault().is_err() {
                break;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn every_protocol_says_the_same_of_the_same_memory(
        claims in sound_claims(),
        cuts in prop::collection::vec(any::<usize>(), 1..8),
    ) {
        let layout = Layout::new(&claims).unwrap();
        let array = json_regions(&claims, "base_host_virt_addr", "size", "offset");
        let nydus = format!("{{\"type\":0,\"regions\":{array},\"policy\":1}}");
        let regions = json_regions(&claims, "host_virt_addr", "size", "backing_file_offset");
        let handoff = format!(
            "{{\"type\":\"handoff\",\"version\":0,\"mode\":\"MISSING\",\"regions\":{regions}}}"
        );
        let len = u32::try_from(handoff.len()).unwrap();
        let handoff = [&len.to_le_bytes(), handoff.as_bytes()].concat();
        for bytes in [array.into_bytes(), nydus.into_bytes(), handoff] {
            let requests = feed(&bytes, &cuts, 1).unwrap();
            prop_assert_eq!(attached(&requests), &layout);
        }
        let mut own = Conversation::new();
        own.receive(&Call::hello(false).encode(), None).unwrap();
        prop_assert!(own.next_request().unwrap().is_some());
        own.receive(&Call::Attach(layout.clone()).encode(), [1]).unwrap();
        let requests = [own.next_request().unwrap().unwrap()];
        prop_assert_eq!(attached(&requests), &layout);
    }

    #[test]
    fn a_client_hears_what_the_server_said(
        replies in prop::collection::vec(prop_oneof![
            (any::<u64>(), any::<bool>()).prop_map(|(image, share)| {
                Reply::welcome(Bytes(image), share)
            }),
            Just(Reply::Ready),
            "[a-zé]{0,300}".prop_map(Reply::Refused),
            (0u64..1 << 40, 1u64..1 << 20, 0u32..5).prop_map(|(at, len, reason)| {
                let loss = match reason {
                    1 => Loss::Unreadable,
                    2 => Loss::Corrupt,
                    other => Loss::Other(other),
                };
                Reply::Lost(VaRange::of(Va(at), Bytes(len)), loss)
            }),
        ], 1..8),
        piece in 1usize..64,
    ) {
        let mut heard = Vec::new();
        let mut client = Replies::default();
        for reply in &replies {
            let shares = matches!(reply, Reply::Welcome(welcome) if welcome.share);
            let mut fd = shares.then_some(7u32);
            for part in reply.encode().chunks(piece) {
                client.receive(part, fd.take()).unwrap();
                while let Some((reply, fd)) = client.next_reply().unwrap() {
                    prop_assert_eq!(fd.is_some(), shares);
                    heard.push(reply);
                }
            }
        }
        prop_assert_eq!(heard, replies);
    }

    #[test]
    fn a_changed_byte_is_refused_or_leaves_a_sound_layout(
        claims in sound_claims(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut message = Call::Attach(Layout::new(&claims).unwrap()).encode();
        let at = at.index(message.len());
        message[at] = byte;
        let mut conversation = Conversation::new();
        conversation.receive(&Call::hello(false).encode(), None).unwrap();
        prop_assert!(conversation.next_request().unwrap().is_some());
        conversation.receive(&message, [1u32]).unwrap();
        if let Ok(Some(Request::Attach(attach))) = conversation.next_request() {
            // Whatever was made of it keeps the promises of a layout.
            let again: Vec<Claim> = attach.layout.regions().iter().map(Claim::from).collect();
            prop_assert!(is_sound(&again));
        }
    }
}
