//! The requests a pager makes, as the bytes of the ABI.

use faultless_mm::{Argument, Errno, Kernel, ThreadId};
use faultless_uapi::ioctl::{
    UFFDIO_API, UFFDIO_COPY, UFFDIO_REGISTER, UFFDIO_WAKE, UFFDIO_WRITEPROTECT,
};
use faultless_uapi::{
    UFFD_API, UffdMsg, UffdioApi, UffdioCopy, UffdioRange, UffdioRegister, UffdioWriteprotect,
};

/// Most messages read at once.
const BATCH: usize = 16;

/// A userfaultfd in the hands of a thread.
pub(super) struct Calls {
    pub(super) kernel: Kernel,
    pub(super) who: ThreadId,
    pub(super) fd: u32,
}

impl Calls {
    /// Shakes hands for these features.
    pub(super) async fn handshake(&self, features: u64) -> Result<(), Errno> {
        let argument = UffdioApi { api: UFFD_API, features, ioctls: 0 };
        self.request(UFFDIO_API, argument.to_bytes()).await
    }

    pub(super) async fn register(&self, range: UffdioRange, mode: u64) -> Result<(), Errno> {
        let argument = UffdioRegister { range, mode, ioctls: 0 };
        self.request(UFFDIO_REGISTER, argument.to_bytes()).await
    }

    pub(super) async fn copy(&self, to: UffdioRange, src: u64, mode: u64) -> Result<(), Errno> {
        let argument = UffdioCopy { dst: to.start, src, len: to.len, mode, copy: 0 };
        self.request(UFFDIO_COPY, argument.to_bytes()).await
    }

    pub(super) async fn wake(&self, range: UffdioRange) -> Result<(), Errno> {
        self.request(UFFDIO_WAKE, range.to_bytes()).await
    }

    /// Protects with [`faultless_uapi::mode::writeprotect::WP`], unprotects and wakes with 0.
    pub(super) async fn protect(&self, range: UffdioRange, mode: u64) -> Result<(), Errno> {
        let argument = UffdioWriteprotect { range, mode };
        self.request(UFFDIO_WRITEPROTECT, argument.to_bytes()).await
    }

    async fn request<const N: usize>(
        &self,
        request: u32,
        mut argument: [u8; N],
    ) -> Result<(), Errno> {
        let argument = Argument::Bytes(&mut argument);
        self.kernel.ioctl(self.who, self.fd, request, argument).await.map(drop)
    }

    /// Reads the messages that are there.
    pub(super) async fn messages(&self) -> Vec<UffdMsg> {
        let room = BATCH * size_of::<UffdMsg>();
        // EAGAIN: there are none.
        let bytes = self.kernel.read(self.who, self.fd, room).await.unwrap_or_default();
        let (messages, _) = bytes.as_chunks();
        messages.iter().map(|bytes| UffdMsg::from_bytes(*bytes)).collect()
    }

    /// Waits until there is a message, or a signal.
    pub(super) async fn poll(&self) {
        // EINTR: the caller looks what it was told.
        let _ = self.kernel.poll_wait(self.who, self.fd).await;
    }

    pub(super) async fn close(&self) {
        // EBADF would be a bug of the pager, which closes once.
        let _ = self.kernel.close(self.who, self.fd).await;
    }
}
