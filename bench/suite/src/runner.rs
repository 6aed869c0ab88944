//! Runs the rounds. In each round every server runs once, freshly started.

use crate::options::Options;
use crate::process::Running;
use crate::results::{Measured, Participant, Results, RowResult};
use crate::rows::Row;
use crate::servers::{self, Server};
use anyhow::{Result, bail};
use bench_common::report::Report;
use std::path::Path;

/// Measures all rows. False if a measurement failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let servers = chosen(options);
    let logs = options.out.join("logs");
    std::fs::create_dir_all(&logs)?;
    let mut results = Results::new(options, servers.iter().map(Participant::of).collect());
    if options.keep {
        results.take_rows(Results::load(&options.out)?);
    }
    for server in servers.iter().filter(|server| server.missing().is_some()) {
        eprintln!("missing: {} ({})", server.name, server.missing().unwrap_or_default());
    }
    for row in &options.rows {
        eprintln!("\n{} ({})", row.title, row.name);
        results.put(measure_row(row, &servers, options, &logs));
        // Writes after every row, so that an interrupted run keeps its results.
        results.write(&options.out)?;
    }
    eprintln!("\n{}", crate::markdown::summary(&results));
    eprintln!("written: results.md, results.json, results.svg in {}", options.out.display());
    if results.rows.iter().all(|row| row.servers.iter().all(|s| s.reports.is_empty())) {
        bail!("no measurement succeeded");
    }
    Ok(results.rows.iter().all(|row| row.servers.iter().all(|s| s.failures.is_empty())))
}

/// The reference and the selected servers.
pub(crate) fn chosen(options: &Options) -> Vec<Server> {
    let wanted = |server: &Server| {
        let named = |name: &String| name == server.name;
        server.name == "raw" || options.servers.is_empty() || options.servers.iter().any(named)
    };
    servers::all().into_iter().filter(wanted).collect()
}

fn measure_row(row: &Row, servers: &[Server], options: &Options, logs: &Path) -> RowResult {
    let playing: Vec<&Server> =
        servers.iter().filter(|s| s.missing().is_none() && s.plays(row.mode, row.connections())).collect();
    let mut result = RowResult::new(row, playing.iter().map(|server| server.name));
    for round in 0..options.rounds {
        for i in 0..playing.len() {
            // Each round starts with another server, so that no server always runs first.
            let i = (i + round) % playing.len();
            let server = playing[i];
            let Measured { reports, failures, .. } = &mut result.servers[i];
            match measure(row, server, options, logs) {
                Ok(report) => {
                    eprintln!("  {:<14} {report}", server.name);
                    reports.push((round, report));
                }
                Err(error) => {
                    eprintln!("  {:<14} FAILED: {error:#}", server.name);
                    failures.push(format!("{error:#}"));
                }
            }
        }
    }
    result
}

fn measure(row: &Row, server: &Server, options: &Options, logs: &Path) -> Result<Report> {
    let running = Running::start(server, row.mode, logs)?;
    let mut args: Vec<String> = row.load.split(' ').map(str::to_owned).collect();
    let timed = |args: &[String], seconds: f64| {
        let mut args = args.to_vec();
        args.extend(["--seconds".into(), seconds.to_string()]);
        args.extend(["--warmup".into(), options.warmup.to_string()]);
        args
    };
    if row.half_load {
        let full = running.load(&timed(&args, (options.seconds / 2.0).max(0.5)))?;
        args.extend(["--rate".into(), (full.messages_per_second / 2.0).round().to_string()]);
    }
    let report = running.load(&timed(&args, options.seconds))?;
    if report.lost > 0 || report.out_of_order > 0 {
        bail!("{} deliveries lost, {} out of order", report.lost, report.out_of_order);
    }
    Ok(report)
}
