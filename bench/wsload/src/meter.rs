//! Times the warm-up and the measured period, and takes snapshots of the server at both ends.

use crate::options::Options;
use anyhow::{Context, Result};
use bench_common::procfs::{self, Snapshot};
use bench_common::report::{Latency, Noise, Report};
use bench_common::{Histogram, sys};

/// The result of [`Meter::step`].
#[derive(PartialEq, Eq)]
pub(crate) enum Step {
    /// Continue.
    Continue,
    /// The measured period begins; counts must be reset.
    Begin,
    /// The measured period ends.
    End,
}

/// Keeps the time of one run.
pub(crate) struct Meter {
    pids: Vec<i32>,
    begin_at: u64,
    end_at: u64,
    measured: u64,
    begin: Option<(Snapshot, u64)>,
    end: Option<(Snapshot, u64)>,
}

impl Meter {
    /// Starts the warm-up.
    pub(crate) fn start(options: &Options) -> Self {
        let begin_at = sys::now_ns() + options.warmup.as_nanos() as u64;
        let measured = options.measured.as_nanos() as u64;
        let end_at = begin_at + measured;
        Self { pids: options.pids.clone(), begin_at, end_at, measured, begin: None, end: None }
    }

    /// Checks the time; must be called in every turn.
    pub(crate) fn step(&mut self) -> Result<Step> {
        let now = sys::now_ns();
        if self.begin.is_none() && now >= self.begin_at {
            self.begin_now()?;
            return Ok(Step::Begin);
        }
        if self.end.is_none() && now >= self.end_at {
            self.end_now()?;
            return Ok(Step::End);
        }
        Ok(Step::Continue)
    }

    /// Begins the measured period.
    pub(crate) fn begin_now(&mut self) -> Result<()> {
        procfs::reset_peak(&self.pids);
        let snapshot = Snapshot::take(&self.pids)?;
        let now = sys::now_ns();
        self.end_at = now + self.measured;
        self.begin = Some((snapshot, now));
        Ok(())
    }

    /// Ends the measured period.
    pub(crate) fn end_now(&mut self) -> Result<()> {
        let now = sys::now_ns();
        self.end = Some((Snapshot::take(&self.pids)?, now));
        Ok(())
    }

    /// Milliseconds until the next step is due.
    pub(crate) fn timeout(&self) -> u64 {
        let due = if self.begin.is_none() { self.begin_at } else { self.end_at };
        due.saturating_sub(sys::now_ns()) / 1_000_000 + 1
    }

    /// The report for `messages` messages with these latencies (in nanoseconds).
    pub(crate) fn report(&self, mode: &str, messages: u64, latency: &Histogram) -> Result<Report> {
        let (begin, began) = self.begin.as_ref().context("nothing was measured")?;
        let (end, ended) = self.end.as_ref().context("nothing was measured")?;
        if messages == 0 {
            anyhow::bail!("no message arrived in the measured time");
        }
        let seconds = (ended - began) as f64 / 1e9;
        let spent = end.since(begin);
        let each = |cpu: f64| cpu * 1e6 / messages as f64;
        let percent = |cpu: f64| cpu / seconds * 100.0;
        Ok(Report {
            mode: mode.into(),
            seconds,
            messages,
            messages_per_second: messages as f64 / seconds,
            cpu_us: each(spent.user + spent.system),
            user_us: each(spent.user),
            system_us: each(spent.system),
            latency: Latency::of(latency),
            rss_kib: end.rss_kib,
            peak_kib: end.peak_kib,
            server_cpu_percent: percent(spent.user + spent.system),
            noise: Noise {
                client_cpu: percent(spent.client),
                other_cpu: percent(spent.other),
                steal: percent(spent.steal),
            },
            ..Report::default()
        })
    }
}
