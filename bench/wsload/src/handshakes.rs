//! Repeatedly opens and cuts connections.

use crate::client::{Client, Quiet};
use crate::meter::{Meter, Step};
use crate::options::Options;
use anyhow::{Result, bail};
use bench_common::report::Report;
use bench_common::{Histogram, sys};

/// Opens `connections` connections, cuts them all, and repeats.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut client = Client::new(options)?;
    let mut meter = Meter::start(options);
    let (mut count, mut latency) = (0, Histogram::default());
    let mut progress = sys::now_ns();
    client.start(options.connections)?;
    loop {
        match meter.step()? {
            Step::Begin => (count, latency) = (0, Histogram::default()),
            Step::End => break,
            Step::Continue => {}
        }
        client.turn(meter.timeout().min(100), &mut Quiet)?;
        if client.open_count() == options.connections {
            client.reset();
            let round = client.take_handshakes();
            count += round.count();
            latency.merge(&round);
            progress = sys::now_ns();
            client.start(options.connections)?;
        } else if sys::now_ns() - progress > 5_000_000_000 {
            bail!("handshakes stuck at {} of a batch", client.open_count());
        }
    }
    let mut report = meter.report("handshakes", count, &latency)?;
    report.connections = options.connections;
    Ok(report)
}
