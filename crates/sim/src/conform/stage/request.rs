//! Requests to a userfaultfd as values, and what became of them.
//!
//! Out fields start as [`UNTOUCHED`], so that a body sees whether the kernel wrote them.

use faultless_uapi::ioctl::{
    UFFDIO_API, UFFDIO_CONTINUE, UFFDIO_COPY, UFFDIO_MOVE, UFFDIO_POISON, UFFDIO_REGISTER,
    UFFDIO_RWPROTECT, UFFDIO_SET_MODE, UFFDIO_UNREGISTER, UFFDIO_WAKE, UFFDIO_WRITEPROTECT,
    UFFDIO_ZEROPAGE,
};
use faultless_uapi::{
    UffdioApi, UffdioContinue, UffdioCopy, UffdioMove, UffdioPoison, UffdioRange, UffdioRegister,
    UffdioRwprotect, UffdioSetMode, UffdioWriteprotect, UffdioZeropage,
};

use super::{Range, Stage};
use crate::conform::call::Call;
use crate::conform::errno::{EAGAIN, Errno};
use crate::conform::verdict::{Verdict, diverges};
use crate::conform::world::{Done, Fd, Stop, Thread};

/// What out fields hold before a request: no request can put it there.
pub const UNTOUCHED: i64 = 0x7777;

/// A request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name in reports.
    pub name: &'static str,
    /// Its number.
    pub number: u32,
    /// Its argument struct.
    pub argument: Vec<u8>,
    /// Where the out field is, if it has one.
    pub out_at: Option<usize>,
}

impl Request {
    fn new(name: &'static str, number: u32, argument: &[u8], out_at: Option<usize>) -> Request {
        Request { name, number, argument: argument.to_vec(), out_at }
    }

    /// The call that sends it.
    #[must_use]
    pub fn to(&self, fd: Fd) -> Call {
        Call::Ioctl { fd, request: self.number, argument: self.argument.clone() }
    }

    fn tried(&self, done: &Done) -> Tried {
        let out = self.out_at.and_then(|at| done.bytes.get(at..at + 8)?.try_into().ok());
        Tried {
            name: self.name,
            result: done.result,
            out: out.map_or(UNTOUCHED, i64::from_ne_bytes),
            bytes: done.bytes.clone(),
        }
    }
}

fn abi(range: Range) -> UffdioRange {
    UffdioRange { start: range.start, len: range.len }
}

/// The handshake. Its out field is the feature word.
#[must_use]
pub fn api(api: u64, features: u64) -> Request {
    let argument = UffdioApi { api, features, ioctls: 0 };
    Request::new("API", UFFDIO_API, &argument.to_bytes(), Some(8))
}

/// REGISTER. Its out field is the set of requests.
#[must_use]
pub fn register(range: Range, mode: u64) -> Request {
    let ioctls = UNTOUCHED.cast_unsigned();
    let argument = UffdioRegister { range: abi(range), mode, ioctls };
    Request::new("REGISTER", UFFDIO_REGISTER, &argument.to_bytes(), Some(24))
}

/// UNREGISTER.
#[must_use]
pub fn unregister(range: Range) -> Request {
    Request::new("UNREGISTER", UFFDIO_UNREGISTER, &abi(range).to_bytes(), None)
}

/// WAKE.
#[must_use]
pub fn wake(range: Range) -> Request {
    Request::new("WAKE", UFFDIO_WAKE, &abi(range).to_bytes(), None)
}

/// COPY.
#[must_use]
pub fn copy(range: Range, src: u64, mode: u64) -> Request {
    let argument = UffdioCopy { dst: range.start, src, len: range.len, mode, copy: UNTOUCHED };
    Request::new("COPY", UFFDIO_COPY, &argument.to_bytes(), Some(32))
}

/// ZEROPAGE.
#[must_use]
pub fn zeropage(range: Range, mode: u64) -> Request {
    let argument = UffdioZeropage { range: abi(range), mode, zeropage: UNTOUCHED };
    Request::new("ZEROPAGE", UFFDIO_ZEROPAGE, &argument.to_bytes(), Some(24))
}

/// MOVE.
#[must_use]
pub fn move_(range: Range, src: u64, mode: u64) -> Request {
    let argument = UffdioMove { dst: range.start, src, len: range.len, mode, move_: UNTOUCHED };
    Request::new("MOVE", UFFDIO_MOVE, &argument.to_bytes(), Some(32))
}

/// CONTINUE.
#[must_use]
pub fn continue_(range: Range, mode: u64) -> Request {
    let argument = UffdioContinue { range: abi(range), mode, mapped: UNTOUCHED };
    Request::new("CONTINUE", UFFDIO_CONTINUE, &argument.to_bytes(), Some(24))
}

/// POISON.
#[must_use]
pub fn poison(range: Range, mode: u64) -> Request {
    let argument = UffdioPoison { range: abi(range), mode, updated: UNTOUCHED };
    Request::new("POISON", UFFDIO_POISON, &argument.to_bytes(), Some(24))
}

/// WRITEPROTECT.
#[must_use]
pub fn writeprotect(range: Range, mode: u64) -> Request {
    let argument = UffdioWriteprotect { range: abi(range), mode };
    Request::new("WRITEPROTECT", UFFDIO_WRITEPROTECT, &argument.to_bytes(), None)
}

/// RWPROTECT.
#[must_use]
pub fn rwprotect(range: Range, mode: u64) -> Request {
    let argument = UffdioRwprotect { range: abi(range), mode };
    Request::new("RWPROTECT", UFFDIO_RWPROTECT, &argument.to_bytes(), None)
}

/// SET_MODE.
#[must_use]
pub fn set_mode(enable: u64, disable: u64) -> Request {
    let argument = UffdioSetMode { enable, disable };
    Request::new("SET_MODE", UFFDIO_SET_MODE, &argument.to_bytes(), None)
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The request's name.
    pub name: &'static str,
    /// Its result.
    pub result: Result<u64, Stop>,
    /// Its out field; [`UNTOUCHED`] if it has none.
    pub out: i64,
    /// The argument afterwards.
    pub bytes: Vec<u8>,
}

impl Tried {
    /// Expects success, whatever the out field.
    ///
    /// # Errors
    /// Diverges otherwise.
    #[track_caller]
    pub fn ok(&self) -> Verdict {
        self.is(self.result.is_ok(), "success")
    }

    /// Expects success with this many bytes done.
    ///
    /// # Errors
    /// Diverges otherwise.
    #[track_caller]
    pub fn done(&self, bytes: u64) -> Verdict {
        let matches = self.result.is_ok() && self.out == bytes.cast_signed();
        self.is(matches, format_args!("success with {bytes} bytes"))
    }

    /// Expects this error, whatever the out field.
    ///
    /// # Errors
    /// Diverges otherwise.
    #[track_caller]
    pub fn gives(&self, errno: Errno) -> Verdict {
        self.is(self.result == Err(Stop::Refused(errno)), errno)
    }

    /// Expects this error before the kernel looked at memory: the out field is untouched.
    ///
    /// # Errors
    /// Diverges otherwise.
    #[track_caller]
    pub fn refused(&self, errno: Errno) -> Verdict {
        let matches = self.result == Err(Stop::Refused(errno)) && self.out == UNTOUCHED;
        self.is(matches, format_args!("{errno}, out field untouched"))
    }

    /// Expects this error, and the out field to say the same.
    ///
    /// # Errors
    /// Diverges otherwise.
    #[track_caller]
    pub fn failed(&self, errno: Errno) -> Verdict {
        let matches = self.result == Err(Stop::Refused(errno)) && self.out == i64::from(-errno.0);
        self.is(matches, format_args!("{errno}, also in the out field"))
    }

    /// Expects EAGAIN after this many bytes.
    ///
    /// # Errors
    /// Diverges otherwise.
    #[track_caller]
    pub fn partial(&self, bytes: u64) -> Verdict {
        let matches = self.result == Err(Stop::Refused(EAGAIN)) && self.out == bytes.cast_signed();
        self.is(matches, format_args!("EAGAIN after {bytes} bytes"))
    }

    #[track_caller]
    fn is(&self, matches: bool, wanted: impl std::fmt::Display) -> Verdict {
        if matches {
            return Ok(());
        }
        diverges(format!(
            "{}: got {:?} with {:#x} in the out field, want {wanted}",
            self.name, self.result, self.out
        ))
    }
}

impl Stage<'_> {
    /// Sends a request to the userfaultfd.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn send(&mut self, request: &Request) -> Verdict<Tried> {
        self.send_to(self.fd, request)
    }

    /// Sends a request to another descriptor.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn send_to(&mut self, fd: Fd, request: &Request) -> Verdict<Tried> {
        let done = self.call(request.to(fd))?;
        Ok(request.tried(&done))
    }

    /// Expects a request that a thread sends to be over, and returns what became of it.
    ///
    /// # Errors
    /// Diverges when it is blocked.
    #[track_caller]
    pub fn sent(&mut self, who: Thread, request: &Request) -> Verdict<Tried> {
        let done = self.outcome(who)?;
        Ok(request.tried(&done))
    }

    /// Registers a range and expects it to work; returns the requests it offers.
    ///
    /// # Errors
    /// Diverges when it is refused.
    #[track_caller]
    pub fn register(&mut self, range: Range, mode: u64) -> Verdict<u64> {
        let tried = self.send(&register(range, mode))?;
        tried.ok()?;
        Ok(tried.out.cast_unsigned())
    }

    /// COPY of pages from `src`.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn copy(&mut self, range: Range, src: u64, mode: u64) -> Verdict<Tried> {
        self.send(&copy(range, src, mode))
    }

    /// COPY of one page that holds `byte`, expected to work.
    ///
    /// # Errors
    /// Diverges when it is refused.
    #[track_caller]
    pub fn fill(&mut self, range: Range, byte: u8, mode: u64) -> Verdict {
        let src = self.source(byte)?;
        self.copy(range, src, mode)?.done(range.len)
    }

    /// ZEROPAGE.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn zeropage(&mut self, range: Range, mode: u64) -> Verdict<Tried> {
        self.send(&zeropage(range, mode))
    }

    /// MOVE of pages from `src`.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn move_pages(&mut self, range: Range, src: u64, mode: u64) -> Verdict<Tried> {
        self.send(&move_(range, src, mode))
    }

    /// CONTINUE.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn continue_(&mut self, range: Range, mode: u64) -> Verdict<Tried> {
        self.send(&continue_(range, mode))
    }

    /// POISON.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn poison(&mut self, range: Range, mode: u64) -> Verdict<Tried> {
        self.send(&poison(range, mode))
    }

    /// WRITEPROTECT.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn writeprotect(&mut self, range: Range, mode: u64) -> Verdict<Tried> {
        self.send(&writeprotect(range, mode))
    }

    /// WRITEPROTECT that protects, expected to work.
    ///
    /// # Errors
    /// Diverges when it is refused.
    #[track_caller]
    pub fn protect(&mut self, range: Range) -> Verdict {
        self.writeprotect(range, faultless_uapi::mode::writeprotect::WP)?.ok()
    }

    /// WAKE, expected to work.
    ///
    /// # Errors
    /// Diverges when it is refused.
    #[track_caller]
    pub fn wake(&mut self, range: Range) -> Verdict {
        self.send(&wake(range))?.ok()
    }

    /// UNREGISTER.
    ///
    /// # Errors
    /// Diverges when it blocks.
    #[track_caller]
    pub fn unregister(&mut self, range: Range) -> Verdict<Tried> {
        self.send(&unregister(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conform::errno::{EEXIST, EINVAL};

    fn tried(result: Result<u64, Stop>, out: i64) -> Tried {
        Tried { name: "COPY", result, out, bytes: Vec::new() }
    }

    #[test]
    fn each_ending_is_told_from_the_others() {
        let done = tried(Ok(0), 4096);
        let partial = tried(Err(Stop::Refused(EAGAIN)), 4096);
        let failed = tried(Err(Stop::Refused(EEXIST)), -17);
        let refused = tried(Err(Stop::Refused(EINVAL)), UNTOUCHED);
        assert!(done.done(4096).is_ok() && done.done(8192).is_err());
        assert!(partial.partial(4096).is_ok() && partial.failed(EAGAIN).is_err());
        assert!(failed.failed(EEXIST).is_ok() && failed.refused(EEXIST).is_err());
        assert!(refused.refused(EINVAL).is_ok() && refused.failed(EINVAL).is_err());
    }

    #[test]
    fn out_fields_start_untouched_where_the_kernel_writes_them() {
        let range = Range { start: 4096, len: 4096 };
        for request in
            [copy(range, 0, 0), zeropage(range, 0), continue_(range, 0), poison(range, 0)]
        {
            let at = request.out_at.unwrap();
            assert_eq!(request.argument[at..at + 8], UNTOUCHED.to_ne_bytes(), "{}", request.name);
        }
    }
}
