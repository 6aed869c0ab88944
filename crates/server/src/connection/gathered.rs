//! Small frames gathered in buffers, for an [`Outbox`](super::outbox::Outbox) that holds many.
//!
//! A small frame of its own costs a piece in the outbox and an allocation, some 80 bytes in addition to its
//! contents. In a buffer it costs one byte.

use bytes::Bytes;
use std::collections::VecDeque;

/// Longest frame in bytes that is gathered. A longer frame costs less than its own length in addition, and it
/// may be shared with the outboxes of other sessions.
pub(super) const GATHER_UP_TO: usize = 128;
/// Maximum size of one buffer in bytes.
const BUFFER: usize = 16 << 10;

/// The frames in one buffer.
#[derive(Debug)]
struct Buffer {
    /// Number of the buffer among the pieces of the outbox.
    number: u64,
    /// Length of each frame.
    lengths: Vec<u8>,
    /// Number of frames completely written.
    done: usize,
    /// Bytes of the next frame that are written.
    begun: usize,
}

/// The gathered frames of one outbox.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The buffers among the pieces of the outbox, in their order.
    sealed: VecDeque<Buffer>,
    /// The buffer that still grows.
    bytes: Vec<u8>,
    /// Length of each frame in `bytes`.
    lengths: Vec<u8>,
    /// Number of unwritten frames in all buffers.
    frames: usize,
}

impl Gathered {
    /// Number of unwritten frames in addition to the number of pieces of the outbox.
    pub(super) fn additional(&self) -> usize {
        self.frames - self.sealed.len()
    }

    /// Whether no frame is gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Appends a frame of at most [`GATHER_UP_TO`] bytes to the buffer that grows. Returns false if the
    /// buffer is full and must be sealed first.
    pub(super) fn append(&mut self, frame: &[u8]) -> bool {
        if self.bytes.len() + frame.len() > BUFFER {
            return false;
        }
        self.bytes.extend_from_slice(frame);
        // `GATHER_UP_TO` fits into a byte.
        self.lengths.push(frame.len() as u8);
        self.frames += 1;
        true
    }

    /// Ends the buffer that grows and returns its contents, which become the piece with this number. `None`
    /// if it is empty.
    pub(super) fn seal(&mut self, number: u64) -> Option<Bytes> {
        if self.bytes.is_empty() {
            return None;
        }
        let (bytes, lengths) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.lengths));
        if lengths.len() == 1 {
            // A single frame is a piece like any other.
            self.frames -= 1;
        } else {
            self.sealed.push_back(Buffer { number, lengths, done: 0, begun: 0 });
        }
        Some(bytes.into())
    }

    /// Records that the next `n` bytes of the piece with this number, which is the first of the outbox that
    /// is not written, are written.
    pub(super) fn advance(&mut self, number: u64, mut n: usize) {
        let Some(buffer) = self.sealed.front_mut().filter(|buffer| buffer.number == number) else { return };
        while let Some(length) = buffer.lengths.get(buffer.done) {
            let left = usize::from(*length) - buffer.begun;
            if n < left {
                buffer.begun += n;
                return;
            }
            n -= left;
            buffer.begun = 0;
            buffer.done += 1;
            self.frames -= 1;
        }
        self.sealed.pop_front();
    }

    /// If the piece with this number is a buffer: the unwritten bytes of the frame in it that is partly
    /// written, or 0 if there is none.
    pub(super) fn unwritten(&self, number: u64) -> Option<usize> {
        let buffer = self.sealed.front().filter(|buffer| buffer.number == number)?;
        let length = buffer.lengths.get(buffer.done).filter(|_| buffer.begun > 0);
        Some(length.map_or(0, |length| usize::from(*length) - buffer.begun))
    }
}
