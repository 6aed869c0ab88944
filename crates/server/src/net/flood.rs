//! Detection of frame floods: empty or control frames in numbers that no real client needs.
//!
//! Control frames, empty fragments and the like cost the server more work than their sender. A client may
//! send a burst of them, and a limited rate indefinitely. A connection that sends more is closed with 1008
//! (policy violation), or over HTTP/2 with `ENHANCE_YOUR_CALM` (RFC 9113 section 10.5).

use std::time::Duration;

/// Frames allowed in one burst. Browsers send no such frames and libraries a few a minute, but a program that
/// measures round trips with pings, one at a time, needs more than ten thousand a second.
const BURST: i32 = 10_000;
/// Frames per second that a client may send indefinitely.
const RATE: i32 = 1_000;
/// Number of frames after which the clock is read and the count is reduced.
const CHECK_EVERY: i32 = 1_000;

/// A leaky bucket for one connection: the frames it has sent, less [`RATE`] for each second that has passed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Flood {
    /// Fill level in frames. Negative while the peer may still send frames granted by [`Flood::allow`].
    frames: i32,
    /// When `frames` was last reduced, in milliseconds since the caller's fixed moment. Wraps.
    drained_at: u32,
}

impl Flood {
    /// Counts `frames` more, and returns true if the client floods the connection. `now` returns the time
    /// since a fixed moment; it is called only once every [`CHECK_EVERY`] frames.
    pub(crate) fn add(&mut self, frames: u32, now: impl FnOnce() -> Duration) -> bool {
        let before = self.frames;
        self.frames = before.saturating_add_unsigned(frames);
        if self.frames < CHECK_EVERY || before / CHECK_EVERY == self.frames / CHECK_EVERY {
            return false;
        }
        let now = now().as_millis() as u32;
        let passed = now.wrapping_sub(std::mem::replace(&mut self.drained_at, now));
        let drained = i64::from(passed) * i64::from(RATE) / 1000;
        self.frames = (i64::from(self.frames) - drained).max(0) as i32;
        self.frames > BURST
    }

    /// Grants the peer `frames` more, in return for data sent or received that justifies them.
    pub(crate) fn allow(&mut self, frames: u32) {
        self.frames = self.frames.saturating_sub_unsigned(frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `frames` one at a time, all at the same moment. Returns true if they were too many.
    fn burst(flood: &mut Flood, frames: i32, now: Duration) -> bool {
        (0..frames).any(|_| flood.add(1, || now))
    }

    #[test]
    fn a_burst_is_allowed_and_more_is_a_flood() {
        let now = Duration::from_secs(1000);
        assert!(!burst(&mut Flood::default(), BURST, now));
        assert!(burst(&mut Flood::default(), BURST + 3 * CHECK_EVERY, now));
        assert!(
            Flood::default().add(2 * BURST.unsigned_abs(), || Duration::ZERO),
            "frames counted in one call are a flood too"
        );
    }

    #[test]
    fn a_steady_rate_is_allowed_for_ever() {
        let mut flood = Flood::default();
        let mut frames = |per_second: i32, seconds: u32| {
            (0..seconds).any(|second| burst(&mut flood, per_second, Duration::from_secs(second.into())))
        };
        assert!(!frames(RATE, 10_000));
        assert!(frames(3 * RATE, 30));
    }

    #[test]
    fn the_clock_is_read_seldom() {
        let mut flood = Flood::default();
        let mut reads = 0;
        (0..5 * CHECK_EVERY).for_each(|_| {
            flood.add(1, || {
                reads += 1;
                Duration::ZERO
            });
        });
        assert_eq!(reads, 5);
    }

    #[test]
    fn granted_frames_are_no_flood() {
        let mut flood = Flood::default();
        for _ in 0..10 * BURST {
            assert!(!flood.add(1, || Duration::ZERO));
            flood.allow(1);
        }
        flood.allow(5 * BURST.unsigned_abs());
        assert!(!burst(&mut flood, 5 * BURST, Duration::ZERO), "frames may be granted in advance");
    }
}
