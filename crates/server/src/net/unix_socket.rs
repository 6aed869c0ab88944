//! Opens listening Unix sockets, replaces socket files left behind by servers that have ended, and removes
//! files.
//!
//! A path does not identify the socket behind it. Between the check for a stale file and its removal another
//! server may have created its own file at the path, and a socket that is bound but not listening yet looks
//! like a stale one. A server therefore holds a lock on the directory while it opens its socket and replaces
//! a stale file (`flock(2)`, which leaves no lock file behind).

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long to wait for another process to release the lock on the directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Age from which a socket file that refuses connections counts as stale. A program that doesn't use the lock
/// has this time between its calls of `bind` and `listen`.
const YOUNG: Duration = Duration::from_secs(1);

/// Opens a listening socket and its file. `mode` sets the permissions of the file.
///
/// # Errors
/// A live socket or another file is at the path, or a stale socket can't be replaced.
pub(crate) fn listen(path: PathBuf, backlog: i32, mode: Option<u32>) -> io::Result<(Socket, UnixFile)> {
    let address = SockAddr::unix(&path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let lock = lock(&path);
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse || !is_stale(&path)? {
            return Err(error);
        }
        // Without the lock the file may have been replaced since the check.
        lock.as_ref().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the socket is stale, and its directory cannot be locked to replace it: {error}"),
            )
        })?;
        std::fs::remove_file(&path)?;
        socket.bind(&address)?;
    }
    let file = UnixFile::new(path)?;
    if let Some(mode) = mode {
        // No client can connect before the call of listen below.
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

/// Whether the socket file at `path` is stale: no process listens on it, or is about to.
fn is_stale(path: &Path) -> io::Result<bool> {
    loop {
        let metadata = std::fs::symlink_metadata(path)?;
        if !metadata.file_type().is_socket() || is_listening(path)? {
            return Ok(false);
        }
        // A clock that was set back must not make this loop wait for long.
        let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or(YOUNG);
        if age >= YOUNG {
            return Ok(true);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// Whether a process listens on the socket at `path`.
fn is_listening(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // connect(2) waits while the queue of the listener is full, which may be for ever if its process hangs. A
    // non-blocking socket gets EAGAIN instead.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) => Ok(error.kind() != io::ErrorKind::ConnectionRefused),
        Ok(()) => Ok(true),
    }
}

/// The file of a listening Unix socket. Dropping it removes the file, unless another file has replaced it. It
/// must be dropped while the socket is open: the kernel can't reuse the number of the inode until the socket
/// closes.
#[derive(Debug)]
pub(crate) struct UnixFile {
    path: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
    /// Process that created the file. A forked child must not remove it.
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
            // Nothing can be done if the file can't be removed; the next start replaces it.
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

    /// Returns a path in a new directory.
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

    /// Creates a file like that of a server that was killed long ago.
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
        std::fs::remove_dir(path.parent().unwrap()).expect("the directory is empty");
    }

    #[test]
    fn exactly_one_of_many_concurrent_starts_listens() {
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
            UnixStream::connect(&path).expect("the socket at the path listens");
            for (socket, file) in open {
                drop((file, socket));
            }
        }
        std::fs::remove_dir(path.parent().unwrap()).expect("the directory is empty");
    }

    #[test]
    fn a_socket_that_does_not_listen_yet_is_left_alone() {
        let path = place("bound");
        let slow = bound(&path);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| listen(path.clone(), 8, None));
            // The second server holds the lock while it checks the file.
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
        UnixStream::connect(&path).expect("the bound socket is still at the path");
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_server_that_hangs_with_a_full_queue_counts_as_live() {
        let path = place("full");
        let hung = bound(&path);
        hung.listen(0).unwrap();
        let client = || {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            client.connect(&SockAddr::unix(&path).unwrap()).map(|()| client)
        };
        let mut waiting = Vec::new();
        while let Ok(client) = client() {
            waiting.push(client);
        }
        let (sender, result) = std::sync::mpsc::channel();
        let second = path.clone();
        let thread = std::thread::spawn(move || sender.send(listen(second, 8, None).map(drop)));
        let result = result.recv_timeout(Duration::from_secs(10));
        // Lets a probe that waits go on.
        drop(hung);
        thread.join().unwrap().unwrap();
        assert_eq!(result.expect("the check does not wait").unwrap_err().kind(), io::ErrorKind::AddrInUse);
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_file_of_another_server_is_not_removed() {
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
    fn a_stale_file_is_not_replaced_without_the_lock() {
        let path = place("locked");
        leave_stale(&path);
        let _held = lock(&path).unwrap();
        let error = listen(path.clone(), 8, None).unwrap_err();
        assert!(error.to_string().contains("cannot be locked"), "{error}");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
