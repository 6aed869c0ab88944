//! How much an I/O thread delivers before it looks at its sockets.

/// What may be delivered before the sockets have their turn again: some milliseconds of work; and
/// a fraction of what may wait for a peer by default, so that it is written before it is too much.
#[derive(Debug)]
pub(super) struct Turn {
    /// Bytes of publications, each at least 4 a delivery.
    left: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Self { left: 256 << 10 }
    }
}

impl Turn {
    pub(super) fn count(&mut self, deliveries: usize, bytes: usize) {
        self.left = self.left.saturating_sub(bytes.max(4 * deliveries));
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }
}
