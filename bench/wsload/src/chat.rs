//! `fanout`: one group with all connections. `chat`: rooms whose members take turns.

use crate::client::{Client, Load};
use crate::groups::{Group, Groups, Sizes};
use crate::meter::{Meter, Step};
use crate::options::Options;
use anyhow::{Result, bail};
use bench_common::report::Report;
use bench_common::{frame, sys};

const SETUP_NS: u64 = 20_000_000_000;
const DRAIN_NS: u64 = 3_000_000_000;
const PROBE_EVERY_NS: u64 = 100_000_000;

/// Runs `connections` subscribers and one further connection that publishes.
pub(crate) fn fanout(options: &Options) -> Result<Report> {
    let mut client = Client::new(options)?;
    client.open(options.connections + 1, options.concurrency)?;
    let group = Group::new((0..=options.connections).collect(), false);
    let mut load = Groups::new(vec![group], Sizes::Fixed(options.size), opcode(options));
    await_subscribers(&mut client, &mut load)?;
    measure("fanout", options, client, load, options.inflight)
}

/// Runs connections spread evenly over rooms.
pub(crate) fn rooms(options: &Options) -> Result<Report> {
    let mut client = Client::new(options)?;
    client.open(options.connections, options.concurrency)?;
    join(&mut client, options)?;
    let count = options.rooms.min(options.connections);
    let members = |room| (room..options.connections).step_by(count).collect();
    let groups = (0..count).map(|room| Group::new(members(room), true)).collect();
    let load = Groups::new(groups, Sizes::Chat, opcode(options));
    measure("chat", options, client, load, 1)
}

fn measure(
    mode: &str,
    options: &Options,
    mut client: Client,
    mut load: Groups,
    inflight: u64,
) -> Result<Report> {
    match options.rate {
        None => {
            load.inflight = inflight;
            load.fill(&mut client.sockets)?;
        }
        Some(rate) => {
            // A low rate has one tick per message, a high rate one tick per millisecond.
            let tick = (1e9 / rate).max(1e6);
            load.per_tick = rate * tick / 1e9;
            client.set_interval(tick as u64)?;
        }
    }
    let mut meter = Meter::start(options);
    loop {
        match meter.step()? {
            Step::Begin => load.forget(),
            Step::End => break,
            Step::Continue => {}
        }
        client.turn(meter.timeout(), &mut load)?;
    }
    let mut report = meter.report(mode, load.count, &load.latency)?;
    report.connections = options.connections;
    report.skipped = load.skipped;
    load.inflight = 0;
    load.per_tick = 0.0;
    let deadline = sys::now_ns() + DRAIN_NS;
    while load.missing() > 0 && sys::now_ns() < deadline {
        client.turn(10, &mut load)?;
    }
    report.lost = load.missing();
    report.out_of_order = load.out_of_order;
    report.pings = client.pings;
    Ok(report)
}

fn opcode(options: &Options) -> u8 {
    if options.binary { frame::BINARY } else { frame::TEXT }
}

/// Sends probes until every connection is subscribed, which may be some time after its handshake.
fn await_subscribers(client: &mut Client, load: &mut Groups) -> Result<()> {
    let deadline = sys::now_ns() + SETUP_NS;
    let mut next = 0;
    while !load.all_probed() {
        let now = sys::now_ns();
        if now > deadline {
            bail!("some connections do not receive publications");
        }
        if now >= next {
            load.probe(&mut client.sockets)?;
            next = now + PROBE_EVERY_NS;
        }
        client.turn(10, load)?;
    }
    Ok(())
}

/// Waits for the answers to the messages that name the room.
struct Joining {
    left: usize,
}

impl Load for Joining {
    fn message(&mut self, _conn: usize, _opcode: u8, _len: usize) -> Result<()> {
        self.left -= 1;
        Ok(())
    }
}

fn join(client: &mut Client, options: &Options) -> Result<()> {
    let rooms = options.rooms.min(options.connections);
    for conn in 0..options.connections {
        let name = format!("room-{}", conn % rooms);
        client.sockets.send(conn, &frame::masked(frame::TEXT, name.as_bytes(), [5, 6, 7, 8]))?;
    }
    let mut joining = Joining { left: options.connections };
    let deadline = sys::now_ns() + SETUP_NS;
    while joining.left > 0 {
        if sys::now_ns() > deadline {
            bail!("{} connections got no answer to the name of their room", joining.left);
        }
        client.turn(100, &mut joining)?;
    }
    Ok(())
}
