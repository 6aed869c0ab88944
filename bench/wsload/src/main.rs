//! Drives a WebSocket server and measures it from outside: its replies by the clock, its CPU time and
//! memory through /proc. It uses one thread, to leave the server as much CPU time as possible.
#![forbid(unsafe_code)]

mod chat;
mod client;
mod echo;
mod groups;
mod handshakes;
mod idle;
mod meter;
mod options;
mod parser;
mod tls;
mod watch;

use anyhow::{Result, bail};
use options::{Mode, Options};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("wsload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False if deliveries were lost or out of order.
fn run() -> Result<bool> {
    let options = Options::parse()?;
    let limit = bench_common::sys::raise_descriptor_limit();
    if limit < options.connections as u64 + 32 {
        bail!("{} connections need a higher descriptor limit than {limit}", options.connections);
    }
    if options.mode == Mode::Watch {
        return watch::run(&options);
    }
    let report = match options.mode {
        Mode::Echo => echo::run(&options)?,
        Mode::Fanout => chat::fanout(&options)?,
        Mode::Chat => chat::rooms(&options)?,
        Mode::Idle => idle::run(&options)?,
        Mode::Handshakes => handshakes::run(&options)?,
        Mode::Watch => unreachable!("handled before"),
    };
    let line = format!("{} x {}: {report}", report.mode, report.connections);
    if options.json {
        eprintln!("{line}");
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{line}");
    }
    Ok(report.lost == 0 && report.out_of_order == 0)
}
