//! permessage-deflate (RFC 7692) of one connection, and the codecs that the connections of a
//! thread share. The engine knows nothing of it: what is read goes through `inflate`, and what is
//! sent is compressed here into frames of our own.

use bytes::Bytes;
use flate2::{Compress, FlushCompress};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Compression;
use crate::extension::Params;
use crate::frame;
use crate::inflate::{Failure, Inflaters, Plain, Reader, Step};

/// What a compressor of 0 bits would take, measured (zlib-rs 0.6: 251,008 bytes at 9 bits,
/// 380,032 at 15, whatever the level).
const COMPRESSOR: usize = 248_960;
/// What an inflater takes, whatever its window (measured, too).
const INFLATER: usize = 47_552;
/// The scratch buffer does not keep more than this.
const KEPT_SCRATCH: usize = 256 << 10;

/// Memory for windows that connections keep, of one server.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    used: AtomicUsize,
}

/// A connection's share of it.
#[derive(Debug)]
pub(crate) struct Reservation {
    windows: Arc<Windows>,
    bytes: usize,
}

impl Windows {
    fn reserve(self: &Arc<Self>, bytes: usize, most: usize) -> Option<Reservation> {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|used| *used <= most)
            })
            .ok()
            .map(|_| Reservation { windows: self.clone(), bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.windows.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What a handshake has agreed on.
#[derive(Debug)]
pub(crate) struct Agreed {
    params: Params,
    reserved: Option<Reservation>,
}

impl Agreed {
    /// Takes the windows of these parameters from the memory for them. Where there is not enough,
    /// the connection keeps none.
    pub(crate) fn new(params: Params, windows: &Arc<Windows>, ours: &Compression) -> Self {
        let mut bytes = 0;
        if !params.server_no_context_takeover {
            bytes += COMPRESSOR + (4 << params.server_max_window_bits);
        }
        if !params.client_no_context_takeover {
            bytes += INFLATER;
        }
        if bytes == 0 {
            return Self { params, reserved: None };
        }
        match windows.reserve(bytes, ours.max_context_memory) {
            Some(reserved) => Self { params, reserved: Some(reserved) },
            None => Self { params: params.without_takeover(), reserved: None },
        }
    }

    pub(crate) fn answer(&self) -> String {
        self.params.answer()
    }
}

/// What the sessions of one thread share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) inflaters: Inflaters,
    /// With the window bits of each.
    compressors: Vec<(u8, Compress)>,
    scratch: Vec<u8>,
}

/// The extension on one connection.
#[derive(Debug)]
pub(crate) struct Deflate {
    reader: Reader,
    params: Params,
    /// Our window, if it outlives a message.
    compressor: Option<Box<Compress>>,
    /// The peer was sent a message that our window doesn't know: it must be forgotten.
    stale: bool,
    _reserved: Option<Reservation>,
}

impl Deflate {
    pub(crate) fn new(agreed: Agreed) -> Self {
        Self {
            reader: Reader::default(),
            params: agreed.params,
            compressor: None,
            stale: false,
            _reserved: agreed.reserved,
        }
    }

    /// See [`Reader::read`].
    pub(crate) fn read(
        &mut self,
        input: &mut &[u8],
        plain: &mut Plain,
        shared: &mut Shared,
        max: usize,
    ) -> Result<Step, Failure> {
        let keep = !self.params.client_no_context_takeover;
        self.reader.read(input, plain, &mut shared.inflaters, keep, max)
    }

    /// Whether there is more to read without input.
    pub(crate) fn is_full(&self) -> bool {
        self.reader.is_full()
    }

    /// See [`Reader::take_idle`].
    pub(crate) fn take_idle(&mut self) -> u32 {
        self.reader.take_idle()
    }

    /// See [`Reader::take_work`].
    pub(crate) fn take_work(&mut self) -> usize {
        self.reader.take_work()
    }

    /// Compresses a message for this peer alone. Gives the frame back as it is if it is not a
    /// message, too small, or does not shrink.
    pub(crate) fn compress(&mut self, shared: &mut Shared, ours: &Compression, frame: Bytes) -> Bytes {
        let Some((payload, binary)) = compressible(&frame, ours) else { return frame };
        let bits = self.params.server_max_window_bits;
        if bits < 9 {
            // The codec has no such window. A message may always go as it is.
            return frame;
        }
        if self.params.server_no_context_takeover {
            return shared.compress(bits, ours, payload, binary).unwrap_or(frame);
        }
        let compressor = self.compressor.get_or_insert_with(|| Box::new(compressor(ours, bits)));
        if std::mem::take(&mut self.stale) {
            compressor.reset();
        }
        if !deflate(compressor, payload, &mut shared.scratch) || shared.scratch.len() >= payload.len() {
            // The peer won't see what our window has seen.
            self.stale = true;
            return frame;
        }
        shared.frame(binary)
    }
}

impl Shared {
    /// `None` if it does not shrink.
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

/// A message for many: compressed once for all that have the same window, when the first of them
/// gets it. It refers to nothing before itself, so that those who keep windows understand it, too.
#[derive(Debug)]
pub(crate) struct Fanout {
    plain: Bytes,
    /// With the window bits of each; the plain frame where it does not shrink.
    compressed: Vec<(u8, Bytes)>,
}

impl Fanout {
    pub(crate) fn new(plain: Bytes) -> Self {
        Self { plain, compressed: Vec::new() }
    }

    /// Bytes, not compressed.
    pub(crate) fn len(&self) -> usize {
        self.plain.len()
    }

    /// The frame for a connection.
    pub(crate) fn frame(
        &mut self,
        deflate: Option<&mut Deflate>,
        shared: &mut Shared,
        ours: Option<&Compression>,
    ) -> Bytes {
        let (Some(deflate), Some(ours)) = (deflate, ours) else { return self.plain.clone() };
        let bits = deflate.params.server_max_window_bits;
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
        deflate.stale |= frame::payload(&frame).is_none();
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
