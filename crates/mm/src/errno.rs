//! Error numbers, as the ABI returns them.

use core::fmt;

/// An error number of Linux. The set is open: only those the model returns have names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $number:literal: $what:literal;)*) => {
        $(
            #[doc = $what]
            pub const $name: Errno = Errno($number);
        )*

        impl Errno {
            fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1: "Not permitted.";
    ENOENT = 2: "Nothing there.";
    ESRCH = 3: "The process is gone.";
    EINTR = 4: "A signal came first.";
    EBADF = 9: "No such descriptor, or not open for this.";
    EAGAIN = 11: "Not now.";
    ENOMEM = 12: "No memory, or no such address.";
    EACCES = 13: "Access denied.";
    EFAULT = 14: "Memory of the caller cannot be used.";
    EBUSY = 16: "In use.";
    EEXIST = 17: "Something is there already.";
    EINVAL = 22: "The arguments make no sense.";
    EMFILE = 24: "No descriptor is free.";
    ENOTTY = 25: "There is no such request.";
    EHWPOISON = 133: "The memory is broken.";
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl core::error::Error for Errno {}
