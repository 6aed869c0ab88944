//! The rows of the table, each of which is one workload.

use bench_common::report::Report;
use serde::{Deserialize, Serialize};

/// The figure by which a row compares servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Key {
    /// CPU time of the server per message.
    Cpu,
    /// Median latency.
    Latency,
    /// Resident memory that a connection adds.
    Memory,
}

/// The target for Sprocket in a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// At most this many times the figure of `raw` in the same round.
    TimesRaw(f64),
    /// At most this value, in the unit of the figure.
    AtMost(f64),
}

/// One row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Mode of the server: `echo`, `fan` or `chat`.
    pub(crate) mode: &'static str,
    /// Arguments of the load generator, without those common to all rows.
    pub(crate) load: &'static str,
    pub(crate) key: Key,
    pub(crate) target: Option<Target>,
    /// Whether to send at half the rate that the same server has just reached.
    pub(crate) half_load: bool,
}

const fn row(name: &'static str, title: &'static str, mode: &'static str, load: &'static str) -> Row {
    Row { name, title, mode, load, key: Key::Cpu, target: None, half_load: false }
}

const fn times_raw(row: Row, factor: f64) -> Row {
    Row { target: Some(Target::TimesRaw(factor)), ..row }
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    times_raw(row("echo-32", "Echo, 32 B, 1 in flight, 100 connections", "echo", "echo --window 1"), 1.25),
    times_raw(
        row("echo-32-16", "Echo, 32 B, 16 in flight, 100 connections", "echo", "echo --window 16"),
        2.0,
    ),
    row("echo-1k", "Echo, 1 KiB, 1 in flight, 100 connections", "echo", "echo --size 1024"),
    times_raw(
        row("echo-16k", "Echo, 16 KiB, 1 in flight, 100 connections", "echo", "echo --size 16384"),
        1.6,
    ),
    Row {
        key: Key::Latency,
        target: Some(Target::TimesRaw(2.5)),
        ..row("latency-1", "One client, one message at a time", "echo", "echo --connections 1")
    },
    Row {
        key: Key::Latency,
        half_load: true,
        ..row("latency-half", "Half load: echo, 32 B, 100 connections", "echo", "echo")
    },
    row(
        "active-1pct",
        "Echo, 32 B, 100 of 10,000 connections active",
        "echo",
        "echo --connections 100 --idle 9900",
    ),
    times_raw(
        row("fan-900-64", "Fan-out to 900, 64 B, as fast as it goes", "fan", "fanout --connections 900"),
        1.3,
    ),
    row(
        "fan-900-64-rate",
        "Fan-out to 900, 64 B, 50 messages/s",
        "fan",
        "fanout --connections 900 --rate 50",
    ),
    row(
        "fan-900-4k",
        "Fan-out to 900, 4 KiB, as fast as it goes",
        "fan",
        "fanout --connections 900 --size 4096",
    ),
    row(
        "fan-900-4k-rate",
        "Fan-out to 900, 4 KiB, 50 messages/s",
        "fan",
        "fanout --connections 900 --size 4096 --rate 50",
    ),
    row("fan-5000-64", "Fan-out to 5,000, 64 B, as fast as it goes", "fan", "fanout --connections 5000"),
    row(
        "fan-5000-64-rate",
        "Fan-out to 5,000, 64 B, 10 messages/s",
        "fan",
        "fanout --connections 5000 --rate 10",
    ),
    row(
        "fan-5000-4k",
        "Fan-out to 5,000, 4 KiB, as fast as it goes",
        "fan",
        "fanout --connections 5000 --size 4096",
    ),
    row(
        "fan-5000-4k-rate",
        "Fan-out to 5,000, 4 KiB, 10 messages/s",
        "fan",
        "fanout --connections 5000 --size 4096 --rate 10",
    ),
    row("chat", "Chat: 1,000 users in 100 rooms, as fast as it goes", "chat", "chat"),
    row("chat-rate", "Chat: 1,000 users in 100 rooms, 1,000 messages/s", "chat", "chat --rate 1000"),
    Row {
        key: Key::Memory,
        target: Some(Target::AtMost(3.0)),
        ..row("idle", "10,000 idle connections: memory of each", "echo", "idle --settle 0.5")
    },
    Row {
        target: Some(Target::AtMost(45.0)),
        ..row("handshakes", "Handshakes of 10,000 connections that stay", "echo", "idle --settle 0.5")
    },
    row("visits", "Connections opened and cut, 64 at once", "echo", "handshakes"),
];

impl Row {
    /// Number of simultaneous connections, from the arguments of the load generator.
    pub(crate) fn connections(&self) -> usize {
        let words: Vec<&str> = self.load.split(' ').collect();
        let after = |name: &str| {
            let at = words.iter().position(|word| *word == name)?;
            words.get(at + 1)?.parse::<usize>().ok()
        };
        // Defaults of the load generator.
        let connections = after("--connections").unwrap_or(match words[0] {
            "idle" => 10_000,
            "chat" | "fanout" => 1_000,
            _ => 100,
        });
        connections + after("--idle").unwrap_or(0)
    }
}

impl Key {
    /// The value of this figure in a report.
    pub(crate) fn of(self, report: &Report) -> f64 {
        match self {
            Key::Cpu => report.cpu_us,
            Key::Latency => report.latency.p50,
            Key::Memory => report.kib_per_connection.unwrap_or(0.0),
        }
    }

    /// The name of this figure, with its unit.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Key::Cpu => "CPU µs per message",
            Key::Latency => "p50 µs",
            Key::Memory => "KiB per connection",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_from_the_arguments() {
        let of = |name: &str| ROWS.iter().find(|row| row.name == name).map(Row::connections);
        assert_eq!(of("echo-32"), Some(100));
        assert_eq!(of("active-1pct"), Some(10_000));
        assert_eq!(of("fan-5000-4k"), Some(5_000));
        assert_eq!(of("idle"), Some(10_000));
    }

    #[test]
    fn names_are_unique() {
        for (i, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..i].iter().all(|other| other.name != row.name), "{}", row.name);
        }
    }
}
