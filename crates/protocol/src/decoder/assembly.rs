//! Assembly of one data message from its frames: the payload received so far, unmasked, inflated and
//! validated.

use bytes::Bytes;
use flate2::Decompress;

use crate::deflate::Inflaters;
use crate::deflate::decompressor::{Inflating, Stop};
use crate::error::DecodeError;
use crate::frame::unmask;
use crate::utf8::Utf8;

/// Maximum number of bytes reserved for a payload of which nothing has arrived, so that a header that
/// announces a large payload costs no memory.
const AT_ONCE: usize = 64 << 10;
/// Number of bytes copied and unmasked in one step, so that they stay in the L1 cache.
const CACHED: usize = 8 << 10;

/// A complete message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The payload; of a text message valid UTF-8.
    pub payload: Bytes,
    /// Whether the message is binary; otherwise it is a text message.
    pub binary: bool,
}

/// The unread rest of the current frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Whether the frame is the last one of its message.
    pub(super) fin: bool,
    /// The masking key, rotated so that its first byte applies to the next byte of the payload.
    pub(super) mask: Option<[u8; 4]>,
    /// Number of payload bytes that are not read yet.
    pub(super) left: u64,
}

impl Piece {
    /// Number of bytes at the start of the input that belong to the frame.
    fn available(&self, input: &[u8]) -> usize {
        usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len())
    }

    /// Marks the first `n` bytes of the input as read.
    fn skip(&mut self, input: &mut &[u8], n: usize) {
        *input = &input[n..];
        self.left -= n as u64;
    }

    /// Splits the bytes of the frame off the input.
    fn split<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let part = &input[..self.available(input)];
        self.skip(input, part.len());
        part
    }

    /// Appends the frame's bytes from the input to `to`, unmasked, and rotates the key accordingly.
    /// Returns whether they are ASCII.
    pub(super) fn read(&mut self, input: &mut &[u8], to: &mut Vec<u8>) -> bool {
        let part = self.split(input);
        let Some(mask) = &mut self.mask else {
            to.extend_from_slice(part);
            return part.is_ascii();
        };
        let mut ascii = true;
        for part in part.chunks(CACHED) {
            let from = to.len();
            to.extend_from_slice(part);
            ascii &= unmask(&mut to[from..], *mask);
        }
        mask.rotate_left(part.len() & 3);
        ascii
    }
}

/// A message between the start of its first frame and the end of its last one.
#[derive(Debug)]
pub(super) struct Assembly {
    /// Whether the message is binary.
    binary: bool,
    /// The payload so far.
    payload: Vec<u8>,
    /// Validation of a text message so far.
    utf8: Utf8,
    /// The inflater of a compressed message.
    inflating: Option<Inflating>,
    /// Sum of the payload lengths in the headers of its frames so far, in bytes.
    announced: u64,
}

impl Assembly {
    pub(super) fn new(binary: bool, inflating: Option<Inflating>) -> Self {
        Self { binary, payload: Vec::new(), utf8: Utf8::default(), inflating, announced: 0 }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.inflating.is_some()
    }

    /// Adds a frame of `length` bytes. Returns an error if the message is certain to exceed `max` with
    /// it.
    pub(super) fn announce(&mut self, length: u64, max: usize) -> Result<(), DecodeError> {
        self.announced = self.announced.saturating_add(length);
        let size = self.announced;
        if self.inflating.is_none() {
            return if size > max as u64 { Err(DecodeError::TooLong { size, max }) } else { Ok(()) };
        }
        // No compressor doubles the size of a message, so a compressed size beyond twice the limit is
        // an error. This also bounds a sequence of blocks without content.
        if size > (max as u64).saturating_mul(2).saturating_add(1024) {
            return Err(DecodeError::CompressedTooLong { size, max });
        }
        Ok(())
    }

    /// Reads the available part of a frame. [`Stop::Input`] means that this part is consumed; if it was
    /// the end of the last frame, the message is complete.
    pub(super) fn read(
        &mut self,
        piece: &mut Piece,
        input: &mut &[u8],
        shared: &mut Inflaters,
        max: usize,
    ) -> Result<Stop, DecodeError> {
        if self.inflating.is_some() {
            self.inflate(piece, input, shared, max)
        } else {
            self.append(piece, input).map(|()| Stop::Input)
        }
    }

    /// Reads the available part of an uncompressed frame.
    fn append(&mut self, piece: &mut Piece, input: &mut &[u8]) -> Result<(), DecodeError> {
        let (have, now) = (self.payload.len(), piece.available(input));
        // The last frame determines the final length, so the capacity can be exact. For earlier
        // fragments `Vec` grows in its own steps.
        if piece.fin && self.payload.capacity() - have < now {
            let ahead = piece.left.min(have.max(AT_ONCE) as u64) as usize;
            self.payload.reserve_exact(ahead.max(now));
        }
        let ascii = piece.read(input, &mut self.payload);
        if self.binary || ascii && self.utf8.is_clean() || self.utf8.feed(&self.payload[have..]) {
            Ok(())
        } else {
            Err(DecodeError::InvalidText)
        }
    }

    /// Reads the available part of a compressed frame, and the removed tail after the last one.
    fn inflate(
        &mut self,
        piece: &mut Piece,
        input: &mut &[u8],
        shared: &mut Inflaters,
        max: usize,
    ) -> Result<Stop, DecodeError> {
        while let Some(inflating) = &mut self.inflating {
            let tail = piece.left == 0 && piece.fin;
            let (plain, stop) = if tail {
                inflating.read_tail(shared)?
            } else {
                let n = piece.available(input);
                let mut part = &input[..n];
                let read = inflating.read(&mut part, &mut piece.mask, shared)?;
                piece.skip(input, n - part.len());
                read
            };
            if plain.len() > max - self.payload.len() {
                return Err(DecodeError::InflatedTooLong { max });
            }
            if !self.binary && !self.utf8.feed(plain) {
                return Err(DecodeError::InvalidText);
            }
            self.payload.extend_from_slice(plain);
            match stop {
                Stop::Spent => return Ok(Stop::Spent),
                Stop::Input if tail || piece.left > 0 || !piece.fin => break,
                Stop::Input | Stop::Full => {}
            }
        }
        Ok(Stop::Input)
    }

    /// Completes the message. Also returns the inflater of a compressed one, for reuse.
    pub(super) fn end(mut self) -> Result<(Message, Option<Box<Decompress>>), DecodeError> {
        if !self.binary && !self.utf8.is_clean() {
            return Err(DecodeError::InvalidText);
        }
        // The receiver counts the bytes of the payload, so it must not keep room for more of them.
        self.payload.shrink_to_fit();
        let message = Message { payload: self.payload.into(), binary: self.binary };
        Ok((message, self.inflating.map(Inflating::end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_length_reserves_no_memory() {
        const LENGTH: u64 = 1 << 30;
        for (fin, most) in [(true, AT_ONCE), (false, 200)] {
            let mut message = Assembly::new(true, None);
            let mut piece = Piece { fin, mask: Some([1, 2, 3, 4]), left: LENGTH };
            message.announce(LENGTH, 1 << 30).unwrap();
            message.append(&mut piece, &mut &[0; 100][..]).unwrap();
            assert!(message.payload.capacity() <= most, "{}", message.payload.capacity());
            message.append(&mut piece, &mut &[0; 200_000][..]).unwrap();
            assert!(message.payload.capacity() <= 2 * 200_100, "{}", message.payload.capacity());
        }
    }

    #[test]
    fn a_complete_message_has_no_spare_capacity() {
        let mut message = Assembly::new(true, None);
        let mut piece = Piece { fin: true, mask: None, left: 300_000 };
        for part in [70_000, 100_000, 130_000] {
            message.append(&mut piece, &mut &vec![0; part][..]).unwrap();
        }
        assert_eq!((message.payload.len(), message.payload.capacity()), (300_000, 300_000));
    }

    #[test]
    fn a_message_in_fragments_has_no_room_beside_it() {
        let mut message = Assembly::new(true, None);
        for (fin, length) in [(false, 2049), (false, 1), (true, 0)] {
            let mut piece = Piece { fin, mask: None, left: length };
            message.append(&mut piece, &mut &vec![0; length as usize][..]).unwrap();
        }
        let (message, _) = message.end().unwrap();
        assert_eq!(message.payload.try_into_mut().unwrap().capacity(), 2050);
    }
}
