//! The results of a run, and the figures computed from them.

use crate::machine::Machine;
use crate::options::Options;
use crate::rows::{Figure, Key, ROWS, Row, Target};
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

/// The measurements of one row.
#[derive(Serialize, Deserialize)]
pub(crate) struct RowResult {
    #[serde(rename = "name", with = "row_by_name")]
    pub(crate) row: &'static Row,
    pub(crate) servers: Vec<Measured>,
}

/// The file has the names of rows, and not their definitions, so that it follows a change of those.
mod row_by_name {
    use crate::rows::Row;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(row: &Row, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(row.name)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'static Row, D::Error> {
        let name = String::deserialize(from)?;
        Row::named(&name).ok_or_else(|| D::Error::custom(format!("there is no row {name:?} any more")))
    }
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
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
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

    /// A participant that was not missing.
    pub(crate) fn of(&self, server: &str) -> Option<&Participant> {
        self.participants.iter().find(|p| p.name == server && p.missing.is_none())
    }

    /// Adds a row at its place in the table, or replaces it.
    pub(crate) fn put(&mut self, row: RowResult) {
        self.rows.retain(|other| other.row.name != row.row.name);
        self.rows.push(row);
        let place = |row: &RowResult| ROWS.iter().position(|known| known.name == row.row.name);
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

/// A server is ahead of another one if its figure is better by more than this factor; less is a tie.
pub(crate) const TIE: f64 = 1.15;
/// Sprocket itself, and the reference, which does nothing with a message but to send it back.
const NO_RIVALS: [&str; 3] = ["raw", "sprocket", "sprocket-loop"];

impl RowResult {
    pub(crate) fn new(row: &'static Row, servers: impl Iterator<Item = &'static str>) -> Self {
        let measured =
            |server: &str| Measured { server: server.into(), reports: Vec::new(), failures: Vec::new() };
        Self { row, servers: servers.map(measured).collect() }
    }

    pub(crate) fn of(&self, server: &str) -> Option<&Measured> {
        self.servers.iter().find(|measured| measured.server == server)
    }

    /// The median, over the rounds, of a figure of `server` divided by that of `unit` in the same
    /// round, so that variations of the machine's speed cancel out.
    fn ratio(&self, key: Key, server: &Measured, unit: &str) -> Option<f64> {
        let unit = self.of(unit)?;
        let ratio = |(round, report): &(usize, Report)| {
            let (_, unit) = unit.reports.iter().find(|(of, _)| of == round)?;
            let unit = key.of(unit);
            (unit > 0.0).then(|| key.of(report) / unit)
        };
        median(server.reports.iter().filter_map(ratio).collect())
    }

    /// A figure as a multiple of that of `raw`. There is none for memory, because the few bytes per
    /// connection of `raw` are too small as a unit.
    pub(crate) fn times_raw(&self, key: Key, server: &Measured) -> Option<f64> {
        if key == Key::Memory { None } else { self.ratio(key, server, "raw") }
    }

    /// The servers that are ahead of Sprocket by this figure, the best first, with the factor.
    pub(crate) fn ahead(&self, key: Key) -> Vec<(&str, f64)> {
        let Some(sprocket) = self.of("sprocket") else {
            return Vec::new();
        };
        let rivals = self.servers.iter().map(|server| server.server.as_str());
        let rivals = rivals.filter(|name| !NO_RIVALS.contains(name));
        let mut ahead: Vec<_> =
            rivals.filter_map(|name| Some((name, self.ratio(key, sprocket, name)?))).collect();
        ahead.retain(|(_, factor)| *factor > TIE);
        ahead.sort_by(|a, b| b.1.total_cmp(&a.1));
        ahead
    }

    /// Whether this server reaches the target of a figure.
    pub(crate) fn reaches_target(&self, figure: Figure, server: &Measured) -> Option<bool> {
        match figure.target? {
            Target::TimesRaw(most) => self.times_raw(figure.key, server).map(|ratio| ratio <= most),
            Target::AtMost(most) => server.median(|r| figure.key.of(r)).map(|v| v <= most),
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

    /// A run of one row: 2, 4 and 6 µs for `raw`, 3, 6 and 6 µs for `sprocket`, and 2, 5 and 9 µs for `tt`.
    pub(crate) fn sample() -> Results {
        let row = Row::named("echo-32").expect("a row");
        let mut result = RowResult::new(row, ["raw", "sprocket", "tt"].into_iter());
        for (server, figures) in [(0, [2.0, 4.0, 6.0]), (1, [3.0, 6.0, 6.0]), (2, [2.0, 5.0, 9.0])] {
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
                participant("tt", None),
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
        assert_eq!(row.times_raw(Key::Cpu, sprocket), Some(1.5));
        assert_eq!(row.reaches_target(row.row.main, sprocket), Some(false));
        assert_eq!(sprocket.median(|r| r.cpu_us), Some(6.0));
    }

    #[test]
    fn a_server_is_ahead_if_it_is_better_by_more_than_a_tie() {
        let mut results = sample();
        // 3 / 2, 6 / 5 and 6 / 9: the median is 1.2. `raw` is no rival.
        assert_eq!(results.rows[0].ahead(Key::Cpu), [("tt", 1.2)]);
        results.rows[0].servers[2].reports[1].1.cpu_us = 5.3;
        assert_eq!(results.rows[0].ahead(Key::Cpu), []);
    }

    #[test]
    fn rows_of_an_earlier_run_stay_in_their_place() {
        let named = |name: &str| Row::named(name).expect("a row");
        let mut results = sample();
        results.put(RowResult::new(named("idle"), ["raw"].into_iter()));
        let mut later = sample();
        later.take_rows(results);
        later.put(RowResult::new(named("chat"), ["raw"].into_iter()));
        let names: Vec<&str> = later.rows.iter().map(|row| row.row.name).collect();
        assert_eq!(names, ["echo-32", "chat", "idle"]);
    }

    #[test]
    fn median_handles_even_and_empty_lists() {
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
