//! Sources of bytes for a decoder. The source decides whether the payload of a message is copied.

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::unmask;

/// Received bytes, which the decoder consumes from the front.
pub trait Input {
    /// The bytes that are not consumed yet.
    fn bytes(&self) -> &[u8];

    /// Consumes the first `n` bytes. Panics if there are fewer.
    fn advance(&mut self, n: usize);

    /// Consumes the first `length` bytes and returns them as a payload with the mask removed, and
    /// whether the payload is ASCII. Panics if there are fewer bytes.
    fn take_payload(&mut self, length: usize, mask: Option<[u8; 4]>) -> (Bytes, bool);
}

/// Borrowed bytes: every payload is copied.
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

/// A read buffer that large payloads share instead of being copied. Such a payload keeps the whole
/// buffer allocated.
#[derive(Debug)]
pub struct Chunk {
    bytes: BytesMut,
    keep_from: usize,
}

impl Chunk {
    /// `keep_from` is the size in bytes of the smallest payload that shares the buffer; smaller ones
    /// are copied.
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

/// Removes the mask, if there is one. Returns whether the payload is ASCII.
#[inline(always)]
fn plain(payload: &mut [u8], mask: Option<[u8; 4]>) -> bool {
    match mask {
        Some(mask) => unmask(payload, mask),
        None => payload.is_ascii(),
    }
}
