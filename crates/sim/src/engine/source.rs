//! Where pages come from, and what goes wrong there.

use std::collections::BTreeSet;

use faultless_paging::port::{Content, FetchError, Fetched, Order};

use crate::check::{Page, Word};
use crate::clock::Span;
use crate::random::{Odds, Random};

/// How a source behaves in one run.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) random: Random,
    /// What it has; pages of zeros among it.
    pub(super) words: Vec<Word>,
    /// Pages it lost for good.
    pub(super) lost: BTreeSet<Page>,
    pub(super) slow: Odds,
    pub(super) fails: Odds,
    pub(super) short: Odds,
    pub(super) lies: Odds,
    /// Nobody checks what it brings.
    pub(super) trusted: bool,
}

/// An answer: what each page holds.
pub(super) type Answer = Result<(Fetched, Vec<Word>), FetchError>;

impl Source {
    /// Draws how a source behaves.
    pub(super) fn draw(random: &mut Random, words: Vec<Word>, trusted: bool) -> Source {
        let mut odds = |most: u32| {
            let on = random.happens(Odds::one_in(2));
            let halvings = u32::try_from(random.within(1..=4)).unwrap_or(4);
            if on { Odds::one_in(most << halvings) } else { Odds::NEVER }
        };
        let (slow, fails, short, lies) = (odds(1), odds(2), odds(4), odds(2));
        let loses = random.happens(Odds::one_in(4));
        let pages = 0..words.len() as u64;
        let lost = pages.filter(|_| loses && random.happens(Odds::one_in(4))).collect();
        let random = Random::new(random.word());
        Source { random, words, lost, slow, fails, short, lies, trusted }
    }

    /// How long an answer takes.
    pub(super) fn delay(&mut self) -> Span {
        let slow = self.random.happens(self.slow);
        Span::micros(self.random.within(1..=if slow { 20_000 } else { 200 }))
    }

    /// Answers an order.
    pub(super) fn answer(&mut self, order: &Order) -> Answer {
        if self.random.happens(self.fails) {
            return Err(FetchError::Passing("the connection broke".to_owned()));
        }
        if order.pages.pages().any(|page| self.lost.contains(&page.0)) {
            return Err(FetchError::Final("the page is lost".to_owned()));
        }
        let short = self.random.happens(self.short);
        let (mut fetched, mut words) = (Fetched::default(), Vec::new());
        for page in order.pages.pages().skip(usize::from(short)) {
            let right = self.words[usize::try_from(page.0).unwrap_or(usize::MAX)];
            let word = if self.random.happens(self.lies) { right ^ 0xbad } else { right };
            // Where the content is to be what a checksum says, a lie is a failure.
            if word != right && !self.trusted {
                return Err(FetchError::Passing("a page is not what it should be".to_owned()));
            }
            let zeros = word == 0 && self.random.happens(Odds::one_in(2));
            fetched.push(1, if zeros { Content::Zeros } else { Content::Bytes });
            words.push(word);
        }
        Ok((fetched, words))
    }
}
