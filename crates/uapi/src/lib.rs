//! The kernel's userfaultfd and PAGEMAP_SCAN ABI, exact to the byte, written by hand.
#![no_std]
#![forbid(unsafe_code)]
