//! The rows of the table, each of which is one workload.

use bench_common::report::Report;

/// A figure by which a row compares servers. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// CPU time of the server per message.
    Cpu,
    /// Median latency.
    Latency,
    /// 99th percentile of the latency.
    Tail,
    /// Resident memory that a connection adds.
    Memory,
}

/// The target for Sprocket in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// At most this many times the figure of `raw` in the same round.
    TimesRaw(f64),
    /// At most this value, in the unit of the figure.
    AtMost(f64),
}

/// A figure, and the target for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) key: Key,
    pub(crate) target: Option<Target>,
}

/// One row: a workload, and one or two figures that become lines of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Mode of the server: `echo`, `fan`, `chat` or `tls`.
    pub(crate) mode: &'static str,
    /// Arguments of the load generator, without those common to all rows.
    pub(crate) load: &'static str,
    pub(crate) main: Figure,
    pub(crate) also: Option<Figure>,
    /// Whether to send at half the rate that the same server has just reached.
    pub(crate) half_load: bool,
    /// A flood that another client sends meanwhile, by its name in `tests/php/lib/Floods.php`.
    pub(crate) flood: Option<&'static str>,
}

const fn figure(key: Key) -> Figure {
    Figure { key, target: None }
}

const fn times_raw(key: Key, factor: f64) -> Figure {
    Figure { key, target: Some(Target::TimesRaw(factor)) }
}

const fn at_most(key: Key, value: f64) -> Figure {
    Figure { key, target: Some(Target::AtMost(value)) }
}

const fn row(name: &'static str, title: &'static str, mode: &'static str, load: &'static str) -> Row {
    Row { name, title, mode, load, main: figure(Key::Cpu), also: None, half_load: false, flood: None }
}

const fn with_target(row: Row, factor: f64) -> Row {
    Row { main: times_raw(row.main.key, factor), ..row }
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    with_target(row("echo-32", "Echo, 32 B, 1 in flight", "echo", "echo --window 1"), 1.15),
    with_target(row("echo-32-16", "Echo, 32 B, 16 in flight", "echo", "echo --window 16"), 1.6),
    row("echo-1k", "Echo, 1 KiB, 1 in flight", "echo", "echo --size 1024"),
    with_target(row("echo-16k", "Echo, 16 KiB, 1 in flight", "echo", "echo --size 16384"), 1.25),
    Row {
        main: times_raw(Key::Latency, 1.0),
        also: Some(times_raw(Key::Cpu, 1.15)),
        ..row("latency-1", "One client, one message at a time", "echo", "echo --connections 1")
    },
    Row {
        main: times_raw(Key::Latency, 0.9),
        also: Some(times_raw(Key::Cpu, 1.4)),
        half_load: true,
        ..row("latency-half", "Half load: echo, 32 B", "echo", "echo")
    },
    row("active-1pct", "Echo, 32 B, 100 of 10,000 connections", "echo", "echo --connections 100 --idle 9900"),
    with_target(
        row("fan-900-64", "Fan-out to 900, 64 B, full speed", "fan", "fanout --connections 900"),
        1.3,
    ),
    row(
        "fan-900-64-rate",
        "Fan-out to 900, 64 B, 50 messages/s",
        "fan",
        "fanout --connections 900 --rate 50",
    ),
    row("fan-900-4k", "Fan-out to 900, 4 KiB, full speed", "fan", "fanout --connections 900 --size 4096"),
    row(
        "fan-900-4k-rate",
        "Fan-out to 900, 4 KiB, 50 messages/s",
        "fan",
        "fanout --connections 900 --size 4096 --rate 50",
    ),
    row("fan-5000-64", "Fan-out to 5,000, 64 B, full speed", "fan", "fanout --connections 5000"),
    row(
        "fan-5000-64-rate",
        "Fan-out to 5,000, 64 B, 10 messages/s",
        "fan",
        "fanout --connections 5000 --rate 10",
    ),
    row("fan-5000-4k", "Fan-out to 5,000, 4 KiB, full speed", "fan", "fanout --connections 5000 --size 4096"),
    row(
        "fan-5000-4k-rate",
        "Fan-out to 5,000, 4 KiB, 10 messages/s",
        "fan",
        "fanout --connections 5000 --size 4096 --rate 10",
    ),
    row("chat", "Chat in 100 rooms of 10, full speed", "chat", "chat"),
    Row {
        main: times_raw(Key::Latency, 1.1),
        also: Some(times_raw(Key::Cpu, 1.0)),
        ..row("chat-rate", "Chat in 100 rooms of 10, 1,000 messages/s", "chat", "chat --rate 1000")
    },
    Row {
        main: at_most(Key::Memory, 3.0),
        ..row("idle", "Memory of an idle connection", "echo", "idle --settle 0.5")
    },
    with_target(row("handshakes", "Handshake", "echo", "idle --settle 0.5"), 1.2),
    with_target(row("visits", "Connection opened and cut", "echo", "handshakes"), 1.2),
    row("tls-echo-32", "Echo over TLS, 32 B, 1 in flight", "tls", "echo --window 1"),
    Row {
        main: figure(Key::Memory),
        ..row("tls-idle", "Memory of an idle connection over TLS", "tls", "idle --settle 0.5")
    },
    row("tls-handshakes", "Handshake over TLS", "tls", "idle --settle 0.5"),
    Row {
        main: at_most(Key::Tail, 20_000.0),
        flood: Some("ws: messages of one byte"),
        ..row(
            "fair",
            "50 clients, 1,000 messages/s, while another floods",
            "echo",
            "echo --connections 50 --rate 1000",
        )
    },
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

    /// The row of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.name == name)
    }

    /// The figures of this row, the main one first.
    pub(crate) fn figures(&self) -> impl Iterator<Item = Figure> {
        [Some(self.main), self.also].into_iter().flatten()
    }

    /// The title of a line of the table: what was done, and if it is not CPU time alone, the figure.
    pub(crate) fn line_title(&self, key: Key) -> String {
        match key {
            Key::Cpu if self.also.is_some() => format!("{} (CPU)", self.title),
            Key::Cpu | Key::Memory => self.title.into(),
            Key::Latency => format!("{} (p50)", self.title),
            Key::Tail => format!("{} (p99)", self.title),
        }
    }
}

impl Key {
    /// The value of this figure in a report.
    pub(crate) fn of(self, report: &Report) -> f64 {
        match self {
            Key::Cpu => report.cpu_us,
            Key::Latency => report.latency.p50,
            Key::Tail => report.latency.p99,
            Key::Memory => report.kib_per_connection.unwrap_or(0.0),
        }
    }

    /// The name of this figure, with its unit.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Key::Cpu => "CPU µs per message",
            Key::Latency => "p50 µs",
            Key::Tail => "p99 µs",
            Key::Memory => "KiB per connection",
        }
    }

    /// The unit of this figure.
    pub(crate) fn unit(self) -> &'static str {
        if self == Key::Memory { "KiB" } else { "µs" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_from_the_arguments() {
        let of = |name: &str| Row::named(name).map(Row::connections);
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
