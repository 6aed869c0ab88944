//! Echoed messages, with a window in flight on each connection or at a fixed rate.

use crate::client::{Client, Load, Sockets};
use crate::meter::{Meter, Step};
use crate::options::Options;
use anyhow::{Result, bail};
use bench_common::report::Report;
use bench_common::{Histogram, frame, sys};
use std::collections::VecDeque;

/// Interval between sends at a fixed rate. All messages due within an interval count as due at its
/// beginning, so that delays of this generator show up as latency instead of being hidden.
const TICK_NS: u64 = 250_000;

struct Echo {
    payload: Vec<u8>,
    opcode: u8,
    /// The frames of one window, concatenated.
    frames: Vec<u8>,
    frame_len: usize,
    /// For each connection, the times at which messages in flight were sent or due, oldest first.
    sent: Vec<VecDeque<u64>>,
    /// Replies completed by the current read.
    replies: usize,
    now: u64,
    count: u64,
    latency: Histogram,
    schedule: Option<Schedule>,
}

/// Sends messages when they are due, whether or not earlier ones were answered (open loop).
struct Schedule {
    per_tick: f64,
    start: u64,
    ticks: u64,
    sent: u64,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut client = Client::new(options)?;
    client.open(options.connections + options.idle, options.concurrency)?;
    let mut load = Echo::new(options);
    match options.rate {
        None => {
            for conn in 0..options.connections {
                load.send(conn, options.window, sys::now_ns(), &mut client.sockets)?;
            }
        }
        Some(rate) => {
            client.set_interval(TICK_NS)?;
            let per_tick = rate * TICK_NS as f64 / 1e9;
            load.schedule = Some(Schedule { per_tick, start: sys::now_ns(), ticks: 0, sent: 0 });
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
    let mut report = meter.report("echo", load.count, &load.latency)?;
    report.connections = options.connections + options.idle;
    report.pings = client.pings;
    Ok(report)
}

impl Echo {
    fn new(options: &Options) -> Self {
        let alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let payload: Vec<u8> = (0..options.size).map(|i| alphabet[i % alphabet.len()]).collect();
        let opcode = if options.binary { frame::BINARY } else { frame::TEXT };
        let one = frame::masked(opcode, &payload, [0x37, 0xfa, 0x21, 0x3d]);
        Self {
            payload,
            opcode,
            frames: one.repeat(options.window),
            frame_len: one.len(),
            sent: vec![VecDeque::with_capacity(options.window); options.connections],
            replies: 0,
            now: 0,
            count: 0,
            latency: Histogram::default(),
            schedule: None,
        }
    }

    fn forget(&mut self) {
        self.count = 0;
        self.latency = Histogram::default();
    }

    fn send(&mut self, conn: usize, n: usize, due: u64, sockets: &mut Sockets) -> Result<()> {
        self.sent[conn].extend(std::iter::repeat_n(due, n));
        let window = self.frames.len() / self.frame_len;
        for done in (0..n).step_by(window) {
            sockets.send(conn, &self.frames[..(n - done).min(window) * self.frame_len])?;
        }
        Ok(())
    }
}

impl Load for Echo {
    fn begin_read(&mut self, now: u64) {
        self.now = now;
    }

    fn payload(&mut self, conn: usize, offset: usize, data: &[u8]) -> Result<()> {
        if self.payload.get(offset..offset + data.len()) != Some(data) {
            bail!("connection {conn}: the reply differs from its message");
        }
        Ok(())
    }

    fn message(&mut self, conn: usize, opcode: u8, len: usize) -> Result<()> {
        if (opcode, len) != (self.opcode, self.payload.len()) {
            bail!("connection {conn}: a reply of opcode {opcode} and {len} bytes");
        }
        match self.sent.get_mut(conn).and_then(VecDeque::pop_front) {
            Some(sent) => self.latency.add(self.now.saturating_sub(sent)),
            None => bail!("connection {conn}: an unexpected reply"),
        }
        self.count += 1;
        self.replies += 1;
        Ok(())
    }

    fn end_read(&mut self, conn: usize, sockets: &mut Sockets) -> Result<()> {
        let replies = std::mem::take(&mut self.replies);
        if replies > 0 && self.schedule.is_none() {
            self.send(conn, replies, sys::now_ns(), sockets)?;
        }
        Ok(())
    }

    fn timer(&mut self, count: u64, sockets: &mut Sockets) -> Result<()> {
        for _ in 0..count {
            let Some(schedule) = &mut self.schedule else {
                return Ok(());
            };
            schedule.ticks += 1;
            let due = schedule.start + schedule.ticks * TICK_NS;
            let total = (schedule.ticks as f64 * schedule.per_tick) as u64;
            let range = schedule.sent..total;
            schedule.sent = total;
            for i in range {
                self.send(i as usize % self.sent.len(), 1, due, sockets)?;
            }
        }
        Ok(())
    }
}
