//! What a client says to the page server, in any protocol.
//!
//! The first two bytes of an input say in which pieces and with how many descriptors the rest
//! comes.

use std::collections::BTreeSet;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_wire::native::Call;
use faultless_wire::{Claim, Conversation, Layout, Refusal, Request};

use crate::way;

/// Decodes, and checks that a layout keeps its promises.
pub fn run(data: &[u8]) -> u64 {
    let mut said = BTreeSet::new();
    let refused = converse(data, &mut |request| match request {
        Request::Attach(attach) => {
            check(&attach.layout);
            said.insert(if attach.memory.is_some() { "attach-two " } else { "attach " });
        }
        Request::AddRegions(layout) => {
            check(layout);
            said.insert("regions ");
        }
        Request::Hello(_) => drop(said.insert("hello ")),
        Request::Prefetch(_) => drop(said.insert("prefetch ")),
        Request::Bye => drop(said.insert("bye ")),
    });
    let said: String = said.into_iter().collect();
    way(&(said + &refused.unwrap_or_default()))
}

/// Fails on a layout any fuzzer must find: one with a certain offset, in a protocol of its choice.
pub fn run_canary(data: &[u8]) -> u64 {
    let _ = converse(data, &mut |request| {
        if let Request::Attach(attach) = request {
            let far = |offset: Bytes| offset.0 == 1 << 40;
            let found = attach.layout.regions().iter().any(|region| far(region.offset));
            assert!(!found, "the canary was found");
        }
    });
    run(data)
}

fn converse(data: &[u8], each: &mut dyn FnMut(&Request<u8>)) -> Option<String> {
    let (&[piece, fds], bytes) = data.split_first_chunk::<2>()?;
    let mut conversation = Conversation::new();
    let mut fds = 0..fds % 6;
    for part in bytes.chunks(usize::from(piece) + 1) {
        // One descriptor a piece, then the rest: they may come late, and in several messages.
        let some = if piece % 2 == 0 {
            fds.by_ref().take(6).collect()
        } else {
            Vec::from_iter(fds.next())
        };
        if let Err(refusal) = conversation.receive(part, some) {
            return Some(brief(&refusal));
        }
        loop {
            match conversation.next_request() {
                Ok(Some(request)) => each(&request),
                Ok(None) => break,
                Err(refusal) => return Some(brief(&refusal)),
            }
        }
    }
    conversation.end().err().map(|refusal| brief(&refusal))
}

/// The refusal without what the peer put into it.
fn brief(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Region { fault, .. } => format!("{fault}"),
        Refusal::Malformed { dialect, reason } => {
            let words = reason.split(['`', '"']).next().unwrap_or_default();
            format!("{dialect} {words}")
        }
        other => other.label().to_owned(),
    }
}

fn check(layout: &Layout) {
    let mut end = Va(0);
    for region in layout.regions() {
        assert!(!region.memory.is_empty());
        assert!(region.memory.start() >= end, "in order and apart");
        assert!(region.memory.is_aligned(region.page_size));
        assert!(region.offset.0.is_multiple_of(region.page_size.bytes().0));
        assert!(region.image_end().0 >= region.offset.0);
        assert_eq!(layout.region_of(region.memory.start()), Some(region));
        end = region.memory.end();
    }
}

/// A hand-over in each protocol.
pub fn seeds() -> Vec<Vec<u8>> {
    let claim = |n: u64| Claim { address: n << 20, len: 8192, offset: n << 14, page_size: 4096 };
    let layout = |n| Layout::new(&[claim(n), claim(n + 1)]).expect("it is sound");
    let own = [
        Call::hello(true),
        Call::Attach(layout(16)),
        Call::AddRegions(layout(32)),
        Call::Prefetch(VaRange::of(Va(16 << 20), Bytes(4096))),
        Call::Bye,
    ];
    let region = r#""base_host_virt_addr":65536,"size":2097152,"offset":0"#;
    let array = format!("[{{{region},\"page_size\":4096,\"page_size_kib\":4096}}]");
    let old = format!("[{{{region}}}]");
    let nydus = format!("{{\"type\":0,\"regions\":{array},\"policy\":1,\"enable_prefault\":true}}");
    let plugged =
        r#"{"guest_phys_addr":0,"host_virt_addr":65536,"size":4096,"backing_file_offset":0}"#;
    let handoff = format!(
        "{{\"type\":\"handoff\",\"version\":0,\"vmm_pid\":9,\"mode\":\"MISSING\",\
         \"regions\":[{plugged}]}}"
    );
    let add =
        format!("{{\"type\":\"add_region\",\"region\":{}}}", plugged.replace("65536", "131072"));
    let framed = |text: &str| {
        let len = u32::try_from(text.len()).expect("short");
        [&len.to_le_bytes(), text.as_bytes()].concat()
    };
    let said = |fds: u8, bytes: Vec<u8>| [vec![254, fds], bytes].concat();
    vec![
        said(1, array.into_bytes()),
        said(2, old.into_bytes()),
        said(1, nydus.into_bytes()),
        said(1, [framed(&handoff), framed(&add)].concat()),
        // The hello takes no descriptor, so they come in the second piece.
        [vec![23, 1], own.iter().flat_map(Call::encode).collect()].concat(),
    ]
}
