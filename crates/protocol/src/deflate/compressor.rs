//! Compressing what a server sends (RFC 7692 section 7.2.1): the window of one connection, and the
//! compressors that the connections of a thread share.

use bytes::Bytes;
use flate2::{Compress, FlushCompress};

use super::memory::{Agreed, Reservation};
use super::negotiation::{Compression, Params};
use crate::frame;

/// The scratch buffer does not keep more than this.
const KEPT_SCRATCH: usize = 256 << 10;

/// What all connections of one thread share for sending: a compressor for each size of window, and
/// the buffer that it writes into. Empty until a message is compressed.
#[derive(Debug, Default)]
pub struct Compressors {
    /// With the window bits of each.
    compressors: Vec<(u8, Compress)>,
    scratch: Vec<u8>,
}

/// The sending side of the extension on one connection.
#[derive(Debug)]
pub struct Compressor {
    params: Params,
    /// The server's window, if it outlives a message.
    window: Option<Box<Compress>>,
    /// The peer has received a message that the window has not seen, or not received one that it has
    /// seen. The window must be emptied before it is used.
    stale: bool,
    _reserved: Option<Reservation>,
}

impl Compressor {
    /// For a connection whose handshake has agreed on this.
    #[must_use]
    pub fn new(agreed: Agreed) -> Self {
        Self { params: agreed.params, window: None, stale: false, _reserved: agreed.reserved }
    }

    /// Compresses a message for this peer alone. Returns the frame unchanged if it is not a message, or
    /// is too small, or does not shrink.
    pub fn compress(&mut self, shared: &mut Compressors, ours: &Compression, frame: Bytes) -> Bytes {
        let Some((payload, binary)) = compressible(&frame, ours) else { return frame };
        let bits = self.params.server_max_window_bits;
        if bits < 9 {
            // zlib has no such window. A message may always be sent uncompressed.
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
            // The peer does not see what the window has seen.
            self.stale = true;
            return frame;
        }
        shared.frame(binary)
    }
}

impl Compressors {
    /// Compresses a message by itself. `None`: it does not shrink.
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

    /// A frame of what is in the scratch buffer.
    fn frame(&mut self, binary: bool) -> Bytes {
        let frame = frame::compressed(&self.scratch, binary);
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_SCRATCH);
        frame
    }
}

/// A message to many connections. It is compressed once for all that have the same size of window,
/// when the first of them receives it, and refers to no earlier message, so that it is understood by
/// those that keep their windows too.
#[derive(Debug)]
pub struct Fanout {
    plain: Bytes,
    /// With the window bits of each; the plain frame where it does not shrink.
    compressed: Vec<(u8, Bytes)>,
}

impl Fanout {
    /// `plain`: the message in one frame.
    #[must_use]
    pub fn new(plain: Bytes) -> Self {
        Self { plain, compressed: Vec::new() }
    }

    /// Bytes of the uncompressed frame.
    #[must_use]
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "no frame is empty")]
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// The frame for a connection. `ours`: the server's settings, if it compresses.
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
        // A plain frame does not touch the windows.
        compressor.stale |= frame::payload(&frame).is_none();
        frame
    }
}

fn compressible<'a>(frame: &'a [u8], ours: &Compression) -> Option<(&'a [u8], bool)> {
    // An empty message has nothing that a codec could flush.
    frame::payload(frame).filter(|(payload, _)| payload.len() >= ours.threshold.max(1))
}

fn compressor(ours: &Compression, bits: u8) -> Compress {
    Compress::new_with_window_bits(flate2::Compression::new(u32::from(ours.level)), false, bits)
}

/// Compresses a message as section 7.2.1 says: a flush ends it, the flush's last four bytes are
/// left out. False on an error of the codec, which there should be none of.
fn deflate(compressor: &mut Compress, mut payload: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    loop {
        out.reserve(payload.len() / 4 + 256);
        let before = compressor.total_in();
        if compressor.compress_vec(payload, out, FlushCompress::Sync).is_err() {
            return false;
        }
        payload = &payload[(compressor.total_in() - before) as usize..];
        // Room that is left over says that nothing waits in the codec.
        if payload.is_empty() && out.len() < out.capacity() {
            break;
        }
    }
    let whole = out.ends_with(&[0, 0, 0xff, 0xff]);
    out.truncate(out.len().saturating_sub(4));
    whole
}
