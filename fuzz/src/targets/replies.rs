//! What a page server says to a client of the own protocol.

use std::collections::BTreeSet;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_wire::native::{Loss, Replies, Reply};

use crate::way;

/// Decodes; what was decoded is encoded to the same again.
pub fn run(data: &[u8]) -> u64 {
    let Some((&[piece], bytes)) = data.split_first_chunk::<1>() else { return 0 };
    let mut replies = Replies::default();
    let mut said = BTreeSet::new();
    let mut fds = 0..4u8;
    for part in bytes.chunks(usize::from(piece) + 1) {
        let fd = if part.len() % 3 == 0 { fds.next() } else { None };
        if let Err(refusal) = replies.receive(part, fd) {
            return ended(&said, refusal.label());
        }
        loop {
            match replies.next_reply() {
                Ok(Some((reply, fd))) => {
                    said.insert(kind(&reply));
                    check(&reply, fd);
                }
                Ok(None) => break,
                Err(refusal) => return ended(&said, refusal.label()),
            }
        }
    }
    ended(&said, "whole")
}

fn ended(said: &BTreeSet<&str>, how: &str) -> u64 {
    way(&said.iter().copied().chain([how]).collect::<Vec<_>>().join(" "))
}

fn kind(reply: &Reply) -> &'static str {
    match reply {
        Reply::Welcome(welcome) if welcome.share => "welcome-shared",
        Reply::Welcome(_) => "welcome",
        Reply::Ready => "ready",
        Reply::Refused(_) => "refused",
        Reply::Lost(..) => "lost",
    }
}

fn check(reply: &Reply, fd: Option<u8>) {
    let mut again = Replies::default();
    again.receive(&reply.encode(), fd).expect("it was said before");
    let heard = again.next_reply().expect("it was understood before");
    assert_eq!(heard, Some((reply.clone(), fd)));
}

/// Every reply.
pub fn seeds() -> Vec<Vec<u8>> {
    let replies = [
        Reply::welcome(Bytes::mib(64), true),
        Reply::welcome(Bytes::mib(64), false),
        Reply::Ready,
        Reply::Refused("the peer said nothing".to_owned()),
        Reply::Lost(VaRange::of(Va(65536), Bytes(4096)), Loss::Corrupt),
    ];
    let one = |reply: &Reply| [vec![255], reply.encode()].concat();
    replies.iter().map(one).collect()
}
