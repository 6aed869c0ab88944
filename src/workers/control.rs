//! Messages between the master and a worker, over a socket pair that each worker has. End of file
//! on it means that the other process is gone.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A message. On the wire: a letter, then milliseconds as 64 bits, little-endian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ControlMessage {
    /// Sent by a worker that accepts connections from now on.
    Ready,
    /// Sent by a worker that has reached `maxRequests` or `maxMemory` and wants a successor.
    Recycle,
    /// Sent by a worker whose script called `stop()`: the whole server stops. Sent by the master: the
    /// worker stops. The duration is the grace period of its connections.
    Stop(Duration),
    /// Sent by the master to a worker that has a successor: it accepts what has connected already,
    /// then stops.
    HandOver(Duration),
}

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

    /// `None` for a letter that this version does not know.
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

/// One end of the socket pair. Never blocks.
#[derive(Debug)]
pub(super) struct Control {
    stream: UnixStream,
    input: RefCell<Vec<u8>>,
}

impl Control {
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Self::new(a)?, Self::new(b)?))
    }

    pub(super) fn inherited(fd: OwnedFd) -> io::Result<Self> {
        Self::new(fd.into())
    }

    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: RefCell::default() })
    }

    /// Duplicates the descriptor, so that another thread can poll it.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// Sends a message. Errors are ignored: either the other process is gone, which `receive` reports,
    /// or the socket is full, which the few messages of a worker cannot cause.
    pub(super) fn send(&self, message: ControlMessage) {
        let _ = (&self.stream).write_all(&message.encode());
    }

    /// Reads the messages that have arrived, and whether the other process is still alive.
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
