//! The socket clients connect to.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};

/// Connections the kernel keeps until they are accepted; a burst of clones fits.
const BACKLOG: i32 = 1024;

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another page server listens there.
    #[error("{}: another server listens on it; end it, or choose another path", .0.display())]
    InUse(PathBuf),
    /// Something is there that is no socket.
    #[error("{}: there is a file of that name that is no socket", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket; its name vanishes with it.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode, so that only the own name is removed.
    identity: (u64, u64),
}

impl Listener {
    /// Listens at `path`. The socket of a server that has died is replaced. `mode` are its
    /// permissions: who may connect.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(path: &Path, mode: u32) -> Result<Listener, ListenError> {
        let system = |source: io::Error| ListenError::System { path: path.to_owned(), source };
        clear(path)?;
        let address = SocketAddrUnix::new(path).map_err(|errno| system(errno.into()))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| system(errno.into()))?;
        bind(&socket, &address).map_err(|errno| system(errno.into()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(system)?;
        listen(&socket, BACKLOG).map_err(|errno| system(errno.into()))?;
        let metadata = fs::symlink_metadata(path).map_err(system)?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Listener { socket, path: path.to_owned(), identity })
    }

    /// Accepts a connection, if one waits.
    pub(super) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        match accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(stream) => Ok(Some(stream)),
            // The peer has gone again, or there is no descriptor free: others wait their turn.
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR | Errno::MFILE | Errno::NFILE) => {
                Ok(None)
            }
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Removes the socket of a server that listens no more.
fn clear(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| ListenError::System { path: path.to_owned(), source }),
        _ => Err(ListenError::InUse(path.to_owned())),
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mine = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if mine {
            // Nobody is left to tell; the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_servers_socket_is_replaced_and_a_living_ones_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        // Its socket stays when it is closed without being unlinked.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&path, 0o600).unwrap();
        assert!(matches!(Listener::bind(&path, 0o600), Err(ListenError::InUse(_))));
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "text").unwrap();
        assert!(matches!(Listener::bind(&path, 0o600), Err(ListenError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }
}
