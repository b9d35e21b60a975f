//! Numbers of the system calls that drop memory, as a tracer meets them.

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $number:ident,)*) => {
        $($(#[$doc])* pub const $name: i64 = libc::$number;)*
    };
}

numbers! {
    /// `munmap(address, length)`
    MUNMAP = SYS_munmap,
    /// `mmap(address, length, protection, flags, descriptor, offset)`
    MMAP = SYS_mmap,
    /// `mremap(address, old length, new length, flags, new address)`
    MREMAP = SYS_mremap,
    /// `madvise(address, length, advice)`
    MADVISE = SYS_madvise,
    /// `brk(end)`
    BRK = SYS_brk,
    /// `shmat(segment, address, flags)`
    SHMAT = SYS_shmat,
    /// `shmdt(address)`
    SHMDT = SYS_shmdt,
    /// `execve(path, arguments, environment)`
    EXECVE = SYS_execve,
    /// `execveat(directory, path, arguments, environment, flags)`
    EXECVEAT = SYS_execveat,
    /// `process_madvise(process, ranges, count, advice, flags)`
    PROCESS_MADVISE = SYS_process_madvise,
    /// `ftruncate(descriptor, length)`
    FTRUNCATE = SYS_ftruncate,
    /// `fallocate(descriptor, mode, offset, length)`
    FALLOCATE = SYS_fallocate,
}
