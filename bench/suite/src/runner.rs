//! Runs the rounds. In each round every server runs once, freshly started.

use crate::docs;
use crate::options::Options;
use crate::process::{Flooder, Running};
use crate::results::{Measured, Participant, Results, RowResult};
use crate::rows::{ROWS, Row};
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
    make_certificate()?;
    for row in &options.rows {
        eprintln!("\n{} ({})", row.title, row.name);
        results.put(measure_row(row, &servers, options, &logs));
        // Writes after every row, so that an interrupted run keeps its results.
        results.write(&options.out)?;
    }
    eprintln!("\n{}", crate::markdown::summary(&results));
    eprintln!("written: results.md, results.json, results.svg in {}", options.out.display());
    document(&results, options)?;
    if results.rows.iter().all(|row| row.servers.iter().all(|s| s.reports.is_empty())) {
        bail!("no measurement succeeded");
    }
    Ok(results.rows.iter().all(|row| row.servers.iter().all(|s| s.failures.is_empty())))
}

/// Writes the table into the documentation, unless this is a partial or private result.
fn document(results: &Results, options: &Options) -> Result<()> {
    if results.rows.len() < ROWS.len() || results.of("sprocket").is_none() {
        eprintln!("{} is left as it is, because rows are missing here", docs::FILE);
        return Ok(());
    }
    docs::insert("results", &crate::markdown::table(results), &options.out)
}

/// The reference and the selected servers.
pub(crate) fn chosen(options: &Options) -> Vec<Server> {
    let wanted = |server: &Server| {
        let named = |name: &String| name == server.name;
        server.name == "raw" || options.servers.is_empty() || options.servers.iter().any(named)
    };
    servers::all().into_iter().filter(wanted).collect()
}

/// Makes a certificate for this run, of the kind that servers have today: ECDSA with P-256.
fn make_certificate() -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let [certificate, key] = servers::certificate_files();
    std::fs::write(certificate, made.cert.pem())?;
    std::fs::write(key, made.signing_key.serialize_pem())?;
    Ok(())
}

fn measure_row(row: &'static Row, servers: &[Server], options: &Options, logs: &Path) -> RowResult {
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
    // The flood begins before the measured time, and ends after it.
    let flooding = options.warmup + options.seconds + 1.0;
    let flooder = row.flood.map(|flood| Flooder::start(&running, flood, flooding)).transpose()?;
    let report = running.load(&timed(&args, options.seconds))?;
    flooder.map_or(Ok(()), Flooder::finish)?;
    if report.lost > 0 || report.out_of_order > 0 {
        bail!("{} deliveries lost, {} out of order", report.lost, report.out_of_order);
    }
    Ok(report)
}
