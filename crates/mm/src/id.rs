//! Names of the things a kernel holds: small numbers, each a type of its own.

/// Declares an identity.
macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub usize);

        impl From<usize> for $name {
            fn from(index: usize) -> $name {
                $name(index)
            }
        }

        impl From<$name> for usize {
            fn from(id: $name) -> usize {
                id.0
            }
        }
    )*};
}

ids! {
    /// A process.
    ProcessId;
    /// A thread, unique among all processes.
    ThreadId;
    /// An address space. Never used again after its death: a dead one can still be named.
    SpaceId;
    /// An area of an address space; a new one after every split.
    AreaId;
    /// A frame of physical memory.
    FrameId;
    /// A slot of the swap area.
    SlotId;
    /// An object that can be mapped.
    ObjectId;
    /// The root of a family of areas whose anonymous pages may be shared by forks.
    RootId;
    /// A userfaultfd.
    ContextId;
    /// An open file.
    FileId;
    /// A run of a future by the scheduler.
    TaskId;
    /// A table of base entries.
    TableId;
}
