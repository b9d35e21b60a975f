//! What every body uses.

pub(super) use faultless_uapi::event::{self, fault_flag};
pub(super) use faultless_uapi::feature::*;
pub(super) use faultless_uapi::mode::{self, register as reg};

pub(super) use crate::conform::errno::*;
pub(super) use crate::conform::linux::{advice, map, open, poll, prot};
pub(super) use crate::conform::profile::Promise;
pub(super) use crate::conform::stage::{Memory, Range, Stage, USUAL, advise, messages_in, request};
pub(super) use crate::conform::verdict::{Failure, Verdict, ensure, expect, skip};
pub(super) use crate::conform::world::{Call, Fd, Stop, World};

/// An address no process has mapped: the first page is kept free.
pub(super) const NOWHERE: u64 = 0x10;
