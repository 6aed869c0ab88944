//! The result of one measurement, the same for every kind of load.

use crate::histogram::Histogram;
use serde::{Deserialize, Serialize};

/// One measurement of one server. Times are in microseconds, memory in KiB.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// `echo`, `fanout`, `chat`, `idle`, `handshakes`.
    pub mode: String,
    /// Connections that took part.
    pub connections: usize,
    /// Measured time in seconds.
    pub seconds: f64,
    /// Replies, deliveries or handshakes in that time.
    pub messages: u64,
    /// `messages` per second of the measured time.
    pub messages_per_second: f64,
    /// CPU time of the server's processes per message, kernel included.
    pub cpu_us: f64,
    /// The part of `cpu_us` in user space.
    pub user_us: f64,
    /// The part of `cpu_us` in the kernel.
    pub system_us: f64,
    /// Latency of a reply, a delivery, or a handshake.
    pub latency: Latency,
    /// Resident memory of the server's processes at the end.
    pub rss_kib: u64,
    /// Peak of that memory during the measured time.
    pub peak_kib: u64,
    /// Resident memory that each connection added (`idle`).
    pub kib_per_connection: Option<f64>,
    /// CPU time of the server in percent of one core, over the measured time.
    pub server_cpu_percent: f64,
    /// Number of keep-alive pings answered.
    pub pings: u64,
    /// Number of deliveries that did not arrive.
    pub lost: u64,
    /// Number of deliveries out of order.
    pub out_of_order: u64,
    /// Messages of a fixed rate that were not sent, because too many were in flight.
    pub skipped: u64,
    /// Other activity on the machine.
    pub noise: Noise,
}

/// Quantiles of the latency, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Maximum.
    pub max: f64,
}

/// Other CPU use, in percent of one core.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Noise {
    /// CPU use of the load generator.
    pub client_cpu: f64,
    /// CPU use of every process that is neither server nor load generator.
    pub other_cpu: f64,
    /// Time that the hypervisor gave to other machines.
    pub steal: f64,
}

impl Latency {
    /// Converts a histogram of nanoseconds.
    pub fn of(histogram: &Histogram) -> Self {
        let us = |q| histogram.quantile(q) as f64 / 1e3;
        Self { p50: us(0.5), p99: us(0.99), p999: us(0.999), max: histogram.max() as f64 / 1e3 }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0}/s  CPU {:.2} us (user {:.2}, system {:.2})  latency p50 {:.0} p99 {:.0} p99.9 {:.0} us  memory {:.1} peak {:.1} MiB",
            self.messages_per_second,
            self.cpu_us,
            self.user_us,
            self.system_us,
            self.latency.p50,
            self.latency.p99,
            self.latency.p999,
            self.rss_kib as f64 / 1024.0,
            self.peak_kib as f64 / 1024.0,
        )?;
        if let Some(kib) = self.kib_per_connection {
            write!(f, " ({kib:.2} KiB a connection)")?;
        }
        for (n, what) in [
            (self.pings, "pings answered"),
            (self.lost, "LOST"),
            (self.out_of_order, "OUT OF ORDER"),
            (self.skipped, "skipped"),
        ] {
            if n > 0 {
                write!(f, "  {n} {what}")?;
            }
        }
        write!(
            f,
            "  [client {:.0} %, others {:.0} %, steal {:.1} %]",
            self.noise.client_cpu, self.noise.other_cpu, self.noise.steal
        )
    }
}
