//! Where the content of pages comes from: the pager's memory, or a page server on another node.
//!
//! A request is the number of a page, an answer that number and the word the page holds. The
//! network may lose either, delay it, bring it twice or in another order; so who fetches asks
//! again, ever more patiently, and takes every answer for the page it names.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use faultless_pages::Va;

use super::Flaw;
use super::calls::Calls;
use super::pager::Layout;
use super::run::Order;
use super::server::{PAGER_NODE, SERVER_NODE};
use crate::check::{Page, Word};
use crate::clock::Span;
use crate::environment::Environment;
use crate::net::Packet;

/// How long the first answer is waited for, and how long any at most.
const PATIENCE: Span = Span::millis(1);
const PATIENCE_MAX: Span = Span::millis(128);

/// Fetches pages to where the pager installs them from.
pub(super) struct Source {
    pub(super) environment: Environment,
    pub(super) layout: Layout,
    pub(super) flaw: Option<Flaw>,
    pub(super) order: Rc<Cell<Order>>,
    /// Pages whose content is in memory.
    pub(super) fetched: BTreeSet<Page>,
}

impl Source {
    /// Returns once the content of a page is in memory, or nobody needs it any more.
    pub(super) async fn bring(&mut self, calls: &Calls, page: Page) {
        let mut patience = PATIENCE;
        let mut asked = false;
        while !self.fetched.contains(&page) && self.order.get() != Order::Die {
            if !asked || self.flaw != Some(Flaw::AsksOnce) {
                self.ask(page);
                asked = true;
            }
            while let Some(packet) = self.answer(calls, patience).await {
                self.keep(calls, &packet, page).await;
                if self.fetched.contains(&page) {
                    return;
                }
            }
            patience = (patience * 2).min(PATIENCE_MAX);
        }
    }

    fn ask(&self, page: Page) {
        let bytes = page.to_le_bytes().to_vec();
        self.environment.send(Packet { from: PAGER_NODE, to: SERVER_NODE, bytes });
    }

    async fn answer(&self, calls: &Calls, patience: Span) -> Option<Packet> {
        self.environment.receive(calls.who, PAGER_NODE, patience).await
    }

    /// Puts an answer where its page is installed from.
    async fn keep(&mut self, calls: &Calls, packet: &Packet, asked: Page) {
        let Some((named, word)) = decode(&packet.bytes) else { return };
        let page = if self.flaw == Some(Flaw::TakesAnyAnswer) { asked } else { named };
        let at = Va(self.layout.source(page));
        // Only a kill ends a store to the pager's own memory.
        let _ = calls.kernel.store(calls.who, at, &word.to_ne_bytes()).await;
        self.fetched.insert(page);
    }
}

/// Makes an answer.
pub(super) fn encode(page: Page, word: &[u8]) -> Vec<u8> {
    [&page.to_le_bytes()[..], word].concat()
}

fn decode(bytes: &[u8]) -> Option<(Page, Word)> {
    let (page, word) = bytes.split_first_chunk()?;
    Some((Page::from_le_bytes(*page), Word::from_le_bytes(*word.first_chunk()?)))
}
