//! Whether a peer takes what it is sent.
//!
//! A deadline that may run only while a peer does nothing compares two samples of the connection.
//! Bytes that the kernel has taken are not bytes that the peer has: the send queue of a socket
//! grows to some MiB, a minute's work for a slow link. So the kernel is asked how much of them is
//! not acknowledged yet, but only when a deadline is about to act.

use std::os::fd::BorrowedFd;

/// Tells how many bytes of those written to a socket its peer has not acknowledged: `SIOCOUTQ` of
/// tcp(7).
pub type SendQueue = fn(BorrowedFd<'_>) -> std::io::Result<u64>;

/// Bytes that a peer must take in the time that a deadline allows, to get that time anew. A peer to
/// which no more than this is still to be sent needs no more time.
pub(crate) const LEAST_PROGRESS: u64 = 4 << 10;

/// More than what is left when a peer needs no more time: a write that waits is never the last.
pub(crate) const WAITING: usize = LEAST_PROGRESS as usize + 1;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Bytes that the peer has acknowledged; where the kernel does not tell, that it has taken.
    pub(crate) taken: u64,
    /// Bytes still to be acknowledged, those that wait for the kernel included.
    pub(crate) outstanding: u64,
}

/// The sample from which progress is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress(Sample);

impl Progress {
    /// Counts from here.
    pub(crate) fn begin(now: Sample) -> Self {
        Self(now)
    }

    /// Whether the peer has taken enough since to get its time anew; then it counts from here.
    /// `sample` is called only if enough was left to be taken.
    pub(crate) fn has_moved(&mut self, sample: impl FnOnce() -> Sample) -> bool {
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

    fn sample(taken: u64, outstanding: u64) -> Sample {
        Sample { taken, outstanding }
    }

    #[test]
    fn a_peer_that_takes_enough_gets_its_time_anew() {
        let mut progress = Progress::begin(sample(1000, 50_000));
        assert!(!progress.has_moved(|| sample(1000, 50_000)));
        assert!(!progress.has_moved(|| sample(1001, 49_999)), "a byte now and then is not enough");
        assert!(progress.has_moved(|| sample(1000 + LEAST_PROGRESS, 46_000)), "the bytes add up");
        assert!(!progress.has_moved(|| sample(1001 + LEAST_PROGRESS, 46_000)), "from there on");
    }

    #[test]
    fn the_time_begins_once_more_when_all_has_arrived_and_not_again() {
        let mut progress = Progress::begin(sample(0, LEAST_PROGRESS + 1));
        assert!(progress.has_moved(|| sample(1, LEAST_PROGRESS)));
        assert!(!progress.has_moved(|| panic!("nobody needs to know")));
        let mut progress = Progress::begin(sample(0, 10));
        assert!(!progress.has_moved(|| panic!("nobody needs to know")));
    }
}
