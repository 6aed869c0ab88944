//! Connections that watch a server publish on its own: each message of each stream must reach each
//! connection once and in order.

use crate::client::{Client, Load, Sockets};
use crate::options::Options;
use anyhow::{Result, bail};
use bench_common::sys;
use serde::Serialize;
use std::time::Duration;

/// Length of the stream number and sequence number at the head of a payload.
const HEAD: usize = 10;
/// Number of payload bytes to keep: the head, a blank, and a position of up to 63 bytes.
const LOOKED_AT: usize = HEAD + 1 + 64;
/// Delay between attempts to reopen a connection.
const PATIENCE: Duration = Duration::from_millis(50);

/// The result, over all connections.
#[derive(Debug, Default, Serialize)]
struct Report {
    connections: usize,
    streams: usize,
    /// Messages received.
    deliveries: u64,
    /// Sequence numbers skipped.
    lost: u64,
    /// Sequence numbers received before, or received after a higher one.
    repeated: u64,
    /// Sequence numbers not received at the end.
    missing: u64,
    /// Messages without a number, which the server may send.
    others: u64,
    /// Connections ended by the server.
    closed: u64,
    /// Connections and handshakes refused.
    refused: u64,
    /// Time from the first delivery to the last, in seconds.
    seconds: f64,
    /// For each stream, the lowest and highest number that any connection has missed.
    holes: Vec<Option<(u32, u32)>>,
    /// CPU time of this process, in seconds.
    own_cpu_seconds: f64,
}

/// A client that lives on through all its connections.
struct Watcher {
    /// The next expected number of each stream.
    next: Vec<u32>,
    position: String,
}

struct Watch {
    watchers: Vec<Watcher>,
    /// The watcher of each connection.
    of: Vec<usize>,
    head: Vec<[u8; LOOKED_AT]>,
    /// Number of streams, over all watchers, whose last message has not arrived.
    unfinished: usize,
    count: u32,
    reopen: bool,
    /// Watchers without a connection.
    away: Vec<usize>,
    /// Start time of the current read.
    now: u64,
    /// Time of the first and the last message.
    first: u64,
    last: u64,
    report: Report,
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut client = Client::new(options)?;
    let (watchers, streams) = (options.connections, options.streams);
    let watcher = || Watcher { next: vec![0; streams], position: String::new() };
    let mut watch = Watch {
        watchers: (0..watchers).map(|_| watcher()).collect(),
        of: (0..watchers).collect(),
        head: vec![[0; LOOKED_AT]; watchers],
        unfinished: watchers * streams,
        count: options.count,
        reopen: options.reopen,
        away: Vec::new(),
        now: 0,
        first: 0,
        last: 0,
        report: Report { connections: watchers, streams, holes: vec![None; streams], ..Report::default() },
    };
    client.open_for(watchers, options.concurrency, &mut watch)?;
    eprintln!("watching");
    watch.until_done(&mut client, options)?;
    watch.finish()
}

impl Watch {
    fn until_done(&mut self, client: &mut Client, options: &Options) -> Result<()> {
        let settle = options.settle.as_nanos() as u64;
        let (began, mut tried) = (sys::now_ns(), 0);
        let end = began + options.measured.as_nanos() as u64;
        while self.unfinished > 0 {
            client.turn(20, self)?;
            let now = sys::now_ns();
            if now > end || now.saturating_sub(self.last.max(began)) > settle {
                return Ok(());
            }
            if now.saturating_sub(tried) < PATIENCE.as_nanos() as u64 {
                continue;
            }
            tried = now;
            for watcher in std::mem::take(&mut self.away) {
                let position = &self.watchers[watcher].position;
                let conn = client.start_at(format!("{}?after={position}", options.path))?;
                debug_assert_eq!(conn, self.of.len());
                self.of.push(watcher);
                self.head.push([0; LOOKED_AT]);
            }
        }
        Ok(())
    }

    /// Prints the report. True if everything arrived once and in order.
    fn finish(mut self) -> Result<bool> {
        for watcher in &self.watchers {
            for (stream, next) in watcher.next.iter().enumerate() {
                if *next < self.count {
                    self.report.missing += u64::from(self.count - next);
                    widen(&mut self.report.holes[stream], *next, self.count - 1);
                }
            }
        }
        self.report.seconds = self.last.saturating_sub(self.first) as f64 / 1e9;
        self.report.own_cpu_seconds = sys::own_cpu_seconds();
        println!("{}", serde_json::to_string(&self.report)?);
        let report = &self.report;
        Ok(report.lost + report.repeated + report.missing == 0)
    }

    fn number(&mut self, watcher: usize, stream: usize, seq: u32) {
        let next = &mut self.watchers[watcher].next[stream];
        if seq < *next {
            self.report.repeated += 1;
            return;
        }
        if seq > *next {
            self.report.lost += u64::from(seq - *next);
            widen(&mut self.report.holes[stream], *next, seq - 1);
        }
        *next = seq + 1;
        self.unfinished -= usize::from(seq + 1 == self.count);
    }

    fn lose(&mut self, conn: usize) {
        if self.reopen {
            self.away.push(self.of[conn]);
        }
    }
}

fn widen(hole: &mut Option<(u32, u32)>, from: u32, to: u32) {
    let (low, high) = hole.unwrap_or((from, to));
    *hole = Some((low.min(from), high.max(to)));
}

impl Load for Watch {
    fn begin_read(&mut self, now: u64) {
        self.now = now;
    }

    fn payload(&mut self, conn: usize, offset: usize, data: &[u8]) -> Result<()> {
        if offset < LOOKED_AT {
            let n = data.len().min(LOOKED_AT - offset);
            self.head[conn][offset..offset + n].copy_from_slice(&data[..n]);
        }
        Ok(())
    }

    fn message(&mut self, conn: usize, _opcode: u8, len: usize) -> Result<()> {
        let head = self.head[conn];
        let Some((stream, seq)) = number(&head[..len.min(LOOKED_AT)]) else {
            self.report.others += 1;
            return Ok(());
        };
        if stream >= self.report.streams || seq >= self.count {
            bail!("message {seq} of stream {stream} is unexpected");
        }
        if self.report.deliveries == 0 {
            self.first = self.now;
        }
        // Only messages count, because pings continue.
        self.last = self.now;
        self.report.deliveries += 1;
        let watcher = self.of[conn];
        self.number(watcher, stream, seq);
        if let Some(position) = position(&head[..len.min(LOOKED_AT)]) {
            let kept = &mut self.watchers[watcher].position;
            kept.clear();
            kept.push_str(position);
        }
        Ok(())
    }

    fn end_read(&mut self, _conn: usize, _sockets: &mut Sockets) -> Result<()> {
        Ok(())
    }

    fn closed(&mut self, conn: usize) -> Result<()> {
        self.report.closed += 1;
        self.lose(conn);
        Ok(())
    }

    fn refused(&mut self, conn: usize, why: String) -> Result<()> {
        if !self.reopen {
            bail!("connection {conn}: {why}");
        }
        self.report.refused += 1;
        self.lose(conn);
        Ok(())
    }
}

/// Stream number and sequence number at the head of a payload, if present.
fn number(payload: &[u8]) -> Option<(usize, u32)> {
    let digits = payload.get(..HEAD).filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
    if payload.get(HEAD).is_some_and(|b| *b != b' ') {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    let stream = usize::from_str_radix(&text[..2], 16).ok()?;
    Some((stream, u32::from_str_radix(&text[2..], 16).ok()?))
}

/// The word after the number, if a blank follows it.
fn position(payload: &[u8]) -> Option<&str> {
    let rest = payload.get(HEAD + 1..)?;
    let end = rest.iter().position(|b| *b == b' ')?;
    std::str::from_utf8(&rest[..end]).ok().filter(|p| !p.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_positions_are_read() {
        assert_eq!(number(b"010000002a"), Some((1, 42)));
        assert_eq!(number(b"010000002a e1-7 xxx"), Some((1, 42)));
        assert_eq!(position(b"010000002a e1-7 xxx"), Some("e1-7"));
        assert_eq!(position(b"010000002a xxx"), None);
        for other in [&b"hello"[..], b"01000000", b"010000002ax", b"{\"position\":1}"] {
            assert_eq!(number(other), None);
        }
    }

    #[test]
    fn missing_and_repeated_messages_are_counted() {
        let mut watch = Watch {
            watchers: vec![Watcher { next: vec![0], position: String::new() }],
            of: vec![0],
            head: vec![[0; LOOKED_AT]],
            unfinished: 1,
            count: 6,
            reopen: false,
            away: Vec::new(),
            now: 0,
            first: 0,
            last: 0,
            report: Report { connections: 1, streams: 1, holes: vec![None], ..Report::default() },
        };
        for seq in [0, 1, 1, 4, 3] {
            watch.number(0, 0, seq);
        }
        assert_eq!((watch.report.lost, watch.report.repeated, watch.unfinished), (2, 2, 1));
        assert_eq!(watch.report.holes[0], Some((2, 3)));
        watch.number(0, 0, 5);
        assert_eq!(watch.unfinished, 0);
    }
}
