//! The results as Markdown tables.

use crate::results::{Measured, Results, RowResult, TIE, median};
use crate::rows::{Figure, Key, Target};
use std::fmt::Write;

/// The complete results.md.
pub(crate) fn page(results: &Results) -> String {
    let m = &results.machine;
    let mut page = format!(
        "# Benchmark results\n\n{}, {} cores, {}; PHP {}, Node {}, {}. {}.\n\
         Medians of {} rounds of {} s, servers interleaved. Echo has 100 connections; memory and handshakes are \
         those of 10,000 that stay. How to read it: [docs/performance.md](../../docs/performance.md).\n\n![Ratios to raw](results.svg)\n\n",
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

/// The servers that took part.
fn present(results: &Results) -> Vec<&str> {
    let present = results.participants.iter().filter(|p| p.missing.is_none());
    present.map(|p| p.name.as_str()).collect()
}

/// All lines of the table: the figures of each row.
fn lines(results: &Results) -> impl Iterator<Item = (&RowResult, Figure)> {
    results.rows.iter().flat_map(|row| row.row.figures().map(move |figure| (row, figure)))
}

/// A line for each figure of each row, with the value of each server, its ratio to `raw` in parentheses,
/// the servers that are ahead of Sprocket, and Sprocket's target.
pub(crate) fn summary(results: &Results) -> String {
    let servers = present(results);
    let mut table = format!("| work | figure | {} | ahead of sprocket | target |\n", servers.join(" | "));
    table += &format!("|---|---|{}---|---|\n", "---:|".repeat(servers.len()));
    for (row, figure) in lines(results) {
        let _ = write!(table, "| {} | {} |", row.row.title, figure.key.label());
        for server in &servers {
            let cell = row.of(server).map_or(String::new(), |measured| cell(row, figure.key, measured));
            let _ = write!(table, " {cell} |");
        }
        let _ = writeln!(table, " {} | {} |", ahead(row, figure.key), target(row, figure));
    }
    table + "\n" + &standing(results)
}

/// Columns of the table for the documentation; results.md has all.
const DOCUMENTED: [&str; 6] = ["raw", "sprocket", "uwebsockets", "swoole", "workerman", "node"];

/// The table for the documentation: the value of `raw` with its unit, and the ratios of the others to it.
pub(crate) fn table(results: &Results) -> String {
    let m = &results.machine;
    let mut table = format!(
        "{}, {} cores, {}, PHP {}, {}; medians of {} interleaved rounds of {} s. Other processes used {:.0} % \
         of a core.\n\n",
        m.cpu,
        m.cores,
        m.kernel,
        m.php,
        m.date,
        results.rounds,
        results.seconds,
        noise_of_others(results),
    );
    let servers: Vec<&str> = present(results).into_iter().filter(|name| DOCUMENTED.contains(name)).collect();
    let names: Vec<String> = servers.iter().map(|name| format!("`{name}`")).collect();
    table += &format!("| work | {} | ahead of `sprocket` |\n", names.join(" | "));
    table += &format!("|---|{}---|\n", "---:|".repeat(servers.len()));
    for (row, figure) in lines(results) {
        let _ = write!(table, "| {} |", row.row.line_title(figure.key));
        for server in &servers {
            let cell = row.of(server).map_or(String::new(), |measured| ratio(row, figure.key, measured));
            let cell = if *server == "sprocket" && !cell.is_empty() { format!("**{cell}**") } else { cell };
            let _ = write!(table, " {cell} |");
        }
        let ahead: Vec<&str> = row.ahead(figure.key).into_iter().map(|(server, _)| server).collect();
        let _ = writeln!(table, " {} |", ahead.join(", "));
    }
    table + "\n" + &standing(results)
}

fn cell(row: &RowResult, key: Key, measured: &Measured) -> String {
    let Some(value) = measured.median(|report| key.of(report)) else {
        return "failed".into();
    };
    match row.times_raw(key, measured) {
        Some(ratio) => format!("{} ({ratio:.2})", significant(value)),
        None => significant(value),
    }
}

/// The ratio to `raw`; for `raw`, or where there is none, the value.
fn ratio(row: &RowResult, key: Key, measured: &Measured) -> String {
    match (row.times_raw(key, measured), measured.median(|report| key.of(report))) {
        (_, None) => "failed".into(),
        (Some(ratio), Some(_)) if measured.server != "raw" => format!("{ratio:.2}"),
        (_, Some(value)) => format!("{} {}", significant(value), key.unit()),
    }
}

/// The servers that are ahead of Sprocket, and by which factor.
fn ahead(row: &RowResult, key: Key) -> String {
    let names: Vec<String> =
        row.ahead(key).iter().map(|(server, factor)| format!("{server} {factor:.2} ×")).collect();
    names.join(", ")
}

/// Servers that run PHP, other than Sprocket.
const PHP: [&str; 4] = ["swoole", "workerman", "ratchet", "amphp"];

/// The number of lines in which each server is ahead.
fn standing(results: &Results) -> String {
    let winners: Vec<Vec<&str>> = lines(results)
        .filter(|(row, figure)| row.of("sprocket").is_some_and(|s| s.median(|r| figure.key.of(r)).is_some()))
        .map(|(row, figure)| row.ahead(figure.key).into_iter().map(|(server, _)| server).collect())
        .collect();
    let count = |wins: &dyn Fn(&&str) -> bool| winners.iter().filter(|line| line.iter().any(wins)).count();
    let servers = present(results);
    let each = servers.iter().map(|name| (name, count(&|winner| winner == name)));
    let each: Vec<String> = each.filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} in {n}")).collect();
    let list = if each.is_empty() { String::new() } else { format!(" ({})", each.join(", ")) };
    format!(
        "Another server is ahead of Sprocket in {} of {} lines{list}, another server for PHP in {}. Ahead: \
         the median of the ratios within the rounds is above {TIE}; less is a tie.\n",
        count(&|_| true),
        winners.len(),
        count(&|winner| PHP.contains(winner)),
    )
}

fn target(row: &RowResult, figure: Figure) -> String {
    let wanted = match figure.target {
        None => return String::new(),
        Some(Target::TimesRaw(most)) => format!("{most} × raw"),
        Some(Target::AtMost(most)) => format!("{most}"),
    };
    match row.of("sprocket").and_then(|measured| row.reaches_target(figure, measured)) {
        Some(true) => format!("{wanted}: reached"),
        Some(false) => format!("{wanted}: **missed**"),
        None => wanted,
    }
}

fn details(results: &Results, row: &RowResult) -> String {
    let key = row.row.main.key;
    let mut text = format!(
        "\n## {}\n\n`bench/run --rows {}`\n\n\
         | server | messages/s | CPU µs/message | user | system | p50 µs | p99 | p99.9 | peak MiB | {} |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        row.row.title,
        row.row.name,
        if key == Key::Memory { "KiB/connection" } else { "× raw" },
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
        let last = match key {
            Key::Memory => measured.median(|r| key.of(r)).map(significant),
            _ => row.times_raw(key, measured).map(|ratio| format!("{ratio:.2}")),
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

/// CPU use of other processes over all measurements: the median, in percent of a core.
fn noise_of_others(results: &Results) -> f64 {
    let measured = results.rows.iter().flat_map(|row| &row.servers).flat_map(|server| &server.reports);
    median(measured.map(|(_, report)| report.noise.other_cpu).collect()).unwrap_or(0.0)
}

/// Other activity on the machine during the row.
fn noise(row: &RowResult) -> String {
    let reports = || row.servers.iter().flat_map(|m| m.reports.iter().map(|(_, report)| report));
    let most = |figure: fn(&bench_common::report::Report) -> f64| reports().map(figure).fold(0.0, f64::max);
    let all = |figure: fn(&bench_common::report::Report) -> f64| {
        median(reports().map(figure).collect()).unwrap_or(0.0)
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
        let line = "| 4.00 (1.00) | 6.00 (1.50) | 5.00 (1.25) | tt 1.20 × | 1.15 × raw: **missed** |";
        assert!(table.contains(line), "{table}");
        assert!(!table.contains("swoole"), "a missing server has no column");
        assert!(table.contains("ahead of Sprocket in 1 of 1 lines (tt in 1), another server for PHP in 0."));
    }

    #[test]
    fn table_of_the_documentation_has_ratios() {
        let table = table(&sample());
        assert!(table.contains("| 4.00 µs | **1.50** | tt |"), "{table}");
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
