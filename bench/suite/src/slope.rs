//! Growth of memory and CPU time with the number of connections.

use crate::machine::Machine;
use crate::markdown::significant;
use crate::options::Options;
use crate::process::Running;
use crate::results::median;
use crate::runner::chosen;
use crate::servers::Server;
use anyhow::Result;
use bench_common::report::Report;
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The highest number fits one process with a limit of 20,000 descriptors.
const STEPS: [usize; 4] = [2_500, 5_000, 10_000, 19_000];

#[derive(Serialize)]
struct Slope {
    machine: Machine,
    rounds: usize,
    servers: Vec<ServerSlope>,
}

#[derive(Serialize)]
struct ServerSlope {
    server: &'static str,
    title: &'static str,
    points: Vec<Point>,
    failures: Vec<String>,
    /// KiB without connections, from a least-squares fit; the slope is KiB per connection.
    base_kib: f64,
    kib_per_connection: f64,
}

/// One number of connections, with medians over the rounds.
#[derive(Serialize)]
struct Point {
    connections: usize,
    rss_kib: f64,
    kib_per_connection: f64,
    handshake_cpu_us: f64,
    idle_cpu_percent: f64,
    /// CPU time per echoed message, with 1 % of the connections active.
    active_cpu_us: f64,
    active_p50_us: f64,
    active_p99_us: f64,
}

/// Measures the selected servers at every step. False if a measurement failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let logs = options.out.join("logs");
    fs::create_dir_all(&logs)?;
    let servers: Vec<Server> = chosen(options)
        .into_iter()
        .filter(|server| server.missing().is_none() && server.plays("echo", STEPS[STEPS.len() - 1]))
        .collect();
    let mut reports = vec![vec![Vec::new(); STEPS.len()]; servers.len()];
    let mut failures = vec![Vec::new(); servers.len()];
    for round in 0..options.rounds {
        for (step, connections) in STEPS.into_iter().enumerate() {
            for (i, server) in servers.iter().enumerate() {
                match measure(server, connections, options, &logs) {
                    Ok(pair) => {
                        let (idle, active) = &pair;
                        eprintln!("round {round} {:<12} {connections} idle: {idle}", server.name);
                        eprintln!("round {round} {:<12} {connections} 1 % active: {active}", server.name);
                        reports[i][step].push(pair);
                    }
                    Err(error) => {
                        eprintln!("{:<12} {connections}: FAILED: {error:#}", server.name);
                        failures[i].push(format!("{connections} connections: {error:#}"));
                    }
                }
            }
        }
    }
    let ok = failures.iter().all(Vec::is_empty);
    let mut slopes = Vec::new();
    for ((server, reports), failures) in servers.iter().zip(&reports).zip(failures) {
        slopes.push(fit(server, reports, failures));
    }
    let slope = Slope { machine: Machine::read(), rounds: options.rounds, servers: slopes };
    fs::write(options.out.join("slope.json"), serde_json::to_string_pretty(&slope)? + "\n")?;
    let table = table(&slope);
    fs::write(options.out.join("slope.md"), &table)?;
    eprintln!("\n{table}");
    if let Some(sprocket) = slope.servers.iter().find(|server| server.server == "sprocket") {
        crate::docs::insert("connections", &points(sprocket), &options.out)?;
    }
    Ok(ok)
}

fn measure(server: &Server, n: usize, options: &Options, logs: &Path) -> Result<(Report, Report)> {
    let seconds = options.seconds;
    let idle = format!("idle --connections {n} --settle 0.5 --seconds {seconds} --close");
    let active = n / 100;
    let rest = n - active;
    let active = format!("echo --connections {active} --idle {rest} --seconds {seconds}");
    let load = |args: &str| {
        let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        Running::start(server, "echo", logs)?.load(&args)
    };
    Ok((load(&idle)?, load(&active)?))
}

fn fit(server: &Server, reports: &[Vec<(Report, Report)>], failures: Vec<String>) -> ServerSlope {
    let mut points = Vec::new();
    for (connections, reports) in STEPS.into_iter().zip(reports) {
        let of = |figure: fn(&(Report, Report)) -> f64| {
            median(reports.iter().map(figure).collect()).unwrap_or(f64::NAN)
        };
        if !reports.is_empty() {
            points.push(Point {
                connections,
                rss_kib: of(|(idle, _)| idle.rss_kib as f64),
                kib_per_connection: of(|(idle, _)| idle.kib_per_connection.unwrap_or(f64::NAN)),
                handshake_cpu_us: of(|(idle, _)| idle.cpu_us),
                idle_cpu_percent: of(|(idle, _)| idle.server_cpu_percent),
                active_cpu_us: of(|(_, active)| active.cpu_us),
                active_p50_us: of(|(_, active)| active.latency.p50),
                active_p99_us: of(|(_, active)| active.latency.p99),
            });
        }
    }
    let line: Vec<(f64, f64)> = points.iter().map(|p| (p.connections as f64, p.rss_kib)).collect();
    let (base_kib, kib_per_connection) = least_squares(&line);
    let (server, title) = (server.name, server.title);
    ServerSlope { server, title, points, failures, base_kib, kib_per_connection }
}

/// Intercept and slope of the least-squares line.
fn least_squares(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let sxy: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let sxx: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    let slope = sxy / sxx;
    (my - slope * mx, slope)
}

fn table(slope: &Slope) -> String {
    let mut text = format!(
        "# Slope\n\n{}, {} cores, {}; PHP {}. {}. Medians of {} rounds.\n",
        slope.machine.cpu,
        slope.machine.cores,
        slope.machine.kernel,
        slope.machine.php,
        slope.machine.date,
        slope.rounds
    );
    for server in &slope.servers {
        let _ = write!(text, "\n## {}\n\n{}", server.title, points(server));
        for failure in &server.failures {
            let _ = writeln!(text, "\nFailed: {failure}");
        }
    }
    text
}

/// The table of one server, and the line through its points.
fn points(server: &ServerSlope) -> String {
    let mut text = "| connections | resident MiB | KiB each | CPU µs/handshake | idle CPU % | \
        1 % active: CPU µs/message | p50 µs | p99 µs |\n\
        |---:|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for p in &server.points {
        let cells = [
            p.connections as f64,
            p.rss_kib / 1024.0,
            p.kib_per_connection,
            p.handshake_cpu_us,
            p.idle_cpu_percent,
            p.active_cpu_us,
            p.active_p50_us,
            p.active_p99_us,
        ];
        let cells: Vec<String> = cells.into_iter().map(significant).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    let at = |n: f64| significant((server.base_kib + n * server.kib_per_connection) / 1024.0);
    let _ = writeln!(
        text,
        "\nFitted: {} MiB and {} KiB a connection; on that line 100,000 connections take {} MiB \
         and 1,000,000 take {} MiB of process memory.",
        significant(server.base_kib / 1024.0),
        significant(server.kib_per_connection),
        at(1e5),
        at(1e6),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_squares_finds_a_line() {
        let (base, slope) = least_squares(&[(1.0, 5.0), (2.0, 7.0), (4.0, 11.0)]);
        assert!((base - 3.0).abs() < 1e-9 && (slope - 2.0).abs() < 1e-9);
    }
}
