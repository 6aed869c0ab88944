//! The other end of a publish socket: for processes that serve no connections themselves.
//!
//! Blocking, with a deadline, and without any thread or runtime.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket,
};

use crate::publish_wire::{MAX_ANSWER, header};

/// A message was not published, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Nobody listens, or the file's permissions keep us out. Not published.
    #[error("cannot connect to unix://{}: {source}", path.display())]
    Unreachable {
        /// The socket's file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The server ended the connection before it had the whole request. Not published.
    #[error("the server behind unix://{} closed the connection", path.display())]
    Closed {
        /// The socket's file.
        path: PathBuf,
    },
    /// The server gave a reason not to. Not published.
    #[error("the server behind unix://{} refused the message: {reason}", path.display())]
    Refused {
        /// The socket's file.
        path: PathBuf,
        /// One word: `too-large`, `busy`, `stopping`, …
        code: String,
        /// A sentence.
        reason: String,
    },
    /// What listens there speaks something else. Not published.
    #[error("what listens on unix://{} is not a publish socket: it answered {answer:?}", path.display())]
    Foreign {
        /// The socket's file.
        path: PathBuf,
        /// The start of what it said.
        answer: String,
    },
    /// The time was up before the request was out. Not published.
    #[error("the server behind unix://{} did not take the message within {timeout:?}", path.display())]
    NotTaken {
        /// The socket's file.
        path: PathBuf,
        /// The time that it had.
        timeout: Duration,
    },
    /// The time was up before the answer came. May have been published.
    #[error("the server behind unix://{} did not answer within {timeout:?}; the message may have been published", path.display())]
    NoAnswer {
        /// The socket's file.
        path: PathBuf,
        /// The time that it had.
        timeout: Duration,
    },
    /// The connection ended instead of an answer. May have been published.
    #[error("the server behind unix://{} went away before it answered; the message may have been published", path.display())]
    Lost {
        /// The socket's file.
        path: PathBuf,
    },
}

impl PublishError {
    /// Whether the message may have been published all the same: publishing it again could
    /// deliver it twice.
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Self::NoAnswer { .. } | Self::Lost { .. })
    }
}

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
    fn path(&self) -> PathBuf {
        self.path.to_owned()
    }

    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.begun.elapsed())
    }

    fn not_taken(&self) -> PublishError {
        PublishError::NotTaken { path: self.path(), timeout: self.timeout }
    }

    fn connect(&self) -> Result<Link, PublishError> {
        let unreachable =
            |errno: Errno| PublishError::Unreachable { path: self.path(), source: errno.into() };
        let address = SocketAddrUnix::new(self.path).map_err(unreachable)?;
        let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).map_err(unreachable)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC).map_err(unreachable)?;
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(&socket, true).map_err(unreachable)?;
        loop {
            // The only way to bound the wait for a place in the queue of the listener. Zero would
            // mean for ever.
            let left = self.left().max(Duration::from_millis(1));
            set_socket_timeout(&socket, Timeout::Send, Some(left)).map_err(unreachable)?;
            match connect(&socket, &address) {
                Ok(()) => return Ok(Link { socket, process: std::process::id() }),
                Err(Errno::INTR) if !self.left().is_zero() => {}
                Err(Errno::AGAIN | Errno::INTR) => return Err(self.not_taken()),
                Err(errno) => return Err(unreachable(errno)),
            }
        }
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
                Ok(0) if whole && answer.is_empty() => return Err(PublishError::Lost { path: self.path() }),
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
                        return Err(PublishError::NoAnswer { path: self.path(), timeout: self.timeout });
                    }
                }
                // The kernel says so when the server has closed without having read all of the
                // request; nobody acts on a part of one.
                Err(_) => return Err(PublishError::Closed { path: self.path() }),
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
                Err(PublishError::Refused { path: self.path(), code, reason })
            }
            ("", "") => Err(PublishError::Closed { path: self.path() }),
            _ => Err(self.foreign(answer)),
        }
    }

    fn foreign(&self, answer: &[u8]) -> PublishError {
        let answer = String::from_utf8_lossy(answer).chars().take(60).collect();
        PublishError::Foreign { path: self.path(), answer }
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
