//! Publishing to a server on the same machine, over its publish socket.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket,
};

use super::call::{Call, Exchanged, Kept};
use super::publish_error::PublishError;
use sprocket_protocol::publish::{MAX_ANSWER, PARTLY, header};

/// A publisher for one server. It connects when needed and keeps the connection.
#[derive(Debug)]
pub struct Publisher {
    path: PathBuf,
    link: Kept<OwnedFd>,
}

impl Publisher {
    /// A publisher for the socket at this path. It does not connect yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, link: Kept::none() }
    }

    /// Path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Publishes, and waits until the server confirms that it has delivered the message to all
    /// subscribers. `payload` must be valid UTF-8 unless `binary`.
    ///
    /// If a kept connection turns out to be dead because the server was restarted, the message is
    /// sent on a new one, once. A message that may have been published is never sent again.
    ///
    /// # Errors
    /// Each variant of [`PublishError`] says whether the message may have been published.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        binary: bool,
        timeout: Duration,
    ) -> Result<(), PublishError> {
        let mut request = header(topic.len(), payload.len(), binary).into_bytes();
        request.reserve_exact(topic.len() + payload.len());
        request.extend_from_slice(topic.as_bytes());
        request.extend_from_slice(payload);
        let address = Address(&self.path);
        let call = Call::begin(&address, "a publish socket", timeout);
        let connect = || connect_within(&self.path, call.until).map_err(|error| call.unreachable(error));
        self.link.publish(connect, |link| exchange(&call, &request, link))
    }
}

/// The address, as users write it.
struct Address<'a>(&'a Path);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

/// Sends the request and reads the answer.
fn exchange(call: &Call<'_>, request: &[u8], link: OwnedFd) -> Exchanged<OwnedFd> {
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::DONTWAIT;
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut rest = request;
    while !rest.is_empty() {
        match send(&link, rest, flags) {
            Ok(n) => rest = &rest[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if !wait(call, &link, PollFlags::OUT) {
                    return Err(call.not_taken());
                }
            }
            // The server may have sent the reason before it closed the connection.
            Err(_) => break,
        }
    }
    let whole = rest.is_empty();
    let mut answer = Vec::new();
    loop {
        let mut chunk = [0; MAX_ANSWER];
        match recv(&link, &mut chunk, RecvFlags::DONTWAIT).map(|(_, n)| n) {
            Ok(0) if whole && answer.is_empty() => return Err(call.lost()),
            Ok(0) => return read(call, &answer).map(|()| (None, None)),
            Ok(n) => {
                answer.extend_from_slice(&chunk[..n]);
                if let Some(end) = answer.iter().position(|b| *b == b'\n') {
                    let alone = whole && end + 1 == answer.len();
                    return read(call, &answer[..end]).map(|()| (alone.then_some(link), None));
                }
                if answer.len() > MAX_ANSWER {
                    return Err(call.foreign(&answer));
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if whole => {
                if !wait(call, &link, PollFlags::IN) {
                    return Err(call.silent());
                }
            }
            // The kernel reports this error if the server has closed the connection without reading
            // the complete request. Nobody acts on an incomplete request.
            Err(_) => return Err(call.closed()),
        }
    }
}

fn read(call: &Call<'_>, answer: &[u8]) -> Result<(), PublishError> {
    let text = String::from_utf8_lossy(answer);
    match text.split_once(' ').unwrap_or((&text, "")) {
        // Later versions may append words.
        ("OK", _) => Ok(()),
        ("ERROR", why) => {
            let (code, reason) = why.split_once(' ').unwrap_or((why, why));
            let reason = reason.to_owned();
            Err(if code == PARTLY { call.partly(reason) } else { call.refused(code, reason) })
        }
        ("", "") => Err(call.closed()),
        _ => Err(call.foreign(answer)),
    }
}

/// Waits until the socket is ready. Returns false if the timeout has passed.
fn wait(call: &Call<'_>, link: &OwnedFd, flags: PollFlags) -> bool {
    loop {
        let left = call.left();
        if left.is_zero() {
            return false;
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(link, flags)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => {}
            // If the socket has failed, the next call reports it.
            Ok(_) | Err(_) => return true,
        }
    }
}

/// Connects to a socket. `TimedOut`: the listener's queue had no room.
pub(super) fn connect_within(path: &Path, until: Instant) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    #[cfg(target_vendor = "apple")]
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    let left = || until.saturating_duration_since(Instant::now());
    loop {
        // The only way to limit the wait for room in the listener's queue. Zero would mean no limit.
        set_socket_timeout(&socket, Timeout::Send, Some(left().max(Duration::from_millis(1))))?;
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) if !left().is_zero() => {}
            Err(Errno::INTR | Errno::AGAIN) => return Err(ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
