//! The benchmark suite: every server under every load, interleaved, in one table and one plot.
//!
//! `bench/run` builds the programs that this one starts, and then calls it.
#![forbid(unsafe_code)]

mod docs;
mod machine;
mod markdown;
mod options;
mod process;
mod results;
mod rows;
mod runner;
mod servers;
mod slope;
mod svg;

use anyhow::Result;
use options::{Command, Options};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False if the run finished, but a measurement failed.
fn run() -> Result<bool> {
    let options = Options::parse()?;
    bench_common::sys::raise_descriptor_limit();
    match options.command {
        Command::List => {
            rows::ROWS.iter().for_each(|row| println!("{:<16} {}", row.name, row.title));
            Ok(true)
        }
        Command::Rows => runner::run(&options),
        Command::Slope => slope::run(&options),
        Command::Render => {
            let results = results::Results::load(&options.out)?;
            results.write(&options.out)?;
            docs::insert("results", &markdown::table(&results), &options.out)?;
            Ok(true)
        }
    }
}
