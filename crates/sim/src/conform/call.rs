//! What a thread of a world can be told to do.
//!
//! A [`Call`] is a system call, an access to memory, or a look at what the kernel tells of the
//! process. Worlds carry calls out; bodies and random programs are made of them.

use super::world::{Fd, Process};

/// What a thread is told to do.
///
/// The value of a call that ends well is 0 unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Reads memory in user mode; the bytes come back.
    Load {
        /// Address.
        at: u64,
        /// Bytes, at most [`ACCESS_MAX`].
        len: u64,
    },
    /// Writes memory in user mode.
    Store {
        /// Address.
        at: u64,
        /// What, at most [`ACCESS_MAX`].
        bytes: Vec<u8>,
    },
    /// Has the kernel read memory, as `write(2)` of it does. Value: bytes read, which come back.
    KernelLoad {
        /// Address.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// Has the kernel write memory, as `read(2)` into it does. Value: bytes written.
    KernelStore {
        /// Address.
        at: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Has the kernel read memory of another process, as `process_vm_readv` does.
    RemoteLoad {
        /// Whose.
        of: Process,
        /// Address.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// `mmap`. Value: the address.
    Map {
        /// With MAP_FIXED in `flags`: where.
        at: u64,
        /// Bytes.
        len: u64,
        /// [`prot`](super::linux::prot) bits.
        prot: u32,
        /// [`map`](super::linux::map) bits.
        flags: u32,
        /// The object, unless anonymous.
        fd: Option<Fd>,
        /// Offset in the object.
        offset: u64,
    },
    /// `munmap`.
    Unmap {
        /// Address.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// `mremap`. Value: the new address.
    Remap {
        /// Old address.
        from: u64,
        /// Old length.
        len: u64,
        /// New length.
        new_len: u64,
        /// [`remap`](super::linux::remap) bits.
        flags: u32,
        /// New address, with FIXED.
        to: u64,
    },
    /// `mprotect`.
    Protect {
        /// Address.
        at: u64,
        /// Bytes.
        len: u64,
        /// [`prot`](super::linux::prot) bits.
        prot: u32,
    },
    /// `brk`, the system call. Value: the end of the heap afterwards.
    Brk {
        /// Where it shall end; 0 only asks.
        end: u64,
    },
    /// Gives the process an empty heap that begins here, as `prctl` with PR_SET_MM does.
    PlaceHeap {
        /// Where it begins and ends.
        at: u64,
    },
    /// `madvise`.
    Advise {
        /// Address.
        at: u64,
        /// Bytes.
        len: u64,
        /// An [`advice`](super::linux::advice).
        advice: u32,
    },
    /// `mlock`.
    Lock {
        /// Address.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// `munlock`.
    Unlock {
        /// Address.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// Makes a shared memory object of this size. Value: its descriptor.
    Memfd {
        /// Bytes.
        len: u64,
        /// Of huge pages.
        huge: bool,
    },
    /// Makes a regular file of this size, deleted on close. Value: its descriptor.
    RegularFile {
        /// Bytes.
        len: u64,
    },
    /// Forbids every write to a memfd from now on, by a seal.
    Seal {
        /// The memfd.
        fd: Fd,
    },
    /// Opens the object of a descriptor again, only for reading. Value: its descriptor.
    ReopenReadOnly {
        /// The object.
        fd: Fd,
    },
    /// `ftruncate`.
    Resize {
        /// The object.
        fd: Fd,
        /// Bytes.
        len: u64,
    },
    /// `fallocate` with PUNCH_HOLE.
    Punch {
        /// The object.
        fd: Fd,
        /// Offset.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// `pwrite` to an object. Value: bytes written.
    WriteObject {
        /// The object.
        fd: Fd,
        /// Offset.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// `pread` from an object. Value: bytes read, which come back.
    ReadObject {
        /// The object.
        fd: Fd,
        /// Offset.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// `fork`. Value: the number of the new [`Process`].
    Fork,
    /// `execve` of a program that goes on to take calls; the process keeps its handle.
    Exec,
    /// Gives up every privilege, for this thread.
    DropPrivileges,
    /// `userfaultfd(flags)`. Value: the descriptor.
    Userfaultfd {
        /// [`open`](super::linux::open) bits and `UFFD_USER_MODE_ONLY`.
        flags: u32,
    },
    /// Opens `/dev/userfaultfd` itself. Value: the descriptor.
    OpenDevice,
    /// `ioctl` with an argument struct; the bytes after the call come back, failed or not.
    Ioctl {
        /// Descriptor.
        fd: Fd,
        /// Request number.
        request: u32,
        /// The struct.
        argument: Vec<u8>,
    },
    /// `ioctl` whose argument is this word.
    IoctlWord {
        /// Descriptor.
        fd: Fd,
        /// Request number.
        request: u32,
        /// A number, or the address of a struct in memory.
        word: u64,
    },
    /// `read`. Value: bytes read, which come back.
    Read {
        /// Descriptor.
        fd: Fd,
        /// Room.
        len: u64,
    },
    /// `read` into this memory. Value: bytes read.
    ReadTo {
        /// Descriptor.
        fd: Fd,
        /// Address.
        at: u64,
        /// Room.
        len: u64,
    },
    /// `write` of eight bytes. Value: bytes written.
    Write {
        /// Descriptor.
        fd: Fd,
    },
    /// `lseek(fd, offset, SEEK_SET)`. Value: the position.
    Seek {
        /// Descriptor.
        fd: Fd,
        /// Where.
        offset: u64,
    },
    /// `poll` without waiting. Value: the events.
    Poll {
        /// Descriptor.
        fd: Fd,
    },
    /// `poll` that waits. Value: the events.
    PollWait {
        /// Descriptor.
        fd: Fd,
    },
    /// `close`.
    Close {
        /// Descriptor.
        fd: Fd,
    },
    /// `dup`. Value: the new number.
    Duplicate {
        /// Descriptor.
        fd: Fd,
    },
    /// Reads entries of the pagemap: eight bytes a page come back.
    Pagemap {
        /// Address of the first page.
        at: u64,
        /// How many.
        pages: u64,
    },
    /// `PAGEMAP_SCAN` on the own pagemap. Value: regions. The argument after the call comes
    /// back, and behind it the regions.
    Scan {
        /// The argument; where `vec` is [`SCAN_ROOM`], the world puts room for `vec_len` regions.
        argument: Vec<u8>,
    },
    /// Value: bytes of the mapping at this address that transparent huge pages map.
    HugeBytes {
        /// Any address in the mapping.
        at: u64,
    },
    /// Reads `/proc/self/fdinfo` of a descriptor; the text comes back.
    Fdinfo {
        /// Descriptor.
        fd: Fd,
    },
    /// Lets the process have no descriptor numbered `count` or more, which makes new ones EMFILE.
    LimitDescriptors {
        /// One more than the highest number.
        count: u64,
    },
    /// Finds a page the kernel itself has mapped, of raw frames. Value: its address.
    SpecialMemory,
    /// Registers this memory as a pinned buffer of an io_uring. Value: the ring's descriptor.
    Pin {
        /// Address.
        at: u64,
        /// Bytes.
        len: u64,
    },
}

/// Stands for the address of room for regions in a [`Call::Scan`].
pub const SCAN_ROOM: u64 = 1;

/// Most bytes of one [`Call::Load`] or [`Call::Store`].
pub const ACCESS_MAX: u64 = 64 << 10;
