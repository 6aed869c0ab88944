//! The budget of deliveries that an I/O thread makes before it serves its sockets again.

/// The budget of one turn. It amounts to a few milliseconds of work, and to a fraction of the default
/// send buffer limit, so that a peer's frames are written before they reach the limit.
#[derive(Debug)]
pub(super) struct Turn {
    /// Remaining bytes. A publication costs its length, but at least 4 bytes for each recipient.
    left: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Self { left: 256 << 10 }
    }
}

impl Turn {
    /// Charges a publication of `bytes` to `deliveries` recipients.
    pub(super) fn count(&mut self, deliveries: usize, bytes: usize) {
        self.left = self.left.saturating_sub(bytes.max(4 * deliveries));
    }

    /// Whether the budget is used up.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }
}
