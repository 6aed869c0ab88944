//! The control channel: messages between the master and a worker, over a socket pair for each worker.
//! End of file means that the other process is gone.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A message. It is encoded as one letter, followed by a duration in milliseconds as a 64-bit
/// little-endian number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ControlMessage {
    /// Sent by a worker once it accepts connections.
    Ready,
    /// Sent by a worker that has reached `maxRequests` or `maxMemory` and requests a successor.
    Recycle,
    /// Sent by a worker whose script has called `stop()`: the master stops the whole server. Sent by
    /// the master: the worker stops. The duration is the grace period for its connections.
    Stop(Duration),
    /// Sent by the master to a worker that has a successor: the worker accepts the connections already
    /// in its listen queue, then stops. The duration is the grace period for its connections.
    HandOver(Duration),
}

/// Size of an encoded message in bytes.
const BYTES: usize = 9;

impl ControlMessage {
    fn encode(self) -> [u8; BYTES] {
        let (letter, time) = match self {
            Self::Ready => (b'r', Duration::ZERO),
            Self::Recycle => (b'c', Duration::ZERO),
            Self::Stop(grace) => (b's', grace),
            Self::HandOver(grace) => (b'h', grace),
        };
        let mut bytes = [letter; BYTES];
        bytes[1..].copy_from_slice(&u64::try_from(time.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
        bytes
    }

    /// Decodes a message; `None` if this version does not know its letter.
    fn decode(bytes: [u8; BYTES]) -> Option<Self> {
        let [letter, time @ ..] = bytes;
        let time = Duration::from_millis(u64::from_le_bytes(time));
        Some(match letter {
            b'r' => Self::Ready,
            b'c' => Self::Recycle,
            b's' => Self::Stop(time),
            b'h' => Self::HandOver(time),
            _ => return None,
        })
    }
}

/// One end of the socket pair, in non-blocking mode. Each worker holds one, and the master holds the
/// other ends.
#[derive(Debug)]
pub(super) struct Control {
    stream: UnixStream,
    /// Received bytes of an incomplete message.
    input: RefCell<Vec<u8>>,
}

impl Control {
    /// Creates both ends: the first for the master, the second for the worker.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Self::new(a)?, Self::new(b)?))
    }

    /// Wraps the worker's end, inherited by a process that the master has started.
    pub(super) fn inherited(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd.into())
    }

    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: RefCell::default() })
    }

    /// Returns a duplicate of the descriptor, which another thread can poll.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// Sends a message. Errors are ignored: either the other process is gone, which `receive` reports,
    /// or the socket is full, which the few messages of a worker cannot cause.
    pub(super) fn send(&self, message: ControlMessage) {
        let _ = (&self.stream).write_all(&message.encode());
    }

    /// Reads the messages that have arrived. Also returns whether the other process is still alive.
    pub(super) fn receive(&self) -> (Vec<ControlMessage>, bool) {
        let mut input = self.input.borrow_mut();
        let mut chunk = [0; 16 * BYTES];
        let peer_alive = loop {
            match (&self.stream).read(&mut chunk) {
                Ok(0) => break false,
                Ok(n) => input.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        let whole = input.len() / BYTES * BYTES;
        let messages = input[..whole]
            .chunks_exact(BYTES)
            .filter_map(|bytes| ControlMessage::decode(bytes.try_into().ok()?))
            .collect();
        input.drain(..whole);
        (messages, peer_alive)
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Control {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
