//! The command line.

use crate::rows::{ROWS, Row};
use crate::servers;
use anyhow::{Result, bail};
use lexopt::prelude::*;
use std::path::PathBuf;

const USAGE: &str = "\
usage: bench/run [slope|list|render] [option…]

  (nothing)           every row for every server
  slope               memory and CPU at 2,500 to 19,000 connections
  list                lists the rows
  render              rewrites the tables and the plot from results.json

  --rows A,B,…        only these rows; NAME* selects all that begin with NAME
  --servers A,B,…     only these servers (raw always takes part, as the reference)
  --rounds N          measurements of each server in each row, interleaved (3)
  --seconds S         measured time of each (2)
  --quick             one round of one second
  --keep              keep the other rows of results.json
  --out DIR           where results go (bench/results)

A complete result in bench/results also rewrites the tables in docs/performance.md.";

/// The command to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Rows,
    Slope,
    List,
    Render,
}

/// The parsed command line.
pub(crate) struct Options {
    pub(crate) command: Command,
    pub(crate) rows: Vec<&'static Row>,
    /// Names of servers; empty for all.
    pub(crate) servers: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) warmup: f64,
    /// Whether the rows of an earlier run are kept.
    pub(crate) keep: bool,
    pub(crate) out: PathBuf,
}

impl Options {
    pub(crate) fn parse() -> Result<Self> {
        let mut options = Self {
            command: Command::Rows,
            rows: ROWS.iter().collect(),
            servers: Vec::new(),
            rounds: 3,
            seconds: 2.0,
            warmup: 0.5,
            keep: false,
            out: servers::bench_dir().join("results"),
        };
        let mut args = lexopt::Parser::from_env();
        while let Some(arg) = args.next()? {
            match arg {
                Value(name) if name == "slope" => options.command = Command::Slope,
                Value(name) if name == "list" => options.command = Command::List,
                Value(name) if name == "render" => options.command = Command::Render,
                Long("rows") => options.rows = select_rows(&args.value()?.string()?)?,
                Long("servers") => options.servers = select_servers(&args.value()?.string()?)?,
                Long("rounds") => options.rounds = args.value()?.parse()?,
                Long("seconds") => options.seconds = args.value()?.parse()?,
                Long("quick") => {
                    options.rounds = 1;
                    options.seconds = 1.0;
                    options.warmup = 0.3;
                }
                Long("keep") => options.keep = true,
                Long("out") => options.out = args.value()?.into(),
                Long("help") | Short('h') => {
                    println!("{USAGE}");
                    std::process::exit(0);
                }
                other => return Err(anyhow::Error::from(other.unexpected()).context(USAGE)),
            }
        }
        if options.rounds == 0 || !(0.1..=600.0).contains(&options.seconds) {
            bail!("at least one round, of 0.1 to 600 seconds");
        }
        Ok(options)
    }
}

fn select_rows(list: &str) -> Result<Vec<&'static Row>> {
    let mut rows = Vec::new();
    for name in list.split(',') {
        let matches = |row: &&Row| match name.strip_suffix('*') {
            Some(prefix) => row.name.starts_with(prefix),
            None => row.name == name,
        };
        let before = rows.len();
        rows.extend(ROWS.iter().filter(matches));
        if rows.len() == before {
            bail!("no row {name:?}; bench/run list names them");
        }
    }
    Ok(rows)
}

fn select_servers(list: &str) -> Result<Vec<String>> {
    let known = servers::all();
    for name in list.split(',') {
        if !known.iter().any(|server| server.name == name) {
            let names: Vec<&str> = known.iter().map(|server| server.name).collect();
            bail!("no server {name:?}; there are {}", names.join(", "));
        }
    }
    Ok(list.split(',').map(str::to_owned).collect())
}
