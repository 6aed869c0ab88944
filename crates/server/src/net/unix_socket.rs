//! Listening Unix sockets and their files. A file that a server has left behind is replaced; the
//! file of a socket that is in use never is.
//!
//! A path says nothing about the socket behind it: between the check for a stale file and its
//! removal another server may have put its own there, and one that has bound its socket and does
//! not listen yet looks like a stale one. So whoever binds or removes a file holds a lock on the
//! directory meanwhile (`flock(2)`), which leaves nothing behind.

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long another process may hold the lock of the directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Time that a program which does not know the lock has between its calls of `bind` and `listen`.
const YOUNG: Duration = Duration::from_secs(1);

/// Opens a listening socket with its file; `mode` are the permissions of the file.
pub(crate) fn listen(path: PathBuf, backlog: i32, mode: Option<u32>) -> io::Result<(Socket, UnixFile)> {
    let address = SockAddr::unix(&path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let lock = lock(&path);
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse || !is_stale(&path)? {
            return Err(error);
        }
        // Without the lock nobody knows whether it is still the same file.
        lock.as_ref().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("a stale socket is there, and its directory cannot be locked to replace it: {error}"),
            )
        })?;
        std::fs::remove_file(&path)?;
        socket.bind(&address)?;
    }
    let file = UnixFile::new(path)?;
    if let Some(mode) = mode {
        // Nobody can connect before the call of listen below.
        std::fs::set_permissions(&file.path, Permissions::from_mode(mode))?;
    }
    socket.listen(backlog)?;
    drop(lock);
    Ok((socket, file))
}

/// Locks the directory of `path` until the file is closed.
fn lock(path: &Path) -> io::Result<File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or(Path::new(".")))?;
    let mut left = LOCK_PATIENCE;
    loop {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(directory),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if !left.is_zero() => {
                std::thread::sleep(LOCK_PAUSE);
                left = left.saturating_sub(LOCK_PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether nobody listens behind a socket file any more, nor is about to.
fn is_stale(path: &Path) -> io::Result<bool> {
    loop {
        let metadata = std::fs::symlink_metadata(path)?;
        if !metadata.file_type().is_socket() || is_listening(path)? {
            return Ok(false);
        }
        // A clock that was set back must not make this wait for long.
        let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or(YOUNG);
        if age >= YOUNG {
            return Ok(true);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

fn is_listening(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) => Ok(error.kind() != io::ErrorKind::ConnectionRefused),
        Ok(()) => Ok(true),
    }
}

/// The file of a Unix socket. Dropping it removes the file if it is still the same one: that is
/// certain only while the socket is open, which keeps the number of its inode from being used again.
#[derive(Debug)]
pub(crate) struct UnixFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    /// A fork's copy must not remove it.
    owner: u32,
}

impl UnixFile {
    fn new(path: PathBuf) -> io::Result<Self> {
        let identity = identity(&std::fs::symlink_metadata(&path)?);
        Ok(Self { path, identity, owner: std::process::id() })
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Drop for UnixFile {
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        let same = std::fs::symlink_metadata(&self.path).is_ok_and(|m| identity(&m) == self.identity);
        if same {
            // Nothing can be done about a file that can't be removed; the next start replaces it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;
    use std::time::Instant;

    /// A path in a directory of its own, which must be empty but for the path in the end.
    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("sprocket-unix-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join("s")
    }

    fn bound(path: &Path) -> Socket {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
        socket
    }

    /// Leaves a file as a server does that was killed long ago.
    fn leave_stale(path: &Path) {
        drop(bound(path));
        let old = Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = Timestamps { last_access: old, last_modification: old };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let path = place("stale");
        leave_stale(&path);
        let live = listen(path.clone(), 8, Some(0o640)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(listen(path.clone(), 8, None).is_err());
        let (socket, file) = live;
        drop((file, socket));
        std::fs::remove_dir(path.parent().unwrap()).expect("nothing is left behind");
    }

    #[test]
    fn of_many_that_start_at_once_one_listens_and_none_loses_its_socket() {
        let path = place("race");
        for _ in 0..50 {
            leave_stale(&path);
            let start = Barrier::new(8);
            let open: Vec<_> = std::thread::scope(|scope| {
                let one = || {
                    start.wait();
                    listen(path.clone(), 8, None)
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
            });
            assert_eq!(open.len(), 1);
            UnixStream::connect(&path).expect("it is the one that listens");
            for (socket, file) in open {
                drop((file, socket));
            }
        }
        std::fs::remove_dir(path.parent().unwrap()).expect("nothing is left behind");
    }

    #[test]
    fn a_socket_that_does_not_listen_yet_is_left_alone() {
        let path = place("bound");
        let slow = bound(&path);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| listen(path.clone(), 8, None));
            // It has the lock while it looks.
            let deadline = Instant::now() + Duration::from_secs(5);
            let free = || {
                let directory = File::open(path.parent().unwrap()).unwrap();
                flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok()
            };
            while free() && !second.is_finished() {
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            }
            slow.listen(8).unwrap();
            assert!(second.join().unwrap().is_err());
        });
        UnixStream::connect(&path).expect("it is there");
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn only_the_own_file_is_removed() {
        let path = place("other");
        let (socket, file) = listen(path.clone(), 8, None).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _other = bound(&path);
        drop((file, socket));
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn without_the_lock_a_stale_file_stays() {
        let path = place("locked");
        leave_stale(&path);
        let _held = lock(&path).unwrap();
        let error = listen(path.clone(), 8, None).unwrap_err();
        assert!(error.to_string().contains("cannot be locked"), "{error}");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
