//! What master and worker tell each other, over a pair of sockets that each worker has. Its end is
//! how they notice that the other one is gone.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// One message: a letter, and seconds where it needs them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Word {
    /// Worker: it accepts connections.
    Ready,
    /// Worker: it has done its share and wants a successor.
    Recycle,
    /// Worker: the script wants the whole server to stop. Master: stop, for good.
    Stop(Duration),
    /// Master: a successor is there. Stop, and let in who has connected already.
    HandOver(Duration),
}

const BYTES: usize = 9;

impl Word {
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

    /// `None`: a newer version says something that this one does not know.
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

/// One end. Never blocks.
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

    /// The descriptor once more, for another thread to wait for.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.stream.as_fd().try_clone_to_owned()
    }

    /// An error means that the other side is gone, which is noticed elsewhere; what is said is far
    /// too little to fill the socket.
    pub(super) fn say(&self, word: Word) {
        let _ = (&self.stream).write_all(&word.encode());
    }

    /// What has been said, and whether the other side is still there.
    pub(super) fn hear(&self) -> (Vec<Word>, bool) {
        let mut input = self.input.borrow_mut();
        let mut chunk = [0; 16 * BYTES];
        let there = loop {
            match (&self.stream).read(&mut chunk) {
                Ok(0) => break false,
                Ok(n) => input.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        let whole = input.len() / BYTES * BYTES;
        let words = input[..whole].chunks_exact(BYTES).filter_map(|w| Word::decode(w.try_into().ok()?));
        let words = words.collect();
        input.drain(..whole);
        (words, there)
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
