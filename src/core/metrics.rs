//! The counters in the text format of Prometheus (exposition format 0.0.4).

use std::fmt::Write;

use crate::env::State;
use crate::stats::Stats;

/// Type of the answer.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All counters of the node, each with its meaning and its type.
pub(crate) fn text(state: &State) -> String {
    let mut stats = state.counters.read();
    stats.connections = state.limits.open() as u64;
    // Who asks, gets to any of the workers and wants to know about all.
    if let Some(port) = &state.bus {
        port.stats().values().for_each(|(_, other)| stats.add(other));
    }
    let mut out = String::with_capacity(8 << 10);
    let version = env!("CARGO_PKG_VERSION");
    let help = "# HELP sprocket_info Version of the server.\n# TYPE sprocket_info gauge\n";
    // Writing into a string can't fail.
    let _ = writeln!(out, "{help}sprocket_info{{version=\"{version}\"}} 1");
    for (name, value) in stats.iter() {
        let (metric, kind) = metric(name);
        let help = Stats::describe(name).replace('\\', "\\\\").replace('\n', " ");
        let _ = writeln!(out, "# HELP {metric} {help}\n# TYPE {metric} {kind}\n{metric} {value}");
    }
    out
}

/// Name by the conventions of Prometheus: a prefix, the unit, `_total` for what only grows.
fn metric(name: &str) -> (String, &'static str) {
    let name = match name {
        "connections" | "topics" | "publishers" | "history_topics" | "history_bytes" => {
            return (format!("sprocket_{name}"), "gauge");
        }
        "messages_in" => "messages_received",
        "messages_out" => "messages_sent",
        "bytes_in" => "received_bytes",
        "bytes_out" => "sent_bytes",
        "accepted" | "opened" | "closed" => return (format!("sprocket_connections_{name}_total"), "counter"),
        other => other,
    };
    (format!("sprocket_{name}_total"), "counter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let names: Vec<_> = Stats::default().iter().map(|(name, _)| metric(name)).collect();
        for (name, kind) in &names {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
        }
        let mut unique = names.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn each_has_a_meaning() {
        for (name, _) in Stats::default().iter() {
            assert!(Stats::describe(name).len() > 5, "{name}");
        }
    }
}
