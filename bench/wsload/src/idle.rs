//! Idle connections: the cost of opening, holding, and closing them.

use crate::client::{Client, Load, Quiet};
use crate::meter::Meter;
use crate::options::Options;
use anyhow::{Result, bail};
use bench_common::procfs::Snapshot;
use bench_common::report::Report;
use bench_common::{frame, sys};
use std::time::Duration;

pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut client = Client::new(options)?;
    // The first connection opens alone, so that one-time allocations of the server are not counted.
    client.open(1, 1)?;
    wait(&mut client, Duration::from_millis(300))?;
    client.take_handshakes();
    let empty = Snapshot::take(&options.pids)?;

    let mut opening = Meter::start(options);
    opening.begin_now()?;
    client.open(options.connections, options.concurrency)?;
    opening.end_now()?;
    let handshakes = client.take_handshakes();
    let opened = (options.connections as u64).saturating_sub(1).max(1);
    let mut report = opening.report("idle", opened, &handshakes)?;

    wait(&mut client, options.settle)?;
    let mut holding = Meter::start(options);
    holding.begin_now()?;
    wait(&mut client, options.measured)?;
    holding.end_now()?;
    let held = holding.report("idle", opened, &handshakes)?;
    report.connections = options.connections;
    report.rss_kib = held.rss_kib;
    report.peak_kib = report.peak_kib.max(held.peak_kib);
    report.server_cpu_percent = held.server_cpu_percent;
    report.pings = client.pings;
    let added = held.rss_kib as f64 - empty.rss_kib as f64;
    report.kib_per_connection = Some(added / opened as f64);
    if options.close {
        close_all(&mut client, options.connections)?;
    }
    Ok(report)
}

fn wait(client: &mut Client, time: Duration) -> Result<()> {
    let end = sys::now_ns() + time.as_nanos() as u64;
    loop {
        let left = end.saturating_sub(sys::now_ns());
        if left == 0 {
            return Ok(());
        }
        client.turn(left / 1_000_000 + 1, &mut Quiet)?;
    }
}

struct Closing {
    left: usize,
}

impl Load for Closing {
    fn closed(&mut self, _conn: usize) -> Result<()> {
        self.left -= 1;
        Ok(())
    }
}

fn close_all(client: &mut Client, connections: usize) -> Result<()> {
    let close = frame::masked(frame::CLOSE, &1000_u16.to_be_bytes(), [9, 8, 7, 6]);
    let began = sys::now_ns();
    for conn in 0..connections {
        client.sockets.send(conn, &close)?;
    }
    let mut closing = Closing { left: connections };
    while closing.left > 0 {
        if sys::now_ns() - began > 15_000_000_000 {
            bail!("{} connections got no answer to their close frame", closing.left);
        }
        client.turn(100, &mut closing)?;
    }
    let ms = (sys::now_ns() - began) as f64 / 1e6;
    eprintln!("closed {connections} connections in {ms:.0} ms");
    Ok(())
}
