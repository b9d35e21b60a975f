//! From a request number to its operation, and the caller's argument.

use alloc::boxed::Box;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uapi::{UffdioRange, ioctl};

use crate::errno::{EAGAIN, EBADF, EFAULT, EINVAL, Errno};
use crate::id::{ContextId, FileId, ThreadId};
use crate::kernel::{Kernel, State};
use crate::process::{FileKind, TASK_END};

/// The argument of a request, as a system call gets it.
#[derive(Debug)]
pub enum Argument<'a> {
    /// The bytes of the struct, always readable and writable.
    Bytes(&'a mut [u8]),
    /// A word: the address of the struct in the caller's memory, or a number.
    Word(u64),
}

/// An argument and the thread whose memory it is in.
pub(crate) struct User<'a> {
    pub(crate) who: ThreadId,
    pub(crate) argument: Argument<'a>,
}

impl User<'_> {
    /// Copies the beginning of the struct in.
    pub(crate) async fn get<const N: usize>(&self, kernel: &Kernel) -> Result<[u8; N], Errno> {
        match &self.argument {
            Argument::Bytes(bytes) => bytes.first_chunk::<N>().copied().ok_or(EFAULT),
            Argument::Word(word) => {
                let mut bytes = [0; N];
                // Boxed, here and below, to keep the path without faults small: it is copied
                // around.
                Box::pin(kernel.copy_from_user(self.who, Va(*word), &mut bytes)).await?;
                Ok(bytes)
            }
        }
    }

    /// Copies a struct in up to its out field, which the kernel does not read.
    pub(super) async fn get_head<const HEAD: usize, const ALL: usize>(
        &self,
        kernel: &Kernel,
    ) -> Result<[u8; ALL], Errno> {
        let head: [u8; HEAD] = self.get(kernel).await?;
        let mut all = [0; ALL];
        all[..HEAD].copy_from_slice(&head);
        Ok(all)
    }

    /// Copies a field of the struct out.
    pub(crate) async fn put(
        &mut self,
        kernel: &Kernel,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        match &mut self.argument {
            Argument::Bytes(room) => {
                let room = room.get_mut(offset..offset + bytes.len()).ok_or(EFAULT)?;
                room.copy_from_slice(bytes);
                Ok(())
            }
            Argument::Word(word) => {
                let at = word.checked_add(offset as u64).ok_or(EFAULT)?;
                Box::pin(kernel.copy_to_user(self.who, Va(at), bytes)).await
            }
        }
    }

    /// Copies a result out: bytes done, or an error.
    pub(super) async fn put_result(
        &mut self,
        kernel: &Kernel,
        offset: usize,
        result: Result<u64, Errno>,
    ) -> Result<(), Errno> {
        let value = match result {
            Ok(done) => i64::try_from(done).unwrap_or(i64::MAX),
            Err(errno) => -i64::from(errno.0),
        };
        self.put(kernel, offset, &value.to_ne_bytes()).await
    }
}

impl Kernel {
    /// `ioctl(2)`. Returns its value.
    ///
    /// # Errors
    /// EBADF where there is no such descriptor; those of the request, as the interface promises
    /// them. The argument is changed as the kernel changes it, failed or not.
    pub async fn ioctl(
        &self,
        who: ThreadId,
        fd: u32,
        request: u32,
        argument: Argument<'_>,
    ) -> Result<u64, Errno> {
        let (file, kind) = self.hold(who, fd)?;
        let user = User { who, argument };
        let result = match kind {
            FileKind::Userfaultfd(context) => self.request(context, request, user).await,
            FileKind::Device => self.device_request(request, &user),
            _ => Err(EINVAL),
        };
        self.put_file(file).await;
        result
    }

    /// Keeps an open file open while a call is at it.
    pub(super) fn hold(&self, who: ThreadId, fd: u32) -> Result<(FileId, FileKind), Errno> {
        let mut state = self.state();
        let file = state.file(who, fd)?;
        state.files[file].uses += 1;
        Ok((file, state.files[file].kind.clone()))
    }

    fn device_request(&self, request: u32, user: &User<'_>) -> Result<u64, Errno> {
        match user.argument {
            Argument::Word(flags) if request == ioctl::USERFAULTFD_IOC_NEW => {
                let flags = u32::try_from(flags).map_err(|_| EINVAL)?;
                let process = self.process_of(user.who);
                self.make_userfaultfd(process, flags).map(u64::from)
            }
            _ => Err(EINVAL),
        }
    }

    async fn request(&self, id: ContextId, request: u32, user: User<'_>) -> Result<u64, Errno> {
        let initialised = self.state().contexts[id].features.is_some();
        if request != ioctl::UFFDIO_API && !initialised {
            return Err(EINVAL);
        }
        match request {
            ioctl::UFFDIO_API => self.handshake(id, user).await,
            ioctl::UFFDIO_REGISTER => self.register(id, user).await,
            ioctl::UFFDIO_UNREGISTER => self.unregister(id, user).await,
            ioctl::UFFDIO_WAKE => self.wake_request(id, user).await,
            ioctl::UFFDIO_COPY => self.copy(id, user).await,
            ioctl::UFFDIO_ZEROPAGE => self.zeropage(id, user).await,
            ioctl::UFFDIO_CONTINUE => self.continue_request(id, user).await,
            ioctl::UFFDIO_MOVE => self.move_request(id, user).await,
            ioctl::UFFDIO_POISON => self.poison(id, user).await,
            ioctl::UFFDIO_WRITEPROTECT => self.write_protect(id, user).await,
            ioctl::UFFDIO_RWPROTECT => self.read_protect(id, user).await,
            ioctl::UFFDIO_SET_MODE => self.set_mode(id, user).await,
            _ => Err(EINVAL),
        }
    }

    /// Turns a request away while an event is pending. Nothing else is looked at before.
    pub(super) async fn refuse_if_changing(
        &self,
        id: ContextId,
        user: &mut User<'_>,
        out_at: Option<usize>,
    ) -> Result<(), Errno> {
        let (changing, tells) = {
            let state = self.state();
            (state.contexts[id].changing > 0, state.profile.pending_event_in_out_field)
        };
        if !changing {
            return Ok(());
        }
        if let (true, Some(offset)) = (tells, out_at) {
            user.put_result(self, offset, Err(EAGAIN)).await?;
        }
        Err(EAGAIN)
    }
}

impl State {
    /// Checks that a range can be one of a process's memory.
    pub(super) fn possible(&self, range: UffdioRange) -> Result<VaRange, Errno> {
        let page = self.profile.page_size;
        let UffdioRange { start, len } = range;
        if !Va(start).is_aligned(page) || !Va(len).is_aligned(page) {
            return Err(EINVAL);
        }
        possible_unaligned(start, len)
    }

    /// The userfaultfd of a descriptor.
    pub(super) fn context_of(&self, kind: &FileKind) -> Result<ContextId, Errno> {
        match kind {
            FileKind::Userfaultfd(context) => Ok(*context),
            _ => Err(EBADF),
        }
    }
}

/// Checks that bytes can lie in a process's memory.
pub(super) fn possible_unaligned(start: u64, len: u64) -> Result<VaRange, Errno> {
    let end = start.checked_add(len).ok_or(EINVAL)?;
    if len == 0 || end > TASK_END.0 {
        return Err(EINVAL);
    }
    Ok(VaRange::of(Va(start), Bytes(len)))
}
