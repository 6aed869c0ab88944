//! The directory of a node, where its hub listens.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Longest path of the base: with what follows it must fit into the address of a socket.
const LONGEST: usize = 60;

/// Removed in the end by the process that has made it.
pub(super) struct Home {
    directory: PathBuf,
    socket: PathBuf,
    /// Kept open over the hub's death: who connects meanwhile waits for its successor.
    listener: UnixListener,
    owner: u32,
}

impl Home {
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
                // Empty, and of no use to anybody.
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

    /// For the hub of a master that could not do it.
    pub(super) fn remove(&self) {
        // What can't be removed lies about in the directory for such things.
        let _ = std::fs::remove_file(&self.socket);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            self.remove();
        }
    }
}
