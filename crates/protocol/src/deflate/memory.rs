//! How much memory the windows of connections may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::negotiation::{Compressed, Compression, Params};

/// Bytes of a compressor beside its window, extrapolated from measurements (zlib-rs 0.6: 251,008 bytes
/// at 9 bits, 380,032 at 15, at every level).
const COMPRESSOR: usize = 248_960;
/// Bytes of an inflater, whatever its window (measured too).
const INFLATER: usize = 47_552;
/// Counts the memory of all windows that the connections of one server keep.
#[derive(Debug, Default)]
pub struct Windows {
    used: AtomicUsize,
}

/// A connection's part of that memory, given back when it is dropped.
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

/// What a handshake has agreed on, with the memory for it.
#[derive(Debug)]
pub struct Agreed {
    pub(super) params: Params,
    pub(super) reserved: Option<Reservation>,
}

impl Agreed {
    /// Reserves the memory for the windows of these parameters. If there is not enough, the connection
    /// keeps none.
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

    /// What a decoder must expect of the client.
    #[must_use]
    pub fn client_sends(&self) -> Compressed {
        if self.params.client_no_context_takeover { Compressed::Alone } else { Compressed::WithContext }
    }
}
