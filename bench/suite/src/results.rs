//! The results of a run, and the figures computed from them.

use crate::machine::Machine;
use crate::options::Options;
use crate::rows::{Key, ROWS, Row, Target};
use crate::servers::Server;
use crate::{markdown, svg};
use anyhow::{Context, Result};
use bench_common::report::Report;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A complete run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    /// Duration of each measurement.
    pub(crate) seconds: f64,
    pub(crate) participants: Vec<Participant>,
    pub(crate) rows: Vec<RowResult>,
}

/// A server of the run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Participant {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) missing: Option<String>,
}

/// One row of the table.
#[derive(Serialize, Deserialize)]
pub(crate) struct RowResult {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) key: Key,
    pub(crate) target: Option<Target>,
    pub(crate) servers: Vec<Measured>,
}

/// One server in one row.
#[derive(Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) server: String,
    /// Reports with the number of their round.
    pub(crate) reports: Vec<(usize, Report)>,
    pub(crate) failures: Vec<String>,
}

impl Participant {
    pub(crate) fn of(server: &Server) -> Self {
        let missing = server.missing().map(str::to_owned);
        Self { name: server.name.into(), title: server.title.into(), missing }
    }
}

impl Results {
    pub(crate) fn new(options: &Options, participants: Vec<Participant>) -> Self {
        Self {
            machine: Machine::read(),
            rounds: options.rounds,
            seconds: options.seconds,
            participants,
            rows: Vec::new(),
        }
    }

    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("results.json");
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Adopts the rows of an earlier run, and those of its participants that are missing now.
    pub(crate) fn take_rows(&mut self, earlier: Results) {
        for participant in earlier.participants {
            match self.participants.iter_mut().find(|p| p.name == participant.name) {
                Some(now) if now.missing.is_some() => *now = participant,
                Some(_) => {}
                None => self.participants.push(participant),
            }
        }
        self.rows = earlier.rows;
    }

    /// Adds a row at its place in the table, or replaces it.
    pub(crate) fn put(&mut self, row: RowResult) {
        self.rows.retain(|other| other.name != row.name);
        self.rows.push(row);
        let place = |row: &RowResult| ROWS.iter().position(|known| known.name == row.name);
        self.rows.sort_by_key(place);
    }

    /// Writes the data, the table and the plot.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("results.json"), serde_json::to_string(self)? + "\n")?;
        fs::write(dir.join("results.md"), markdown::page(self))?;
        fs::write(dir.join("results.svg"), svg::plot(self))?;
        Ok(())
    }
}

impl RowResult {
    pub(crate) fn new(row: &Row, servers: impl Iterator<Item = &'static str>) -> Self {
        let measured =
            |server: &str| Measured { server: server.into(), reports: Vec::new(), failures: Vec::new() };
        Self {
            name: row.name.into(),
            title: row.title.into(),
            key: row.key,
            target: row.target,
            servers: servers.map(measured).collect(),
        }
    }

    pub(crate) fn of(&self, server: &str) -> Option<&Measured> {
        self.servers.iter().find(|measured| measured.server == server)
    }

    /// The median, over the rounds, of this server's figure divided by that of `raw` in the same
    /// round, so that variations of the machine's speed cancel out.
    pub(crate) fn times_raw(&self, server: &Measured) -> Option<f64> {
        let raw = self.of("raw")?;
        let ratio = |(round, report): &(usize, Report)| {
            let (_, raw) = raw.reports.iter().find(|(of, _)| of == round)?;
            let raw = self.key.of(raw);
            // The memory of `raw`, a few bytes per connection, is too small as a unit.
            (raw > 0.0 && self.key != Key::Memory).then(|| self.key.of(report) / raw)
        };
        median(server.reports.iter().filter_map(ratio).collect())
    }

    /// Whether this server reaches the target.
    pub(crate) fn reaches_target(&self, server: &Measured) -> Option<bool> {
        match self.target? {
            Target::TimesRaw(most) => self.times_raw(server).map(|ratio| ratio <= most),
            Target::AtMost(most) => server.median(|r| self.key.of(r)).map(|v| v <= most),
        }
    }
}

impl Measured {
    /// The median of a figure over all rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Report) -> f64) -> Option<f64> {
        median(self.reports.iter().map(|(_, report)| figure(report)).collect())
    }
}

/// The middle value, or the mean of the two middle values.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[n / 2]),
        _ => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run of one row: 2, 4 and 6 µs for `raw`, and 3, 6 and 6 µs for `sprocket`.
    pub(crate) fn sample() -> Results {
        let row = ROWS.iter().find(|row| row.name == "echo-32").expect("a row");
        let mut result = RowResult::new(row, ["raw", "sprocket"].into_iter());
        for (server, figures) in [(0, [2.0, 4.0, 6.0]), (1, [3.0, 6.0, 6.0])] {
            for (round, cpu_us) in figures.into_iter().enumerate() {
                let report = Report { cpu_us, messages: 1, ..Report::default() };
                result.servers[server].reports.push((round, report));
            }
        }
        let participant = |name: &str, missing: Option<&str>| Participant {
            name: name.into(),
            title: format!("<{name}>"),
            missing: missing.map(str::to_owned),
        };
        Results {
            machine: Machine::default(),
            rounds: 3,
            seconds: 1.0,
            participants: vec![
                participant("raw", None),
                participant("sprocket", None),
                participant("swoole", Some("not set")),
            ],
            rows: vec![result],
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let results = sample();
        let row = &results.rows[0];
        let sprocket = row.of("sprocket").expect("it took part");
        assert_eq!(row.times_raw(sprocket), Some(1.5));
        assert_eq!(row.reaches_target(sprocket), Some(false));
        assert_eq!(sprocket.median(|r| r.cpu_us), Some(6.0));
    }

    #[test]
    fn rows_of_an_earlier_run_stay_in_their_place() {
        let named = |name: &str| ROWS.iter().find(|row| row.name == name).expect("a row");
        let mut results = sample();
        results.put(RowResult::new(named("idle"), ["raw"].into_iter()));
        let mut later = sample();
        later.take_rows(results);
        later.put(RowResult::new(named("chat"), ["raw"].into_iter()));
        let names: Vec<&str> = later.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["echo-32", "chat", "idle"]);
    }

    #[test]
    fn median_handles_even_and_empty_lists() {
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
