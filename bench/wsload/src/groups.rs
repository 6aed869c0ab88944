//! Messages to all members of a group, stamped so that each delivery can be checked.

use crate::client::{Load, Sockets};
use anyhow::{Result, bail};
use bench_common::{Histogram, frame, sys};
use std::io::Write;

/// Bytes of the stamp at the head of a payload: in hex, sequence number (8), time (16) and length (8).
pub(crate) const STAMP: usize = 32;
/// Maximum number of messages in flight per group.
pub(crate) const MAX_UNDER_WAY: u64 = 1024;
/// Sequence number of probes, which only show whether all connections are subscribed.
const PROBE: u64 = 0xffff_ffff;

/// Message lengths of a group.
#[derive(Clone, Copy)]
pub(crate) enum Sizes {
    /// All messages have this length.
    Fixed(usize),
    /// Like human messages: mostly 32 to 287 bytes, and 4 KiB for every 32nd; always the same sequence.
    Chat,
}

impl Sizes {
    fn of(self, seq: u64) -> usize {
        match self {
            Sizes::Fixed(size) => size,
            Sizes::Chat if seq % 32 == 31 => 4096,
            // The high bits of a multiplicative hash are evenly distributed.
            Sizes::Chat => STAMP + (seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize,
        }
    }
}

/// Connections that receive each other's messages.
pub(crate) struct Group {
    pub(crate) members: Vec<usize>,
    /// Whether members take turns in publishing; otherwise the last one publishes everything.
    pub(crate) take_turns: bool,
    sent: u64,
    complete: u64,
    /// Number of deliveries of each message in flight.
    delivered: Vec<u32>,
}

impl Group {
    pub(crate) fn new(members: Vec<usize>, take_turns: bool) -> Self {
        let delivered = vec![0; MAX_UNDER_WAY as usize];
        Self { members, take_turns, sent: 0, complete: 0, delivered }
    }

    fn under_way(&self) -> u64 {
        self.sent - self.complete
    }

    fn publisher(&self) -> usize {
        let last = self.members.len() - 1;
        self.members[if self.take_turns { self.sent as usize % (last + 1) } else { last }]
    }
}

/// The message that a connection is currently receiving.
struct Member {
    group: usize,
    stamp: [u8; STAMP],
    next: u64,
    probed: bool,
}

/// The load of `fanout` and `chat`.
pub(crate) struct Groups {
    groups: Vec<Group>,
    members: Vec<Member>,
    sizes: Sizes,
    opcode: u8,
    /// Messages to keep in flight per group if the timer does not publish; 0 to publish nothing.
    pub(crate) inflight: u64,
    /// Messages per tick if the timer publishes.
    pub(crate) per_tick: f64,
    due: f64,
    turn: usize,
    now: u64,
    unprobed: usize,
    /// Groups that may publish another message.
    ready: Vec<usize>,
    pub(crate) count: u64,
    pub(crate) latency: Histogram,
    pub(crate) published: u64,
    pub(crate) out_of_order: u64,
    pub(crate) skipped: u64,
}

impl Groups {
    pub(crate) fn new(groups: Vec<Group>, sizes: Sizes, opcode: u8) -> Self {
        let mut of: Vec<(usize, usize)> = Vec::new();
        for (group, g) in groups.iter().enumerate() {
            of.extend(g.members.iter().map(|conn| (*conn, group)));
        }
        of.sort_unstable();
        let member = |(_, group)| Member { group, stamp: [0; STAMP], next: 0, probed: false };
        let members: Vec<Member> = of.into_iter().map(member).collect();
        Self {
            unprobed: members.len(),
            members,
            groups,
            sizes,
            opcode,
            inflight: 0,
            per_tick: 0.0,
            due: 0.0,
            turn: 0,
            now: 0,
            ready: Vec::new(),
            count: 0,
            latency: Histogram::default(),
            published: 0,
            out_of_order: 0,
            skipped: 0,
        }
    }

    /// Whether every connection has received a probe.
    pub(crate) fn all_probed(&self) -> bool {
        self.unprobed == 0
    }

    /// Sends a probe to every group.
    pub(crate) fn probe(&self, sockets: &mut Sockets) -> Result<()> {
        for group in &self.groups {
            let probe = stamped(PROBE, STAMP, self.opcode);
            sockets.send(group.publisher(), &probe)?;
        }
        Ok(())
    }

    /// Publishes in every group until `inflight` messages are in flight.
    pub(crate) fn fill(&mut self, sockets: &mut Sockets) -> Result<()> {
        self.ready = (0..self.groups.len()).collect();
        self.publish_ready(sockets)
    }

    /// Resets the counts.
    pub(crate) fn forget(&mut self) {
        self.count = 0;
        self.published = 0;
        self.skipped = 0;
        self.latency = Histogram::default();
    }

    /// Number of deliveries of sent messages that have not arrived.
    pub(crate) fn missing(&self) -> u64 {
        let of = |g: &Group| {
            let there: u32 = g.delivered.iter().sum();
            g.under_way() * g.members.len() as u64 - u64::from(there)
        };
        self.groups.iter().map(of).sum()
    }

    fn publish(&mut self, group: usize, sockets: &mut Sockets) -> Result<()> {
        let g = &mut self.groups[group];
        let message = stamped(g.sent, self.sizes.of(g.sent), self.opcode);
        let publisher = g.publisher();
        g.sent += 1;
        self.published += 1;
        sockets.send(publisher, &message)
    }

    fn publish_ready(&mut self, sockets: &mut Sockets) -> Result<()> {
        while let Some(group) = self.ready.pop() {
            while self.groups[group].under_way() < self.inflight {
                self.publish(group, sockets)?;
            }
        }
        Ok(())
    }

    fn delivered(&mut self, conn: usize, seq: u64, sent: u64) {
        let member = &mut self.members[conn];
        if seq == PROBE {
            self.unprobed -= usize::from(!member.probed);
            member.probed = true;
            return;
        }
        self.out_of_order += u64::from(seq != member.next);
        member.next = seq + 1;
        self.count += 1;
        self.latency.add(self.now.saturating_sub(sent));
        let group = &mut self.groups[member.group];
        let delivered = &mut group.delivered[(seq % MAX_UNDER_WAY) as usize];
        *delivered += 1;
        if *delivered as usize == group.members.len() {
            *delivered = 0;
            group.complete += 1;
            self.ready.push(member.group);
        }
    }
}

impl Load for Groups {
    fn begin_read(&mut self, now: u64) {
        self.now = now;
    }

    fn payload(&mut self, conn: usize, offset: usize, data: &[u8]) -> Result<()> {
        if offset < STAMP {
            let n = data.len().min(STAMP - offset);
            self.members[conn].stamp[offset..offset + n].copy_from_slice(&data[..n]);
        }
        Ok(())
    }

    fn message(&mut self, conn: usize, opcode: u8, len: usize) -> Result<()> {
        let stamp = &self.members[conn].stamp;
        let (seq, sent, sent_len) = (hex(&stamp[..8]), hex(&stamp[8..24]), hex(&stamp[24..]));
        if opcode != self.opcode || len as u64 != sent_len {
            bail!("connection {conn}: opcode {opcode}, {len} bytes, where {sent_len} were sent");
        }
        self.delivered(conn, seq, sent);
        Ok(())
    }

    fn end_read(&mut self, _conn: usize, sockets: &mut Sockets) -> Result<()> {
        self.publish_ready(sockets)
    }

    fn timer(&mut self, count: u64, sockets: &mut Sockets) -> Result<()> {
        self.due += self.per_tick * count as f64;
        while self.due >= 1.0 {
            self.due -= 1.0;
            let group = self.turn % self.groups.len();
            self.turn += 1;
            // With members that take turns, the order is defined only with one message in flight.
            let most = if self.groups[group].take_turns { 1 } else { 64 };
            if self.groups[group].under_way() < most {
                self.publish(group, sockets)?;
            } else {
                self.skipped += 1;
            }
        }
        Ok(())
    }
}

fn stamped(seq: u64, len: usize, opcode: u8) -> Vec<u8> {
    let mut payload = vec![b'x'; len];
    // Writing to a slice of that length cannot fail.
    let _ = write!(&mut payload[..STAMP], "{seq:08x}{:016x}{len:08x}", sys::now_ns());
    frame::masked(opcode, &payload, [0x11, 0x9a, 0x5c, 0xe3])
}

fn hex(digits: &[u8]) -> u64 {
    let digit = |d: u8| {
        if d >= b'a' { d - b'a' + 10 } else { d.wrapping_sub(b'0') & 15 }
    };
    digits.iter().fold(0, |n, d| n << 4 | u64::from(digit(*d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_disorder_are_counted() {
        let mut load = Groups::new(vec![Group::new(vec![0, 1], false)], Sizes::Fixed(64), 1);
        load.groups[0].sent = 3;
        for (conn, seq) in [(0, 0), (1, 0), (0, 1), (1, 2)] {
            load.delivered(conn, seq, 0);
        }
        assert_eq!(load.count, 4);
        assert_eq!(load.out_of_order, 1);
        assert_eq!(load.groups[0].complete, 1);
        assert_eq!(load.missing(), 2);
    }

    #[test]
    fn hex_reads_the_written_stamp() {
        assert_eq!(hex(b"00ff10a9"), 0x00ff_10a9);
    }

    #[test]
    fn chat_sizes_leave_room_for_the_stamp() {
        assert!((0..1000).all(|seq| (STAMP..=4096).contains(&Sizes::Chat.of(seq))));
    }
}
