//! The outbox of a session: the frames that wait to be written to its socket. A published frame is one
//! allocation shared by the outboxes of all its recipients. If many frames wait, small ones are gathered in
//! buffers ([`Gathered`](super::gathered::Gathered)), so that the memory of an outbox stays in proportion to
//! the bytes that wait in it.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::connection::gathered::{GATHER_UP_TO, Gathered};
use crate::net::stream::Stream;

/// Frames below this size, in bytes, are copied into one buffer: `writev` of tiny pieces costs more than
/// the copy.
const COPY_BELOW: usize = 1024;
/// Maximum size of such a buffer in bytes.
const GATHER: usize = 64 << 10;
/// Maximum number of pieces in one `writev`.
const PIECES: usize = 32;
/// Number of waiting pieces from which on small frames are gathered. A peer that reads seldom reaches it,
/// so its frames are never copied.
const FEW: usize = 32;

/// Frames in the order in which they are written. Each session holds one outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Frames, and buffers of gathered frames. `gathered` knows which of the pieces are buffers.
    pieces: VecDeque<Bytes>,
    /// The first piece is partly written. A frame must be completed.
    begun: bool,
    /// The socket was full at the last attempt to write.
    blocked: bool,
    /// Number of the first piece. Each piece has the number of the one before it, plus one. Wraps.
    first: u64,
    /// Number of the piece that is the last queued pong.
    pong: Option<u64>,
    /// Gathered frames: those in buffers among the pieces, and behind all pieces those of a buffer that
    /// still grows. That buffer is empty if there are fewer than [`FEW`] pieces. `None` if nothing is
    /// gathered.
    gathered: Option<Box<Gathered>>,
}

impl Outbox {
    /// Whether no frame waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Number of frames that wait, including one that is partly written.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len() + self.gathered.as_ref().map_or(0, |gathered| gathered.additional())
    }

    /// Appends a frame.
    #[inline]
    pub(crate) fn push(&mut self, frame: Bytes) {
        if self.pieces.len() < FEW {
            self.pieces.push_back(frame);
        } else {
            self.push_behind_many(frame);
        }
    }

    /// Appends a frame to an outbox that holds many pieces.
    #[cold]
    fn push_behind_many(&mut self, frame: Bytes) {
        let gathered = self.gathered.get_or_insert_default();
        if frame.len() > GATHER_UP_TO {
            self.seal();
            self.pieces.push_back(frame);
        } else if !gathered.append(&frame) {
            self.seal();
            self.gathered.get_or_insert_default().append(&frame);
        }
    }

    /// Ends the buffer that grows, and appends it to the pieces.
    fn seal(&mut self) {
        if let Some(gathered) = &mut self.gathered
            && let Some(buffer) = gathered.seal(self.first.wrapping_add(self.pieces.len() as u64))
        {
            self.pieces.push_back(buffer);
        }
    }

    /// Puts the unwritten tail of a partly written frame in front of all others.
    pub(crate) fn push_rest(&mut self, rest: Bytes) {
        debug_assert!(!self.begun, "only one frame can be partly written");
        self.first = self.first.wrapping_sub(1);
        self.pieces.push_front(rest);
        self.begun = true;
    }

    /// Queues a pong. If an earlier pong waits because the socket is full, the new one replaces it
    /// (RFC 6455 section 5.5.3), so that pings from a peer that does not read cannot fill the outbox.
    /// Returns the length of the replaced pong, or 0.
    pub(crate) fn push_pong(&mut self, frame: Bytes) -> usize {
        if let Some(at) = self.pong_index().filter(|_| self.blocked)
            && let Some(earlier) = self.pieces.get_mut(at)
            && (at > 0 || !self.begun)
        {
            return std::mem::replace(earlier, frame).len();
        }
        self.seal();
        self.pong = Some(self.first.wrapping_add(self.pieces.len() as u64));
        self.pieces.push_back(frame);
        0
    }

    /// Index of the last queued pong, if it still waits.
    fn pong_index(&self) -> Option<usize> {
        let at = self.pong?.wrapping_sub(self.first);
        (at < self.pieces.len() as u64).then_some(at as usize)
    }

    /// Writes until the outbox is empty or the socket is full. Returns the number of bytes written.
    /// `scratch` must be empty, and is left empty.
    ///
    /// # Errors
    /// The socket failed.
    pub(crate) fn write_to(&mut self, stream: &mut Stream, scratch: &mut Vec<u8>) -> io::Result<usize> {
        let mut total = 0;
        self.blocked = false;
        while let Some(front) = self.pieces.front() {
            let result = if self.pieces.len() == 1 {
                stream.try_write(front)
            } else if front.len() < COPY_BELOW {
                for piece in self.pieces.iter().take_while(|piece| piece.len() < COPY_BELOW) {
                    scratch.extend_from_slice(piece);
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
                for (slice, piece) in pieces.iter_mut().zip(&self.pieces) {
                    *slice = IoSlice::new(piece);
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
        if self.pieces.is_empty() && self.pieces.capacity() > FEW {
            self.pieces = VecDeque::new();
        }
        Ok(total)
    }

    /// Records that the first `n` bytes are already encrypted, so that a pong among them can no longer be
    /// replaced.
    fn keep(&mut self, n: usize) {
        if let Some(at) = self.pong_index()
            && n > 0
            && self.pieces.iter().take(at).map(Bytes::len).sum::<usize>() < n
        {
            self.pong = None;
        }
    }

    /// Removes `n` bytes at the front without writing them; they count as written. The stream must have
    /// claimed them, so that they are not in the buffer that still grows.
    pub(crate) fn skip(&mut self, n: usize) {
        self.advance(n);
    }

    /// Discards all frames except one that is partly written. Returns the number of bytes discarded.
    pub(crate) fn discard(&mut self) -> usize {
        self.seal();
        let all: usize = self.pieces.iter().map(Bytes::len).sum();
        self.pieces.truncate(usize::from(self.begun));
        if let Some(gathered) = self.gathered.take()
            && let Some(unwritten) = gathered.unwritten(self.first)
            && let Some(front) = self.pieces.front_mut()
        {
            front.truncate(unwritten);
            if unwritten == 0 {
                self.pieces.clear();
                self.begun = false;
            }
        }
        self.pong = None;
        all - self.pieces.front().map_or(0, Bytes::len)
    }

    /// Removes `n` written bytes at the front.
    #[inline]
    fn advance(&mut self, n: usize) {
        if self.gathered.is_some() { self.advance_gathered(n) } else { self.remove(n) }
    }

    /// [`Outbox::advance`] for an outbox with gathered frames.
    #[cold]
    fn advance_gathered(&mut self, n: usize) {
        if let Some(gathered) = &mut self.gathered {
            let mut left = n;
            for (number, piece) in (0..).map(|i| self.first.wrapping_add(i)).zip(&self.pieces) {
                gathered.advance(number, left.min(piece.len()));
                left = left.saturating_sub(piece.len());
                if left == 0 {
                    break;
                }
            }
        }
        self.remove(n);
        if self.pieces.len() < FEW {
            self.seal();
            self.gathered.take_if(|gathered| gathered.is_empty());
        }
    }

    /// Removes `n` bytes from the pieces.
    #[inline]
    fn remove(&mut self, mut n: usize) {
        while n > 0 {
            let Some(front) = self.pieces.front_mut() else { return };
            if n < front.len() {
                front.advance(n);
                self.begun = true;
                return;
            }
            n -= front.len();
            self.pieces.pop_front();
            self.first = self.first.wrapping_add(1);
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
            let (mut stream, theirs) = pair().await;
            let sizes = [3, 900, 1024, 5000, 1, 1, 70_000, 10, 2000, 40];
            let frames: Vec<Bytes> =
                sizes.iter().enumerate().map(|(i, n)| vec![i as u8; *n].into()).collect();
            let mut outbox = Outbox::default();
            frames.iter().for_each(|f| outbox.push(f.clone()));
            let reader = reader(theirs);
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

    /// Reads everything that is sent to a socket, on a thread of its own.
    fn reader(mut theirs: std::os::unix::net::UnixStream) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        })
    }

    #[test]
    fn many_frames_arrive_in_order_and_are_counted() {
        run(async {
            let (mut stream, theirs) = pair().await;
            let sizes = [3, 3, 4, 128, 3, 129, 5, 6000, 2, 128, 3];
            let frame = |i: usize| Bytes::from(vec![i as u8; sizes[i % sizes.len()]]);
            let mut outbox = Outbox::default();
            let (mut expected, mut frames) = (Vec::new(), 0);
            let mut push = |outbox: &mut Outbox, count: usize| {
                for _ in 0..count {
                    expected.extend_from_slice(&frame(frames));
                    outbox.push(frame(frames));
                    frames += 1;
                }
                (expected.len(), frames)
            };
            push(&mut outbox, 9000);
            assert_eq!(outbox.len(), 9000);
            let mut written = outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
            // The socket is full. Further frames join those that wait.
            let (bytes, frames) = push(&mut outbox, 9000);
            let mut ends = (0..frames).scan(0, |end, i| {
                *end += frame(i).len();
                Some(*end)
            });
            let complete = ends.position(|end| end > written).unwrap();
            assert_eq!(outbox.len(), frames - complete, "completely written frames are not counted");
            let reader = reader(theirs);
            while !outbox.is_empty() {
                written += outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!((written, outbox.len()), (bytes, 0));
            assert!(outbox.gathered.is_none() && outbox.pieces.capacity() == 0);
            drop(stream);
            assert!(reader.join().unwrap() == expected);
        });
    }

    #[test]
    fn discard_keeps_a_partly_written_frame_among_gathered_ones() {
        for (written, kept) in [(0, 0), (4, 0), (6, 2), (4 * FEW, 0), (4 * FEW + 1, 3), (4 * FEW + 400, 0)] {
            let mut outbox = Outbox::default();
            (0..2000).for_each(|i| outbox.push(vec![i as u8; 4].into()));
            outbox.skip(written.min(4 * FEW));
            outbox.skip(written.saturating_sub(4 * FEW));
            let left = outbox.len();
            assert_eq!(left, 2000 - written / 4);
            assert_eq!(outbox.discard(), 8000 - written - kept, "{written} bytes are written");
            assert_eq!(outbox.pieces.iter().map(Bytes::len).sum::<usize>(), kept);
            assert_eq!((outbox.len(), outbox.is_empty()), (usize::from(kept > 0), kept == 0));
            outbox.push(Bytes::from_static(b"close"));
            assert_eq!(outbox.len(), usize::from(kept > 0) + 1);
        }
    }

    #[test]
    fn pongs_among_gathered_frames_are_replaced() {
        let mut outbox = Outbox { blocked: true, ..Outbox::default() };
        let mut expected = Vec::new();
        for i in 0..100 {
            outbox.push(vec![i; 3].into());
            expected.extend_from_slice(&[i; 3]);
        }
        outbox.skip(48);
        assert_eq!(outbox.push_pong(Bytes::from_static(b"first")), 0);
        outbox.push(Bytes::from_static(b"more"));
        outbox.push_rest(Bytes::from_static(b"rest"));
        assert_eq!(outbox.push_pong(Bytes::from_static(b"second")), 5);
        outbox.seal();
        let expected = [b"rest", &expected[48..], b"second", b"more"].concat();
        assert_eq!(outbox.pieces.iter().flatten().copied().collect::<Vec<_>>(), expected);
        outbox.skip(expected.len() - 4);
        outbox.blocked = true;
        assert_eq!(outbox.push_pong(Bytes::from_static(b"third")), 0, "the earlier one is written");
        assert_eq!(outbox.len(), 2);
    }

    #[test]
    fn a_pong_replaces_the_last_one_while_the_socket_is_full() {
        run(async {
            let (mut stream, _theirs) = pair().await;
            let mut outbox = Outbox::default();
            let pong = |i: u8| Bytes::from(vec![0x8a, 1, i]);
            (0..3).for_each(|i| assert_eq!(outbox.push_pong(pong(i)), 0));
            assert_eq!(outbox.pieces.len(), 3, "each ping is answered");
            outbox.push(Bytes::from(vec![7; 4 << 20]));
            outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
            assert!(outbox.blocked && outbox.pieces.len() == 1);
            assert_eq!(outbox.push_pong(pong(3)), 0);
            outbox.push(Bytes::from_static(b"text"));
            (4..100).for_each(|i| assert_eq!(outbox.push_pong(pong(i)), 3));
            assert_eq!(outbox.pieces.len(), 3);
            assert_eq!(outbox.pieces[1], pong(99));
        });
    }

    #[test]
    fn discard_keeps_a_partly_written_frame() {
        run(async {
            let (mut stream, theirs) = pair().await;
            let big = Bytes::from(vec![7; 4 << 20]);
            let mut outbox = Outbox::default();
            outbox.push(big.clone());
            outbox.push(Bytes::from_static(b"never"));
            let written = outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
            assert!(written > 0 && written < big.len());
            assert_eq!(outbox.discard(), 5);
            let reader = reader(theirs);
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
        assert_eq!(outbox.pieces.iter().skip(1).collect::<Vec<_>>(), ["second", "fourth"]);
    }
}
