//! Zeros, without end.

use crate::port::{FetchError, Fetched, Order, PageSource};

/// A source of zeros.
#[derive(Clone, Copy, Debug, Default)]
pub struct Zeros;

impl PageSource for Zeros {
    fn fetch(&self, order: &Order, _: &mut [u8]) -> Result<Fetched, FetchError> {
        Ok(Fetched::zeros(order.pages.count))
    }

    fn is_quick(&self) -> bool {
        true
    }
}
