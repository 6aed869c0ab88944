//! The outbox of a session: the frames that wait to be written to its socket. A published frame is one
//! allocation shared by the outboxes of all its recipients.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::net::stream::Stream;

/// Frames below this size, in bytes, are copied into one buffer: `writev` of tiny pieces costs more than
/// the copy.
const COPY_BELOW: usize = 1024;
/// Maximum size of such a buffer in bytes.
const GATHER: usize = 64 << 10;
/// Maximum number of pieces in one `writev`.
const PIECES: usize = 32;

/// Frames in the order in which they are written. Each session holds one outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Bytes>,
    /// The first frame is partly written, so it must be completed.
    begun: bool,
    /// The socket was full at the last attempt to write.
    blocked: bool,
    /// Number of frames completely written so far.
    written: u64,
    /// Sequence number of the last queued pong, on the scale of `written`; it is at the front of the
    /// outbox when the two are equal.
    pong: Option<u64>,
}

impl Outbox {
    /// Whether no frame waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Number of frames that wait, including one that is partly written.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Appends a frame.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.frames.push_back(frame);
    }

    /// Puts the unwritten tail of a partly written frame in front of all others.
    pub(crate) fn push_rest(&mut self, rest: Bytes) {
        debug_assert!(!self.begun, "only one frame can be partly written");
        self.pong = self.pong.map(|number| number + 1);
        self.frames.push_front(rest);
        self.begun = true;
    }

    /// Queues a pong. If an earlier pong waits because the socket is full, the new one replaces it
    /// (RFC 6455 section 5.5.3), so that pings from a peer that does not read cannot fill the outbox.
    /// Returns the length of the replaced pong, or 0.
    pub(crate) fn push_pong(&mut self, frame: Bytes) -> usize {
        if let Some(number) = self.pong.filter(|_| self.blocked)
            && let Some(at) = number.checked_sub(self.written)
            && let Some(earlier) = self.frames.get_mut(at as usize)
            && (at > 0 || !self.begun)
        {
            return std::mem::replace(earlier, frame).len();
        }
        self.pong = Some(self.written + self.frames.len() as u64);
        self.frames.push_back(frame);
        0
    }

    /// Writes until the outbox is empty or the socket is full. Returns the number of bytes written.
    /// `scratch` must be empty, and is left empty.
    ///
    /// # Errors
    /// The socket failed.
    pub(crate) fn write_to(&mut self, stream: &mut Stream, scratch: &mut Vec<u8>) -> io::Result<usize> {
        let mut total = 0;
        self.blocked = false;
        while let Some(front) = self.frames.front() {
            let result = if self.frames.len() == 1 {
                stream.try_write(front)
            } else if front.len() < COPY_BELOW {
                for frame in self.frames.iter().take_while(|f| f.len() < COPY_BELOW) {
                    scratch.extend_from_slice(frame);
                    if scratch.len() > GATHER - COPY_BELOW {
                        break;
                    }
                }
                let result = stream.try_write(scratch);
                scratch.clear();
                result
            } else {
                let mut pieces = [IoSlice::new(&[]); PIECES];
                let mut used = 0;
                for (piece, frame) in pieces.iter_mut().zip(&self.frames) {
                    *piece = IoSlice::new(frame);
                    used += 1;
                }
                stream.try_write_vectored(&pieces[..used])
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    total += n;
                    self.advance(n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    self.keep(stream.claimed());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if self.frames.is_empty() && self.frames.capacity() > 32 {
            self.frames = VecDeque::new();
        }
        Ok(total)
    }

    /// Records that the first `n` bytes are already encrypted, so that a pong among them can no longer be
    /// replaced.
    fn keep(&mut self, n: usize) {
        if let Some(at) = self.pong.and_then(|number| number.checked_sub(self.written))
            && n > 0
            && self.frames.iter().take(at as usize).map(Bytes::len).sum::<usize>() < n
        {
            self.pong = None;
        }
    }

    /// Removes `n` bytes at the front without writing them; they count as written.
    pub(crate) fn skip(&mut self, n: usize) {
        self.advance(n);
    }

    /// Discards all frames except one that is partly written. Returns the number of bytes discarded.
    pub(crate) fn discard(&mut self) -> usize {
        let keep = usize::from(self.begun);
        let dropped = self.frames.iter().skip(keep).map(Bytes::len).sum();
        self.frames.truncate(keep);
        self.pong = None;
        dropped
    }

    /// Removes `n` written bytes at the front.
    fn advance(&mut self, mut n: usize) {
        while n > 0 {
            let Some(front) = self.frames.front_mut() else { return };
            if n < front.len() {
                front.advance(n);
                self.begun = true;
                return;
            }
            n -= front.len();
            self.frames.pop_front();
            self.written += 1;
            self.begun = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::plain_socket::PlainSocket;
    use std::io::Read;

    async fn pair() -> (Stream, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(ours).unwrap();
        stream.writable().await.unwrap();
        (PlainSocket::Unix(stream).into(), theirs)
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn frames_of_all_sizes_arrive_in_order() {
        run(async {
            let (mut stream, mut theirs) = pair().await;
            let sizes = [3, 900, 1024, 5000, 1, 1, 70_000, 10, 2000, 40];
            let frames: Vec<Bytes> =
                sizes.iter().enumerate().map(|(i, n)| vec![i as u8; *n].into()).collect();
            let mut outbox = Outbox::default();
            frames.iter().for_each(|f| outbox.push(f.clone()));
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                theirs.read_to_end(&mut all).unwrap();
                all
            });
            let mut scratch = Vec::new();
            let mut written = 0;
            while !outbox.is_empty() {
                written += outbox.write_to(&mut stream, &mut scratch).unwrap();
                tokio::task::yield_now().await;
            }
            drop(stream);
            let all = reader.join().unwrap();
            assert_eq!(all, frames.concat());
            assert_eq!(written, all.len());
        });
    }

    #[test]
    fn a_pong_replaces_the_last_one_while_the_socket_is_full() {
        run(async {
            let (mut stream, _theirs) = pair().await;
            let mut outbox = Outbox::default();
            let pong = |i: u8| Bytes::from(vec![0x8a, 1, i]);
            (0..3).for_each(|i| assert_eq!(outbox.push_pong(pong(i)), 0));
            assert_eq!(outbox.frames.len(), 3, "each ping is answered");
            outbox.push(Bytes::from(vec![7; 4 << 20]));
            outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
            assert!(outbox.blocked && outbox.frames.len() == 1);
            assert_eq!(outbox.push_pong(pong(3)), 0);
            outbox.push(Bytes::from_static(b"text"));
            (4..100).for_each(|i| assert_eq!(outbox.push_pong(pong(i)), 3));
            assert_eq!(outbox.frames.len(), 3);
            assert_eq!(outbox.frames[1], pong(99));
        });
    }

    #[test]
    fn discard_keeps_a_partly_written_frame() {
        run(async {
            let (mut stream, mut theirs) = pair().await;
            let big = Bytes::from(vec![7; 4 << 20]);
            let mut outbox = Outbox::default();
            outbox.push(big.clone());
            outbox.push(Bytes::from_static(b"never"));
            let written = outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
            assert!(written > 0 && written < big.len());
            assert_eq!(outbox.discard(), 5);
            let reader = std::thread::spawn(move || {
                let mut all = Vec::new();
                theirs.read_to_end(&mut all).unwrap();
                all
            });
            while !outbox.is_empty() {
                outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
                tokio::task::yield_now().await;
            }
            drop(stream);
            assert_eq!(reader.join().unwrap().len(), big.len());
        });
    }

    #[test]
    fn an_encrypted_pong_is_not_replaced() {
        let mut outbox = Outbox { blocked: true, ..Outbox::default() };
        outbox.push(Bytes::from_static(b"ten bytes."));
        outbox.push_pong(Bytes::from_static(b"first"));
        outbox.keep(10);
        assert_eq!(outbox.push_pong(Bytes::from_static(b"second")), 5);
        outbox.keep(11);
        assert_eq!(outbox.push_pong(Bytes::from_static(b"third")), 0);
        assert_eq!(outbox.push_pong(Bytes::from_static(b"fourth")), 5);
        assert_eq!(outbox.frames.iter().skip(1).collect::<Vec<_>>(), ["second", "fourth"]);
    }
}
