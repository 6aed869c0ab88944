//! Where a decoder reads from.

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::unmask;

/// Received bytes, of which the decoder takes what it uses.
pub trait Input {
    /// The bytes that are not used yet.
    fn bytes(&self) -> &[u8];

    /// Uses up the first `n` bytes; there must be as many.
    fn advance(&mut self, n: usize);

    /// Uses up the first `length` bytes, which must be there, as a payload without its mask. Also
    /// returns whether that is ASCII.
    fn take_payload(&mut self, length: usize, mask: Option<[u8; 4]>) -> (Bytes, bool);
}

/// Borrowed bytes: payloads are copied.
impl Input for &[u8] {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        self
    }

    #[inline(always)]
    fn advance(&mut self, n: usize) {
        *self = &self[n..];
    }

    #[inline(always)]
    fn take_payload(&mut self, length: usize, mask: Option<[u8; 4]>) -> (Bytes, bool) {
        let (payload, rest) = self.split_at(length);
        *self = rest;
        let mut payload = payload.to_vec();
        let ascii = plain(&mut payload, mask);
        (payload.into(), ascii)
    }
}

/// Bytes in a buffer that payloads may stay in: those from a size on are not copied, and keep the
/// buffer alive.
#[derive(Debug)]
pub struct Chunk {
    bytes: BytesMut,
    keep_from: usize,
}

impl Chunk {
    /// `keep_from`: size of the smallest payload that stays in the buffer.
    #[must_use]
    pub fn new(bytes: BytesMut, keep_from: usize) -> Self {
        Self { bytes, keep_from }
    }
}

impl Input for Chunk {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, n: usize) {
        self.bytes.advance(n);
    }

    fn take_payload(&mut self, length: usize, mask: Option<[u8; 4]>) -> (Bytes, bool) {
        if length < self.keep_from {
            let taken = (&self.bytes[..]).take_payload(length, mask);
            self.bytes.advance(length);
            return taken;
        }
        let mut payload = self.bytes.split_to(length);
        let ascii = plain(&mut payload, mask);
        (payload.freeze(), ascii)
    }
}

#[inline(always)]
fn plain(payload: &mut [u8], mask: Option<[u8; 4]>) -> bool {
    match mask {
        Some(mask) => unmask(payload, mask),
        None => payload.is_ascii(),
    }
}
