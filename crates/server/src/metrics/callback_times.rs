//! Measures the durations of the host's callbacks.
//!
//! Reading the exact clock costs 25 ns, which is 3 % of the cost of an echoed message at full load. (The
//! coarse clock costs 7 ns, and the processor's own counter 10 ns, but that one needs calibration and does
//! not exist everywhere.) Callbacks of up to 4 µs are therefore timed in runs of several, and share the time
//! of their run equally; a slow callback in a run is detected and counted as such. Sums and counts are exact,
//! and no callback spends more than 0.6 % of its own time on the clock. In all, counting a short message
//! costs about 75 instructions, of the 3,100 that the message takes outside of the kernel (callgrind).

use std::cell::Cell;

use crate::metrics::single::Single;

/// The kinds of callbacks that are timed separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the callbacks")]
pub enum Handler {
    Upgrade,
    Open,
    Message,
    Close,
    Drain,
    Pong,
    Request,
    Timer,
    Resume,
    Presence,
    Broker,
    Refused,
    Log,
}

impl Handler {
    /// All kinds, in the order of [`HandlerTimes::iter`].
    pub const ALL: [Handler; 13] = [
        Handler::Upgrade,
        Handler::Open,
        Handler::Message,
        Handler::Close,
        Handler::Drain,
        Handler::Pong,
        Handler::Request,
        Handler::Timer,
        Handler::Resume,
        Handler::Presence,
        Handler::Broker,
        Handler::Refused,
        Handler::Log,
    ];

    /// The name in lower case: `message`.
    pub fn name(self) -> &'static str {
        match self {
            Handler::Upgrade => "upgrade",
            Handler::Open => "open",
            Handler::Message => "message",
            Handler::Close => "close",
            Handler::Drain => "drain",
            Handler::Pong => "pong",
            Handler::Request => "request",
            Handler::Timer => "timer",
            Handler::Resume => "resume",
            Handler::Presence => "presence",
            Handler::Broker => "broker",
            Handler::Refused => "refused",
            Handler::Log => "log",
        }
    }
}

/// Upper bounds of the histogram's buckets, in nanoseconds and as Prometheus writes them. They range from
/// callbacks that only compute to callbacks that block the server for seconds.
pub(crate) const BOUNDS: [(u64, &str); 12] = [
    (10_000, "0.00001"),
    (100_000, "0.0001"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (1_000_000_000, "1"),
    (5_000_000_000, "5"),
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// The durations of one kind of callback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandlerTime {
    /// Number of callbacks in each bucket of the histogram, by [`BOUNDS`]; the last bucket is for those above
    /// all bounds.
    pub(crate) buckets: [u64; BUCKETS],
    /// Total duration in nanoseconds.
    pub nanos: u64,
}

impl HandlerTime {
    /// Number of callbacks.
    pub fn calls(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Total duration in seconds.
    pub fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }
}

/// The durations of all kinds of callbacks at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandlerTimes {
    pub(crate) kinds: [HandlerTime; Handler::ALL.len()],
    /// Nanoseconds since the current callback began; 0 if none is running.
    pub running: u64,
}

impl HandlerTimes {
    /// Adds the durations of another process. `running` becomes the longer of both.
    pub(crate) fn add(&mut self, other: &Self) {
        for (time, more) in self.kinds.iter_mut().zip(&other.kinds) {
            time.nanos += more.nanos;
            time.buckets.iter_mut().zip(more.buckets).for_each(|(n, more)| *n += more);
        }
        self.running = self.running.max(other.running);
    }

    /// Encodes the durations as numbers, for transfer to another process.
    pub(crate) fn values(&self) -> impl Iterator<Item = u64> {
        let kinds = self.kinds.iter().flat_map(|time| time.buckets.into_iter().chain([time.nanos]));
        kinds.chain([self.running])
    }

    /// Decodes what [`HandlerTimes::values`] returned; `next` returns one number after the other.
    pub(crate) fn from_values(next: &mut impl FnMut() -> u64) -> Self {
        let mut times = Self::default();
        for time in &mut times.kinds {
            time.buckets.iter_mut().chain([&mut time.nanos]).for_each(|n| *n = next());
        }
        times.running = next();
        times
    }

    /// Returns each kind with its durations.
    pub fn iter(&self) -> impl Iterator<Item = (Handler, &HandlerTime)> {
        Handler::ALL.into_iter().zip(&self.kinds)
    }
}

/// The live values behind [`HandlerTimes`]. Only the host's thread writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Handlers {
    kinds: [Durations; Handler::ALL.len()],
    /// When the current callback began, by the clock of the stopwatch; 0 if none is running.
    began: Single,
}

/// The durations of one kind of callback.
#[derive(Debug, Default)]
struct Durations {
    buckets: [Single; BUCKETS],
    nanos: Single,
}

impl Durations {
    /// Counts `calls` callbacks of `each` nanoseconds.
    fn count(&self, calls: u64, each: u64) {
        let bucket = BOUNDS.iter().position(|(bound, _)| each <= *bound).unwrap_or(BUCKETS - 1);
        self.buckets[bucket].add(calls);
    }
}

impl Handlers {
    /// Reads all values; `now` is the time by the clock of the stopwatch.
    pub(crate) fn read(&self, now: u64) -> HandlerTimes {
        let mut times = HandlerTimes::default();
        for (time, kind) in times.kinds.iter_mut().zip(&self.kinds) {
            time.nanos = kind.nanos.read();
            for (n, bucket) in time.buckets.iter_mut().zip(&kind.buckets) {
                *n = bucket.read();
            }
        }
        let began = self.began.read();
        times.running = if began == 0 { 0 } else { now.saturating_sub(began) };
        times
    }
}

/// Longest average duration, in nanoseconds, of callbacks that are timed in runs.
const QUICK: u64 = 4_000;
/// Most callbacks in one run.
const RUN: u32 = 8;

/// Times consecutive callbacks on the host's thread.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    /// Start of the current run, in nanoseconds; 0 if nothing is timed. The clock never returns 0.
    since: Cell<u64>,
    /// The kind of the callbacks in the run.
    kind: Cell<Handler>,
    /// The number of callbacks that have ended in the run.
    count: Cell<u32>,
    /// Whether a callback is running.
    running: Cell<bool>,
    /// Average duration of the callbacks in the last run, in nanoseconds; 0 if they were not quick.
    typical: Cell<u64>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        Self {
            since: Cell::new(0),
            kind: Cell::new(Handler::Message),
            count: Cell::new(0),
            running: Cell::new(false),
            typical: Cell::new(0),
        }
    }
}

impl Stopwatch {
    /// Starts timing: callbacks follow each other until [`Stopwatch::pause`].
    pub(crate) fn start(&self, clock: impl FnOnce() -> u64, times: &Handlers) {
        if self.since.get() == 0 {
            let now = clock();
            self.since.set(now);
            times.began.set(now);
        }
    }

    /// Records that a callback begins.
    pub(crate) fn begin(&self, handler: Handler, clock: impl Fn() -> u64, times: &Handlers) {
        self.start(&clock, times);
        if self.kind.get() != handler {
            if self.count.get() > 0 {
                self.split(clock(), times);
            }
            self.kind.set(handler);
        }
        self.running.set(true);
    }

    /// Records that the current callback, if there is one, has ended. `late` means that a coarse clock has
    /// advanced meanwhile, so the callback may have been slow.
    pub(crate) fn end(&self, late: bool, clock: impl FnOnce() -> u64, times: &Handlers) {
        if !self.running.replace(false) {
            return;
        }
        let count = self.count.get() + 1;
        self.count.set(count);
        if late || self.typical.get() == 0 || count == RUN {
            self.split(clock(), times);
        }
    }

    /// Ends the run at `now`, and counts its callbacks.
    fn split(&self, now: u64, times: &Handlers) {
        let took = now.saturating_sub(self.since.replace(now));
        times.began.set(now);
        let count = u64::from(self.count.replace(0));
        let kind = &times.kinds[self.kind.get() as usize];
        kind.nanos.add(took);
        if took <= count * QUICK {
            let each = (took / count).max(1);
            self.typical.set(each);
            return kind.count(count, each);
        }
        // One callback was slow; the others are counted with the average of the last run.
        let typical = self.typical.replace(0);
        let quick = (count - 1) * typical;
        if count > 1 {
            kind.count(count - 1, typical);
        }
        kind.count(1, took.saturating_sub(quick));
    }

    /// Stops timing, because no callback follows for now.
    pub(crate) fn pause(&self, clock: impl FnOnce() -> u64, times: &Handlers) {
        if self.count.get() > 0 {
            self.split(clock(), times);
        }
        self.running.set(false);
        self.since.set(0);
        times.began.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stopwatch whose clock the test sets, and which counts the readings of the clock.
    #[derive(Default)]
    struct Rig {
        watch: Stopwatch,
        times: Handlers,
        now: u64,
        readings: Cell<u32>,
    }

    impl Rig {
        fn call(&mut self, handler: Handler, took: u64) {
            let clock = |at| {
                move |readings: &Cell<u32>| {
                    readings.set(readings.get() + 1);
                    at
                }
            };
            let at = clock(self.now);
            self.watch.begin(handler, || at(&self.readings), &self.times);
            self.now += took;
            let at = clock(self.now);
            self.watch.end(took > 4_000_000, || at(&self.readings), &self.times);
        }

        fn pause(&mut self) -> HandlerTimes {
            self.watch.pause(|| self.now, &self.times);
            self.times.read(self.now)
        }

        fn started() -> Self {
            let rig = Self { now: 5, ..Self::default() };
            rig.watch.start(|| 5, &rig.times);
            rig
        }
    }

    #[test]
    fn quick_callbacks_are_timed_together_and_sums_are_exact() {
        let mut rig = Rig::started();
        (0..801).for_each(|_| rig.call(Handler::Message, 900));
        assert_eq!(rig.readings.get(), 1 + 100);
        let time = rig.pause().kinds[Handler::Message as usize];
        assert_eq!((time.calls(), time.nanos), (801, 801 * 900));
        assert_eq!(time.buckets[0], 801);
    }

    #[test]
    fn a_slow_callback_among_quick_ones_is_detected() {
        for slow in [300_000, 3_000_000, 30_000_000] {
            let mut rig = Rig::started();
            (0..4).for_each(|_| rig.call(Handler::Message, 1000));
            rig.call(Handler::Message, slow);
            (0..20).for_each(|_| rig.call(Handler::Message, 1000));
            let time = rig.pause().kinds[Handler::Message as usize];
            assert_eq!((time.calls(), time.nanos), (25, 24_000 + slow));
            let bucket = BOUNDS.iter().position(|(bound, _)| slow <= *bound).unwrap();
            assert_eq!((time.buckets[0], time.buckets[bucket]), (24, 1));
        }
    }

    #[test]
    fn slow_callbacks_are_timed_one_by_one() {
        let mut rig = Rig::started();
        (0..10).for_each(|i| rig.call(Handler::Timer, 20_000 << i));
        assert_eq!(rig.readings.get(), 10);
        let time = rig.pause().kinds[Handler::Timer as usize];
        assert_eq!(time.buckets[..8], [0, 3, 3, 1, 1, 1, 1, 0]);
        assert_eq!(time.nanos, 20_000 * 1023);
    }

    #[test]
    fn kinds_are_counted_separately() {
        let mut rig = Rig::started();
        for _ in 0..5 {
            rig.call(Handler::Open, 3000);
            rig.call(Handler::Message, 1000);
            rig.call(Handler::Message, 1000);
        }
        let times = rig.pause();
        let of = |handler| times.kinds[handler as usize];
        assert_eq!((of(Handler::Open).calls(), of(Handler::Open).nanos), (5, 15_000));
        assert_eq!((of(Handler::Message).calls(), of(Handler::Message).nanos), (10, 10_000));
    }

    #[test]
    fn a_running_callback_is_reported_while_it_runs() {
        let mut rig = Rig::started();
        assert_eq!(rig.times.read(1005).running, 1000);
        rig.call(Handler::Message, 50_000);
        assert_eq!(rig.times.read(60_005).running, 10_000);
        assert_eq!(rig.pause().running, 0);
    }

    #[test]
    fn an_end_without_a_beginning_is_not_counted() {
        let mut rig = Rig::started();
        rig.watch.end(true, || 9000, &rig.times);
        assert_eq!(rig.pause(), HandlerTimes::default());
    }
}
