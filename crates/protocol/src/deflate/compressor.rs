//! Compression of messages to send (RFC 7692 section 7.2.1): the state of one connection, and the
//! compressors that the connections of a thread share.

use bytes::Bytes;
use flate2::{Compress, FlushCompress};

use super::memory::{Agreed, Reservation};
use super::negotiation::{Compression, Params};
use crate::frame;

/// Maximum capacity of the scratch buffer between two messages, in bytes.
const KEPT_SCRATCH: usize = 256 << 10;

/// Resources that all connections of one thread share for sending: one compressor for each window size,
/// and its output buffer. They are allocated when the first message is compressed.
#[derive(Debug, Default)]
pub struct Compressors {
    /// The window bits and the compressor for them.
    compressors: Vec<(u8, Compress)>,
    scratch: Vec<u8>,
}

/// The sending side of the extension on one connection. The session holds it.
#[derive(Debug)]
pub struct Compressor {
    params: Params,
    /// The compressor with the server's window, if the window is kept between messages (context
    /// takeover).
    window: Option<Box<Compress>>,
    /// Whether the window differs from the peer's, because the peer has received a message that did not
    /// pass through the window, or the reverse. The window must then be cleared before its next use.
    stale: bool,
    /// The memory reserved for the window.
    _reserved: Option<Reservation>,
}

impl Compressor {
    /// Creates the compressor of a connection with the negotiated parameters.
    #[must_use]
    pub fn new(agreed: Agreed) -> Self {
        Self { params: agreed.params, window: None, stale: false, _reserved: agreed.reserved }
    }

    /// Compresses a message for this connection only. Returns the frame unchanged if it is not a
    /// message, is below the threshold, or does not become smaller.
    pub fn compress(&mut self, shared: &mut Compressors, ours: &Compression, frame: Bytes) -> Bytes {
        let Some((payload, binary)) = compressible(&frame, ours) else { return frame };
        let bits = self.params.server_max_window_bits;
        if bits < 9 {
            // zlib does not support a window of 8 bits. Sending a message uncompressed is always
            // allowed.
            return frame;
        }
        if self.params.server_no_context_takeover {
            return shared.compress(bits, ours, payload, binary).unwrap_or(frame);
        }
        let compressor = self.window.get_or_insert_with(|| Box::new(compressor(ours, bits)));
        if std::mem::take(&mut self.stale) {
            compressor.reset();
        }
        if !deflate(compressor, payload, &mut shared.scratch) || shared.scratch.len() >= payload.len() {
            // The peer does not receive the data that the window now contains.
            self.stale = true;
            return frame;
        }
        shared.frame(binary)
    }
}

impl Compressors {
    /// Compresses a message without reference to earlier ones. Returns `None` if it does not become
    /// smaller.
    fn compress(&mut self, bits: u8, ours: &Compression, payload: &[u8], binary: bool) -> Option<Bytes> {
        let at = self.compressors.iter().position(|(b, _)| *b == bits).unwrap_or_else(|| {
            self.compressors.push((bits, compressor(ours, bits)));
            self.compressors.len() - 1
        });
        let compressor = &mut self.compressors[at].1;
        compressor.reset();
        let good = deflate(compressor, payload, &mut self.scratch) && self.scratch.len() < payload.len();
        good.then(|| self.frame(binary))
    }

    /// Builds a frame from the content of the scratch buffer, and empties the buffer.
    fn frame(&mut self, binary: bool) -> Bytes {
        let frame = frame::compressed(&self.scratch, binary);
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_SCRATCH);
        frame
    }
}

/// A message to many connections. It is compressed once for each window size, when the first connection
/// with this size receives it. It refers to no earlier message, so that connections with context
/// takeover can decompress it too.
#[derive(Debug)]
pub struct Fanout {
    plain: Bytes,
    /// The window bits and the compressed frame, or the plain frame if compression does not make it
    /// smaller.
    compressed: Vec<(u8, Bytes)>,
}

impl Fanout {
    /// Creates the fan-out of `plain`, an uncompressed message in a single frame.
    #[must_use]
    pub fn new(plain: Bytes) -> Self {
        Self { plain, compressed: Vec::new() }
    }

    /// Size of the uncompressed frame in bytes.
    #[must_use]
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// Returns the frame for one connection. `ours` are the server's settings, or `None` if it does not
    /// compress.
    #[inline]
    pub fn frame(
        &mut self,
        compressor: Option<&mut Compressor>,
        shared: &mut Compressors,
        ours: Option<&Compression>,
    ) -> Bytes {
        match (compressor, ours) {
            (Some(compressor), Some(ours)) => self.compressed_for(compressor, shared, ours),
            _ => self.plain.clone(),
        }
    }

    /// Returns the compressed frame for a connection with compression, or the plain frame if that is
    /// not smaller.
    fn compressed_for(
        &mut self,
        compressor: &mut Compressor,
        shared: &mut Compressors,
        ours: &Compression,
    ) -> Bytes {
        let bits = compressor.params.server_max_window_bits;
        if bits < 9 {
            return self.plain.clone();
        }
        let Some((payload, binary)) = compressible(&self.plain, ours) else { return self.plain.clone() };
        let frame = match self.compressed.iter().find(|(b, _)| *b == bits) {
            Some((_, frame)) => frame.clone(),
            None => {
                let frame =
                    shared.compress(bits, ours, payload, binary).unwrap_or_else(|| self.plain.clone());
                self.compressed.push((bits, frame.clone()));
                frame
            }
        };
        // A plain frame leaves the window of neither side changed.
        compressor.stale |= frame::payload(&frame).is_none();
        frame
    }
}

/// Returns the payload of a message that is large enough to be compressed, and whether it is binary.
fn compressible<'a>(frame: &'a [u8], ours: &Compression) -> Option<(&'a [u8], bool)> {
    // An empty message is excluded: the flush of the compressor would produce no output.
    frame::payload(frame).filter(|(payload, _)| payload.len() >= ours.threshold.max(1))
}

/// Creates a compressor with this window.
fn compressor(ours: &Compression, bits: u8) -> Compress {
    Compress::new_with_window_bits(flate2::Compression::new(u32::from(ours.level)), false, bits)
}

/// Compresses a message as RFC 7692 section 7.2.1 requires: a sync flush ends it, and the flush's last
/// four bytes are removed. Returns false on an error of zlib, which is not expected.
fn deflate(compressor: &mut Compress, mut payload: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    loop {
        out.reserve(payload.len() / 4 + 256);
        let before = compressor.total_in();
        if compressor.compress_vec(payload, out, FlushCompress::Sync).is_err() {
            return false;
        }
        payload = &payload[(compressor.total_in() - before) as usize..];
        // Spare capacity in the output shows that the flush is complete.
        if payload.is_empty() && out.len() < out.capacity() {
            break;
        }
    }
    let whole = out.ends_with(&[0, 0, 0xff, 0xff]);
    out.truncate(out.len().saturating_sub(4));
    whole
}
