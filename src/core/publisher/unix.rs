//! The other end of a publish socket.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket,
};

use super::PublishError;
use crate::publish_wire::{MAX_ANSWER, header};

/// Publishes to one server. The connection is made when needed, and kept.
#[derive(Debug)]
pub struct Publisher {
    path: PathBuf,
    link: Option<Link>,
}

impl Publisher {
    /// For the socket of this path. Connects to nothing yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, link: None }
    }

    /// The socket's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Publishes and waits for the server's word that all subscribers have been given it.
    /// `payload` must be valid UTF-8 unless `binary`.
    ///
    /// A kept connection that turns out to be dead, because the server was restarted, is replaced
    /// once; a message that may have been published is never sent again.
    ///
    /// # Errors
    /// See [`PublishError`]: each tells whether the message may have been published.
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
        let attempt = Attempt { path: &self.path, request: &request, timeout, begun: Instant::now() };
        // A fork must not speak on the connection of its parent: their answers would be mixed up.
        let kept = self.link.take().filter(|link| link.process == std::process::id());
        let result = match kept.map(|link| attempt.exchange(link)) {
            None | Some(Err(PublishError::Closed { .. })) => {
                attempt.connect().and_then(|l| attempt.exchange(l))
            }
            Some(done) => done,
        };
        result.map(|link| self.link = link)
    }
}

/// A connection between two requests.
#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    process: u32,
}

/// One call of `publish`.
struct Attempt<'a> {
    path: &'a Path,
    request: &'a [u8],
    timeout: Duration,
    begun: Instant,
}

impl Attempt<'_> {
    fn to(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.begun.elapsed())
    }

    fn not_taken(&self) -> PublishError {
        PublishError::NotTaken { to: self.to(), timeout: self.timeout }
    }

    fn connect(&self) -> Result<Link, PublishError> {
        let socket = dial(self.path, self.begun + self.timeout).map_err(|error| match error {
            Errno::AGAIN => self.not_taken(),
            errno => PublishError::Unreachable { to: self.to(), source: errno.into() },
        })?;
        Ok(Link { socket, process: std::process::id() })
    }

    /// Gives the link back if it can be used again.
    fn exchange(&self, link: Link) -> Result<Option<Link>, PublishError> {
        #[cfg(target_vendor = "apple")]
        let flags = SendFlags::DONTWAIT;
        #[cfg(not(target_vendor = "apple"))]
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut rest = self.request;
        while !rest.is_empty() {
            match send(&link.socket, rest, flags) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !self.wait(&link, PollFlags::OUT) {
                        return Err(self.not_taken());
                    }
                }
                // It may have said why.
                Err(_) => break,
            }
        }
        let whole = rest.is_empty();
        let mut answer = Vec::new();
        loop {
            let mut chunk = [0; MAX_ANSWER];
            match recv(&link.socket, &mut chunk, RecvFlags::DONTWAIT).map(|(_, n)| n) {
                Ok(0) if whole && answer.is_empty() => return Err(PublishError::Lost { to: self.to() }),
                Ok(0) => return self.read(&answer, None),
                Ok(n) => {
                    answer.extend_from_slice(&chunk[..n]);
                    if let Some(end) = answer.iter().position(|b| *b == b'\n') {
                        let alone = whole && end + 1 == answer.len();
                        return self.read(&answer[..end], alone.then_some(link));
                    }
                    if answer.len() > MAX_ANSWER {
                        return Err(self.foreign(&answer));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if whole => {
                    if !self.wait(&link, PollFlags::IN) {
                        return Err(PublishError::NoAnswer { to: self.to(), timeout: self.timeout });
                    }
                }
                // The kernel says so when the server has closed without having read all of the
                // request; nobody acts on a part of one.
                Err(_) => return Err(PublishError::Closed { to: self.to() }),
            }
        }
    }

    fn read(&self, answer: &[u8], link: Option<Link>) -> Result<Option<Link>, PublishError> {
        let text = String::from_utf8_lossy(answer);
        match text.split_once(' ').unwrap_or((&text, "")) {
            // Later versions may say more.
            ("OK", _) => Ok(link),
            ("ERROR", why) => {
                let (code, reason) = why.split_once(' ').unwrap_or((why, why));
                let (code, reason) = (code.to_owned(), reason.to_owned());
                Err(PublishError::Refused { to: self.to(), code, reason })
            }
            ("", "") => Err(PublishError::Closed { to: self.to() }),
            _ => Err(self.foreign(answer)),
        }
    }

    fn foreign(&self, answer: &[u8]) -> PublishError {
        let answer = String::from_utf8_lossy(answer).chars().take(60).collect();
        PublishError::Foreign { to: self.to(), expected: "a publish socket", answer }
    }

    /// False: the time is up.
    fn wait(&self, link: &Link, flags: PollFlags) -> bool {
        loop {
            let left = self.left();
            if left.is_zero() {
                return false;
            }
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&link.socket, flags)], Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                // What is wrong with the socket, the next call will tell.
                Ok(_) | Err(_) => return true,
            }
        }
    }
}

/// Connects to a socket; `AGAIN`: the time was up.
pub(super) fn dial(path: &Path, until: Instant) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    #[cfg(target_vendor = "apple")]
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    let left = || until.saturating_duration_since(Instant::now());
    loop {
        // The only way to bound the wait for a place in the queue of the listener. Zero would
        // mean for ever.
        set_socket_timeout(&socket, Timeout::Send, Some(left().max(Duration::from_millis(1))))?;
        match connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) if !left().is_zero() => {}
            Err(Errno::INTR) => return Err(Errno::AGAIN),
            Err(errno) => return Err(errno),
        }
    }
}
