//! Accounting of the memory for windows that connections keep between messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::negotiation::{Compressed, Compression, Params};

/// Size of a compressor without its window in bytes, extrapolated from measurements (zlib-rs 0.6:
/// 251,008 bytes at 9 bits, 380,032 at 15, at every level).
const COMPRESSOR: usize = 248_960;
/// Size of an inflater in bytes, the same for every window size (measured too).
const INFLATER: usize = 47_552;
/// Total memory of the windows that the connections of one server keep. All handshakes share it.
#[derive(Debug, Default)]
pub struct Windows {
    used: AtomicUsize,
}

/// A connection's share of the memory in [`Windows`], released on drop.
#[derive(Debug)]
pub(super) struct Reservation {
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

/// The negotiated parameters of one connection, and the reservation of the memory that they need.
#[derive(Debug)]
pub struct Agreed {
    pub(super) params: Params,
    pub(super) reserved: Option<Reservation>,
}

impl Agreed {
    /// Reserves the memory for the windows of these parameters. If the limit does not allow it, the
    /// connection uses no context takeover and keeps no windows.
    #[must_use]
    pub fn new(params: Params, windows: &Arc<Windows>, ours: &Compression) -> Self {
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

    /// The value of `Sec-WebSocket-Extensions` in the response.
    #[must_use]
    pub fn answer(&self) -> String {
        self.params.answer()
    }

    /// The kind of compressed messages that the decoder must accept from the client.
    #[must_use]
    pub fn client_sends(&self) -> Compressed {
        if self.params.client_no_context_takeover { Compressed::Alone } else { Compressed::WithContext }
    }
}
