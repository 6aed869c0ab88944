//! A counter that a single thread writes and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer, which therefore needs no locked instruction. Two concurrent writers would lose
/// updates.
#[derive(Debug, Default)]
pub(crate) struct Single(AtomicU64);

impl Single {
    pub(crate) fn add(&self, n: u64) {
        self.set(self.0.load(Ordering::Relaxed).wrapping_add(n));
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
