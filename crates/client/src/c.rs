//! The interface for C and C++; `include/faultless.h` describes it.
//!
//! What C hands over are raw pointers, so this file is the one of the crate that may be unsafe.
//! It adds no operation of its own: memory goes to [`Uffd::register_range`], everything else to
//! the same conversation as that of the safe interface.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use faultless_pages::{Bytes, Va, VaRange};
use faultless_uffd::{Modes, Uffd, base_page_size};

use crate::session::Session;
use crate::{ConnectError, layout, open};

/// A connection, opaque to C.
#[derive(Debug)]
pub struct Client {
    session: Session,
    _uffd: Uffd,
}

/// Hands memory over; see the header.
///
/// # Safety
/// `socket` is a string of C. `[memory, memory + len)` is anonymous memory of the caller, which
/// nothing relies on to be zeros. `error` is null or has room for `error_len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn faultless_connect(
    socket: *const c_char,
    memory: *mut c_void,
    len: usize,
    image_offset: u64,
    error: *mut c_char,
    error_len: usize,
) -> *mut Client {
    // SAFETY: the caller's promise.
    let socket = unsafe { CStr::from_ptr(socket) };
    let path = Path::new(OsStr::from_bytes(socket.to_bytes()));
    let memory = VaRange::of(Va(memory.addr() as u64), Bytes::from(len));
    // SAFETY: the caller's promise.
    match unsafe { attach(path, memory, Bytes(image_offset)) } {
        Ok(client) => Box::into_raw(Box::new(client)),
        Err(why) => {
            // SAFETY: the caller's promise.
            unsafe { put(&why.to_string(), error, error_len) };
            std::ptr::null_mut()
        }
    }
}

/// # Safety
/// As for [`Uffd::register_range`].
unsafe fn attach(path: &Path, memory: VaRange, offset: Bytes) -> Result<Client, ConnectError> {
    let layout = layout(memory, offset, base_page_size().bytes())?;
    let (mut session, _) = Session::open(path)?;
    let uffd = open()?;
    // SAFETY: the caller's promise.
    unsafe { uffd.register_range(memory, Modes::MISSING) }?;
    session.attach(layout, &uffd)?;
    Ok(Client { session, _uffd: uffd })
}

/// Writes words for C, cut to the room there is, and ended.
///
/// # Safety
/// `room` is null or has room for `len` bytes.
unsafe fn put(words: &str, room: *mut c_char, len: usize) {
    if room.is_null() || len == 0 {
        return;
    }
    let count = words.floor_char_boundary(len - 1);
    // SAFETY: the caller's promise; `count` is less than `len`.
    unsafe { std::ptr::copy_nonoverlapping(words.as_ptr().cast(), room, count) };
    // SAFETY: the same.
    let end = unsafe { room.add(count) };
    // SAFETY: the same.
    unsafe { end.write(0) };
}

/// Tells the server what is about to be touched; see the header.
///
/// # Safety
/// `client` came from [`faultless_connect`] and was not disconnected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn faultless_prefetch(
    client: *mut Client,
    memory: *const c_void,
    len: usize,
) -> c_int {
    let start = memory.addr() as u64;
    let Some(_) = start.checked_add(len as u64).filter(|_| len > 0) else { return -1 };
    // SAFETY: the caller's promise.
    let client = unsafe { &mut *client };
    let range = VaRange::of(Va(start), Bytes::from(len));
    if client.session.prefetch(range).is_ok() { 0 } else { -1 }
}

/// Returns how many bytes were told to be lost since the last call; see the header.
///
/// # Safety
/// `client` came from [`faultless_connect`] and was not disconnected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn faultless_lost(client: *mut Client) -> i64 {
    // SAFETY: the caller's promise.
    let client = unsafe { &mut *client };
    client.session.lost().map_or(-1, |lost| {
        let bytes: u64 = lost.iter().map(|lost| lost.range.len().0).sum();
        i64::try_from(bytes).unwrap_or(i64::MAX)
    })
}

/// Returns the descriptor to poll; see the header.
///
/// # Safety
/// `client` came from [`faultless_connect`] and was not disconnected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn faultless_fd(client: *const Client) -> c_int {
    // SAFETY: the caller's promise.
    let client = unsafe { &*client };
    client.session.stream().as_raw_fd()
}

/// Lets the server go; see the header.
///
/// # Safety
/// `client` is null, or came from [`faultless_connect`] and was not disconnected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn faultless_disconnect(client: *mut Client) {
    if !client.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(client) });
    }
}
