//! The outbox of a session: the frames that wait to be written to its socket. A published frame is one
//! allocation shared by the outboxes of all its recipients. If many frames wait, small ones are gathered in
//! buffers ([`Gathered`](super::gathered::Gathered)), so that the memory of an outbox stays in proportion to
//! the bytes that wait in it.

use bytes::{Buf, Bytes};
use sprocket_protocol::frame;
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
    /// Frames, several frames that were sent together, and buffers of gathered frames. `gathered` knows which
    /// of the pieces are such buffers. They are behind all frames that were sent together.
    pieces: VecDeque<Bytes>,
    /// Number of frames sent together in addition to the number of their pieces.
    together: usize,
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
        self.pieces.len() + self.together + self.gathered.as_ref().map_or(0, |gathered| gathered.additional())
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

    /// Appends `count` frames that follow each other.
    pub(crate) fn push_many(&mut self, frames: Bytes, count: usize) {
        if self.pieces.len() < FEW && self.gathered.is_none() {
            self.pieces.push_back(frames);
            self.together += count - 1;
        } else {
            self.push_one_by_one(&frames);
        }
    }

    /// [`Outbox::push_many`] for an outbox in which frames are gathered.
    #[cold]
    fn push_one_by_one(&mut self, mut frames: &[u8]) {
        while !frames.is_empty() {
            let (frame, rest) = frames.split_at(frame::first_length(frames));
            self.push(Bytes::copy_from_slice(frame));
            frames = rest;
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
        self.together = 0;
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
                if self.together > 0 && !self.begun {
                    return self.begin_together(n);
                }
                front.advance(n);
                self.begun = true;
                return;
            }
            n -= front.len();
            let done = self.pieces.pop_front();
            if self.pieces.is_empty() {
                self.together = 0;
            } else if self.together > 0 && !self.begun {
                self.together -= done.map_or(0, |done| additional(&done));
            }
            self.first = self.first.wrapping_add(1);
            self.begun = false;
        }
    }

    /// Removes `n` bytes of the first piece, which is longer and not begun yet. If they end within one of
    /// several frames, the rest of that frame becomes a piece of its own.
    #[cold]
    fn begin_together(&mut self, n: usize) {
        let Some(front) = self.pieces.front_mut() else { return };
        let (mut start, mut end) = (0, frame::first_length(front));
        while end <= n {
            self.together -= 1;
            start = end;
            end += frame::first_length(&front[end..]);
        }
        self.begun = n > start;
        if self.begun && end < front.len() {
            let mut rest = front.split_to(end);
            rest.advance(n);
            self.together -= 1;
            self.first = self.first.wrapping_sub(1);
            self.pieces.push_front(rest);
        } else {
            front.advance(n);
        }
    }
}

/// Number of frames that follow the first one in a piece that is not begun.
fn additional(mut piece: &[u8]) -> usize {
    let mut frames = 0_usize;
    while !piece.is_empty() {
        piece = &piece[frame::first_length(piece)..];
        frames += 1;
    }
    frames.saturating_sub(1)
}

#[cfg(test)]
mod tests;
