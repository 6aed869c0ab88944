//! The runtime directory of a node, which contains the socket of its hub.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Maximum length of the parent directory's path in bytes. The whole path of the socket must fit into
/// `sun_path` (unix(7), 107 bytes).
const LONGEST: usize = 60;

/// The directory and the hub's listening socket. The process that created the directory removes it on
/// drop.
pub(super) struct RuntimeDir {
    directory: PathBuf,
    socket: PathBuf,
    /// Stays open when the hub dies, so that workers that connect meanwhile wait for the next hub.
    listener: UnixListener,
    /// Process id of the creator.
    owner: u32,
}

impl RuntimeDir {
    /// Creates the directory in the system's directory for temporary files, and binds the socket in it.
    pub(super) fn make() -> io::Result<Self> {
        let base = std::env::temp_dir();
        let base = if base.as_os_str().len() <= LONGEST { base } else { PathBuf::from("/tmp") };
        let owner = std::process::id();
        let random = RandomState::new().build_hasher().finish();
        let directory = base.join(format!("sprocket-{owner}-{random:016x}"));
        std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let socket = directory.join("hub.sock");
        match UnixListener::bind(&socket) {
            Ok(listener) => Ok(Self { directory, socket, listener, owner }),
            Err(error) => {
                // The directory is still empty.
                let _ = std::fs::remove_dir(&directory);
                Err(error)
            }
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn listener(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Returns a duplicate of the listening socket, for the hub.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone().map(OwnedFd::from)
    }

    /// Removes the directory. The hub calls this when its master was killed.
    pub(super) fn remove(&self) {
        // A failure leaves an empty directory among the temporary files.
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.remove();
        }
    }
}
