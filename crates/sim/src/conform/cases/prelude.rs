//! What every body uses.

pub(super) use faultless_uapi::event::{self, fault_flag};
pub(super) use faultless_uapi::feature::*;
pub(super) use faultless_uapi::mode::{self, register as reg};

pub(super) use crate::conform::call::Call;
pub(super) use crate::conform::errno::*;
pub(super) use crate::conform::linux::{advice, code, map, open, poll, prot, remap};
pub(super) use crate::conform::profile::Promise;
pub(super) use crate::conform::stage::{
    Area, Memory, Range, Request, Stage, USUAL, advise, child_thread, messages_in, request,
};
pub(super) use crate::conform::verdict::{Failure, Verdict, ensure, expect, skip};
pub(super) use crate::conform::world::{Fd, Stop, Thread, World};

/// An address no process has mapped: the first page is kept free.
pub(super) const NOWHERE: u64 = 0x10;
