//! Measures whether a peer takes the data sent to it.
//!
//! A deadline for a peer that takes nothing compares two samples of its connection. Bytes that the kernel has
//! accepted have not necessarily reached the peer: the send queue of a socket grows to some MiB, which takes
//! a slow link a minute. The kernel is therefore asked for the number of bytes not acknowledged yet, but only
//! when a deadline is about to expire.

use std::os::fd::BorrowedFd;

/// Returns how many of the bytes written to a socket its peer has not acknowledged: `SIOCOUTQ` of tcp(7).
pub type SendQueue = fn(BorrowedFd<'_>) -> std::io::Result<u64>;

/// Bytes that a peer must take within a deadline for the deadline to start again. A peer that has no more
/// than this left to take gets no further extension.
pub(crate) const LEAST_PROGRESS: u64 = 4 << 10;

/// Stands for data that waits for room in the socket, where its size is unknown: large enough for the
/// deadline to be extended.
pub(crate) const WAITING: usize = LEAST_PROGRESS as usize + 1;

/// A snapshot of the output of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OutputSnapshot {
    /// Bytes that the peer has acknowledged, or where the kernel does not report it, bytes that the kernel
    /// has accepted.
    pub(crate) taken: u64,
    /// Bytes not acknowledged yet, including those not yet written to the socket.
    pub(crate) outstanding: u64,
}

/// Progress of a peer since an earlier sample.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress(OutputSnapshot);

impl Progress {
    /// Measures progress from `now` on.
    pub(crate) fn begin(now: OutputSnapshot) -> Self {
        Self(now)
    }

    /// Whether the peer has taken enough since the last sample for its deadline to start again. If so,
    /// progress is measured from the new sample on. `sample` is called only if more than [`LEAST_PROGRESS`]
    /// was outstanding.
    pub(crate) fn has_moved(&mut self, sample: impl FnOnce() -> OutputSnapshot) -> bool {
        if self.0.outstanding <= LEAST_PROGRESS {
            return false;
        }
        let now = sample();
        let moved =
            now.taken.saturating_sub(self.0.taken) >= LEAST_PROGRESS || now.outstanding <= LEAST_PROGRESS;
        if moved {
            self.0 = now;
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(taken: u64, outstanding: u64) -> OutputSnapshot {
        OutputSnapshot { taken, outstanding }
    }

    #[test]
    fn enough_progress_restarts_the_deadline() {
        let mut progress = Progress::begin(sample(1000, 50_000));
        assert!(!progress.has_moved(|| sample(1000, 50_000)));
        assert!(!progress.has_moved(|| sample(1001, 49_999)), "single bytes are not enough");
        assert!(progress.has_moved(|| sample(1000 + LEAST_PROGRESS, 46_000)), "bytes taken add up");
        assert!(
            !progress.has_moved(|| sample(1001 + LEAST_PROGRESS, 46_000)),
            "progress is measured from the last extension"
        );
    }

    #[test]
    fn the_deadline_restarts_only_once_when_little_is_outstanding() {
        let mut progress = Progress::begin(sample(0, LEAST_PROGRESS + 1));
        assert!(progress.has_moved(|| sample(1, LEAST_PROGRESS)));
        assert!(!progress.has_moved(|| panic!("no sample is needed")));
        let mut progress = Progress::begin(sample(0, 10));
        assert!(!progress.has_moved(|| panic!("no sample is needed")));
    }
}
