//! The runtime directory of a node, which holds the socket of its hub.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Longest parent directory, in bytes: the whole path of the socket must fit into `sun_path`
/// (unix(7), 107 bytes).
const LONGEST: usize = 60;

/// The directory and the hub's listening socket. The process that made it removes it when dropped.
pub(super) struct RuntimeDir {
    directory: PathBuf,
    socket: PathBuf,
    /// Stays open when the hub dies: workers that connect meanwhile wait for its successor.
    listener: UnixListener,
    owner: u32,
}

impl RuntimeDir {
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
                // It is still empty.
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
