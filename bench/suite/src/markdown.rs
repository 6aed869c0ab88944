//! The results as Markdown tables.

use crate::results::{Measured, Results, RowResult};
use crate::rows::{Key, Target};
use std::fmt::Write;

/// The complete results.md.
pub(crate) fn page(results: &Results) -> String {
    let m = &results.machine;
    let mut page = format!(
        "# Benchmark results\n\n{}, {} cores, {}; PHP {}, Node {}, {}. {}.\n\
         Medians of {} rounds of {} s, servers interleaved. How to read it: \
         [docs/performance.md](../../docs/performance.md).\n\n![Ratios to raw](results.svg)\n\n",
        m.cpu, m.cores, m.kernel, m.php, m.node, m.rustc, m.date, results.rounds, results.seconds,
    );
    page += "## Summary\n\n";
    page += &summary(results);
    for server in &results.participants {
        if let Some(why) = &server.missing {
            let _ = writeln!(page, "\nMissing: {} ({why}).", server.title);
        }
    }
    for row in &results.rows {
        page += &details(results, row);
    }
    page
}

/// One line per row, with the figure of each server and, in parentheses, its ratio to `raw`.
pub(crate) fn summary(results: &Results) -> String {
    let servers: Vec<&str> =
        results.participants.iter().filter(|p| p.missing.is_none()).map(|p| p.name.as_str()).collect();
    let mut table = format!("| work | figure | {} | target |\n", servers.join(" | "));
    table += &format!("|---|---|{}---|\n", "---:|".repeat(servers.len()));
    for row in &results.rows {
        let _ = write!(table, "| {} | {} |", row.title, row.key.label());
        for server in &servers {
            let cell = row.of(server).map_or(String::new(), |measured| cell(row, measured));
            let _ = write!(table, " {cell} |");
        }
        let _ = writeln!(table, " {} |", target(row));
    }
    table
}

fn cell(row: &RowResult, measured: &Measured) -> String {
    let Some(value) = measured.median(|report| row.key.of(report)) else {
        return "failed".into();
    };
    match row.times_raw(measured) {
        Some(ratio) => format!("{} ({ratio:.2})", significant(value)),
        None => significant(value),
    }
}

fn target(row: &RowResult) -> String {
    let wanted = match row.target {
        None => return String::new(),
        Some(Target::TimesRaw(most)) => format!("{most} × raw"),
        Some(Target::AtMost(most)) => format!("{most}"),
    };
    match row.of("sprocket").and_then(|measured| row.reaches_target(measured)) {
        Some(true) => format!("{wanted}: reached"),
        Some(false) => format!("{wanted}: **missed**"),
        None => wanted,
    }
}

fn details(results: &Results, row: &RowResult) -> String {
    let mut text = format!(
        "\n## {}\n\n`bench/run --rows {}`\n\n\
         | server | messages/s | CPU µs/message | user | system | p50 µs | p99 | p99.9 | peak MiB | {} |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        row.title,
        row.name,
        if row.key == Key::Memory { "KiB/connection" } else { "× raw" },
    );
    for measured in &row.servers {
        let title = results.participants.iter().find(|p| p.name == measured.server);
        let title = title.map_or(measured.server.as_str(), |p| p.title.as_str());
        if measured.reports.is_empty() {
            let why = measured.failures.first().map_or("", String::as_str);
            let _ = writeln!(text, "| {title} | failed: {why} | | | | | | | | |");
            continue;
        }
        let of = |figure: fn(&bench_common::report::Report) -> f64| {
            measured.median(figure).map_or(String::new(), significant)
        };
        let last = match row.key {
            Key::Memory => measured.median(|r| row.key.of(r)).map(significant),
            _ => row.times_raw(measured).map(|ratio| format!("{ratio:.2}")),
        };
        let _ = writeln!(
            text,
            "| {title} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            of(|r| r.messages_per_second),
            of(|r| r.cpu_us),
            of(|r| r.user_us),
            of(|r| r.system_us),
            of(|r| r.latency.p50),
            of(|r| r.latency.p99),
            of(|r| r.latency.p999),
            of(|r| r.peak_kib as f64 / 1024.0),
            last.unwrap_or_default(),
        );
    }
    for measured in row.servers.iter().filter(|m| !m.failures.is_empty()) {
        let (n, first) = (measured.failures.len(), &measured.failures[0]);
        let _ = writeln!(text, "\n{}: {n} failed, the first: {first}", measured.server);
    }
    text += &noise(row);
    text
}

/// Other activity on the machine during the row.
fn noise(row: &RowResult) -> String {
    let reports = || row.servers.iter().flat_map(|m| m.reports.iter().map(|(_, report)| report));
    let most = |figure: fn(&bench_common::report::Report) -> f64| reports().map(figure).fold(0.0, f64::max);
    let all = |figure: fn(&bench_common::report::Report) -> f64| {
        crate::results::median(reports().map(figure).collect()).unwrap_or(0.0)
    };
    format!(
        "\nNoise, in percent of a core: other processes {:.0} (at most {:.0}), stolen {:.0} (at most {:.0}); load generator {:.0}.\n",
        all(|r| r.noise.other_cpu),
        most(|r| r.noise.other_cpu),
        all(|r| r.noise.steal),
        most(|r| r.noise.steal),
        all(|r| r.noise.client_cpu),
    )
}

/// Formats three significant digits, with separators for thousands.
pub(crate) fn significant(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (i, digit) in digits.chars().enumerate() {
                if i > 0 && (digits.len() - i).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::sample;

    #[test]
    fn summary_has_ratio_and_verdict() {
        let table = summary(&sample());
        assert!(table.contains("| 4.00 (1.00) | 6.00 (1.50) | 1.25 × raw: **missed** |"), "{table}");
        assert!(!table.contains("swoole"), "a missing server has no column");
    }

    #[test]
    fn page_names_missing_servers() {
        assert!(page(&sample()).contains("Missing: <swoole> (not set)."));
    }

    #[test]
    fn values_have_three_significant_digits() {
        assert_eq!(significant(1_234_567.8), "1,234,568");
        assert_eq!(significant(123.4), "123");
        assert_eq!(significant(0.456), "0.46");
    }
}
