//! How long the host's callbacks take.
//!
//! Reading the exact clock costs 25 ns, which is 3 % of what an echoed message costs at full load
//! (the coarse clock 7, the processor's own counter 10, but that one needs calibration and does not
//! exist everywhere). So callbacks that take no more than 4 µs are timed several at a time,
//! and share what that took; a slow one among them is found out and counted as such. Sums and
//! counts are exact, and no callback pays more than 0.6 % of its own time for the clock. With all that
//! belongs to it, counting a quick message costs about 75 instructions of the 3,100 that it takes
//! outside of the kernel (callgrind).

use std::cell::Cell;

use crate::metrics::single::Single;

/// What a callback of the host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "their names say it")]
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
    /// All of them, in the order of [`HandlerTimes::iter`].
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

    /// In lower case: `message`.
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

/// Upper bounds of the histogram's buckets in nanoseconds, and as Prometheus writes them. From a
/// callback that only computes to one that must not be.
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

/// The times of one kind of callback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandlerTime {
    /// How many took at most so long, by the buckets of the histogram; the last one is for those
    /// beyond all bounds.
    pub(crate) buckets: [u64; BUCKETS],
    /// Sum, in nanoseconds.
    pub nanos: u64,
}

impl HandlerTime {
    /// How many there were.
    pub fn calls(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What they took together.
    pub fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }
}

/// A reading of the times of all kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandlerTimes {
    pub(crate) kinds: [HandlerTime; Handler::ALL.len()],
    /// For how many nanoseconds the callback that runs now has been running; 0: none does.
    pub running: u64,
}

impl HandlerTimes {
    /// Adds what others took. The callback that has been running longest is the one of both.
    pub(crate) fn add(&mut self, other: &Self) {
        for (time, more) in self.kinds.iter_mut().zip(&other.kinds) {
            time.nanos += more.nanos;
            time.buckets.iter_mut().zip(more.buckets).for_each(|(n, more)| *n += more);
        }
        self.running = self.running.max(other.running);
    }

    /// As numbers, for the way to another process.
    pub(crate) fn values(&self) -> impl Iterator<Item = u64> {
        let kinds = self.kinds.iter().flat_map(|time| time.buckets.into_iter().chain([time.nanos]));
        kinds.chain([self.running])
    }

    /// From there.
    pub(crate) fn from_values(next: &mut impl FnMut() -> u64) -> Self {
        let mut times = Self::default();
        for time in &mut times.kinds {
            time.buckets.iter_mut().chain([&mut time.nanos]).for_each(|n| *n = next());
        }
        times.running = next();
        times
    }

    /// Each kind with its times.
    pub fn iter(&self) -> impl Iterator<Item = (Handler, &HandlerTime)> {
        Handler::ALL.into_iter().zip(&self.kinds)
    }
}

/// The live figures behind [`HandlerTimes`]. Only the host writes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Handlers {
    kinds: [Kind; Handler::ALL.len()],
    /// When the callback that runs now began, by the clock of the stopwatch; 0: none does.
    began: Single,
}

#[derive(Debug, Default)]
struct Kind {
    buckets: [Single; BUCKETS],
    nanos: Single,
}

impl Kind {
    /// Calls that took `each` nanoseconds.
    fn count(&self, calls: u64, each: u64) {
        let bucket = BOUNDS.iter().position(|(bound, _)| each <= *bound).unwrap_or(BUCKETS - 1);
        self.buckets[bucket].add(calls);
    }
}

impl Handlers {
    /// `now` by the clock of the stopwatch.
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

/// A callback that takes no longer, in nanoseconds, is timed together with others.
const QUICK: u64 = 4_000;
/// So many at most.
const RUN: u32 = 8;

/// Times one callback after the other on the host's thread.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    /// When the run that is being timed began, in nanoseconds; 0: nothing is timed. The clock
    /// never says 0.
    since: Cell<u64>,
    /// The kind of the callbacks in it, and how many have ended.
    kind: Cell<Handler>,
    count: Cell<u32>,
    /// One is running.
    running: Cell<bool>,
    /// What each callback of the last run took; 0: they were not quick.
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
    /// There is something to do: callbacks follow each other from here on, until [`Stopwatch::pause`].
    pub(crate) fn start(&self, clock: impl FnOnce() -> u64, times: &Handlers) {
        if self.since.get() == 0 {
            let now = clock();
            self.since.set(now);
            times.began.set(now);
        }
    }

    /// A callback begins.
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

    /// It has ended, if one began. `late`: a coarse clock has moved on meanwhile, so that it need
    /// not have been quick.
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

    /// Counts what has ended until now.
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
        // One was slow, and the others were as quick as those before.
        let typical = self.typical.replace(0);
        let quick = (count - 1) * typical;
        if count > 1 {
            kind.count(count - 1, typical);
        }
        kind.count(1, took.saturating_sub(quick));
    }

    /// No callback runs any more.
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

    /// A stopwatch over a clock that the test sets, which counts how often it is asked.
    #[derive(Default)]
    struct Rig {
        watch: Stopwatch,
        times: Handlers,
        now: u64,
        asked: Cell<u32>,
    }

    impl Rig {
        fn call(&mut self, handler: Handler, took: u64) {
            let clock = |at| {
                move |asked: &Cell<u32>| {
                    asked.set(asked.get() + 1);
                    at
                }
            };
            let at = clock(self.now);
            self.watch.begin(handler, || at(&self.asked), &self.times);
            self.now += took;
            let at = clock(self.now);
            self.watch.end(took > 4_000_000, || at(&self.asked), &self.times);
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
        assert_eq!(rig.asked.get(), 1 + 100);
        let time = rig.pause().kinds[Handler::Message as usize];
        assert_eq!((time.calls(), time.nanos), (801, 801 * 900));
        assert_eq!(time.buckets[0], 801);
    }

    #[test]
    fn a_slow_one_among_quick_ones_is_found() {
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
    fn slow_ones_are_timed_each() {
        let mut rig = Rig::started();
        (0..10).for_each(|i| rig.call(Handler::Timer, 20_000 << i));
        assert_eq!(rig.asked.get(), 10);
        let time = rig.pause().kinds[Handler::Timer as usize];
        assert_eq!(time.buckets[..8], [0, 3, 3, 1, 1, 1, 1, 0]);
        assert_eq!(time.nanos, 20_000 * 1023);
    }

    #[test]
    fn kinds_are_kept_apart() {
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
    fn what_hangs_is_seen_while_it_hangs() {
        let mut rig = Rig::started();
        assert_eq!(rig.times.read(1005).running, 1000);
        rig.call(Handler::Message, 50_000);
        assert_eq!(rig.times.read(60_005).running, 10_000);
        assert_eq!(rig.pause().running, 0);
    }

    #[test]
    fn what_never_ran_is_not_counted() {
        let mut rig = Rig::started();
        rig.watch.end(true, || 9000, &rig.times);
        assert_eq!(rig.pause(), HandlerTimes::default());
    }
}
