//! Floods: frames that carry nothing, in numbers for which no client has a use.
//!
//! Control frames, empty fragments and the like cost the server more than their sender. A client
//! may send a burst of them and a rate for as long as it likes; one that sends more is closed with
//! 1008 (policy violation), an HTTP/2 connection with `ENHANCE_YOUR_CALM` (RFC 9113 section 10.5).

use std::time::Duration;

/// Frames that may come at once. Browsers send none, libraries a few in a minute; a program that
/// measures round trips with pings, one at a time, needs more than ten thousand a second.
const BURST: i32 = 10_000;
/// Frames per second that may come for ever.
const RATE: i32 = 1_000;
/// Frames after which the clock is read.
const LOOK: i32 = 1_000;

/// How many such frames a connection has sent, less those that time has forgiven.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Flood {
    /// Negative where the peer has a reason for frames that are yet to come.
    frames: i32,
    /// When they were last forgiven, in milliseconds of the caller's clock.
    forgiven_at: u32,
}

impl Flood {
    /// Counts `frames` more. True: these are too many. `now` is read seldom: it is the time since a
    /// fixed moment.
    pub(crate) fn add(&mut self, frames: u32, now: impl FnOnce() -> Duration) -> bool {
        let before = self.frames;
        self.frames = before.saturating_add_unsigned(frames);
        if self.frames < LOOK || before / LOOK == self.frames / LOOK {
            return false;
        }
        let now = now().as_millis() as u32;
        let passed = now.wrapping_sub(std::mem::replace(&mut self.forgiven_at, now));
        let forgiven = i64::from(passed) * i64::from(RATE) / 1000;
        self.frames = (i64::from(self.frames) - forgiven).max(0) as i32;
        self.frames > BURST
    }

    /// Takes frames off the count, or allows as many more: the peer has sent, or was sent, something
    /// that they are in proportion to.
    pub(crate) fn allow(&mut self, frames: u32) {
        self.frames = self.frames.saturating_sub_unsigned(frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `frames` in one burst, one at a time. True: they were too many.
    fn burst(flood: &mut Flood, frames: i32, now: Duration) -> bool {
        (0..frames).any(|_| flood.add(1, || now))
    }

    #[test]
    fn a_burst_is_allowed_and_then_it_is_a_flood() {
        let now = Duration::from_secs(1000);
        assert!(!burst(&mut Flood::default(), BURST, now));
        assert!(burst(&mut Flood::default(), BURST + 3 * LOOK, now));
        assert!(
            Flood::default().add(2 * BURST.unsigned_abs(), || Duration::ZERO),
            "also if they are counted together"
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
        (0..5 * LOOK).for_each(|_| {
            flood.add(1, || {
                reads += 1;
                Duration::ZERO
            });
        });
        assert_eq!(reads, 5);
    }

    #[test]
    fn what_has_a_reason_is_no_flood() {
        let mut flood = Flood::default();
        for _ in 0..10 * BURST {
            assert!(!flood.add(1, || Duration::ZERO));
            flood.allow(1);
        }
        flood.allow(5 * BURST.unsigned_abs());
        assert!(!burst(&mut flood, 5 * BURST, Duration::ZERO), "the reason may come first");
    }
}
