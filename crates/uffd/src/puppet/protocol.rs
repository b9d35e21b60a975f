//! The numbers both ends of a [`Channel`](super::channel::Channel) agree on.
//!
//! A request's first word is an operation `op::*`, a reply's first word is a `kind::*`.

/// What a puppet's thread can be asked.
pub(super) mod op {
    /// Words: number, six arguments, bytes of scratch to send back. Payload: scratch before.
    pub(in super::super) const SYSCALL: u64 = 1;
    /// Words: address, length. The reply's payload is what was read, in user mode.
    pub(in super::super) const LOAD: u64 = 2;
    /// Words: address. The payload is stored there, in user mode.
    pub(in super::super) const STORE: u64 = 3;
    /// As LOAD, but the kernel reads the memory: `write(2)` to a pipe.
    pub(in super::super) const KERNEL_LOAD: u64 = 4;
    /// As STORE, but the kernel writes the memory: `read(2)` from a pipe.
    pub(in super::super) const KERNEL_STORE: u64 = 5;
    /// With a descriptor: start a thread that serves it.
    pub(in super::super) const THREAD: u64 = 6;
    /// With a descriptor: fork; the child serves it.
    pub(in super::super) const FORK: u64 = 7;
    /// Execute this program anew; it greets on the same channel.
    pub(in super::super) const EXEC: u64 = 8;
    /// Words: number of a descriptor, which the reply carries.
    pub(in super::super) const SEND_FD: u64 = 9;
    /// With a descriptor: keep it and reply with its number.
    pub(in super::super) const TAKE_FD: u64 = 10;
}

/// What a puppet's thread answers.
pub(super) mod kind {
    /// Words: process id, thread id, address of the scratch area. Sent once, at the start.
    pub(in super::super) const HELLO: u64 = 1;
    /// Words: the value, or minus the error number. Payload as the operation says.
    pub(in super::super) const DONE: u64 = 2;
    /// Words: signal, si_code, si_addr. The access did not happen.
    pub(in super::super) const SIGNAL: u64 = 3;
}

/// The argument that turns a run of this program into a puppet.
pub(super) const PUPPET_ARGUMENT: &str = "--faultless-puppet";
