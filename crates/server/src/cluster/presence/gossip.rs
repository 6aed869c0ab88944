//! Presence between nodes: what each hub tells the others through the broker's control channel,
//! which may lose messages.
//!
//! Each node numbers its changes. Who misses one, or learns from a heartbeat that it did, asks
//! for everything. A node that is not heard of for some time is gone, and its members with it.

use bytes::{BufMut, Bytes, BytesMut};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::presence::registry::{Key, Registry};
use crate::cluster::wire::Malformed;

/// Time between the heartbeats of a node that has published changes.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A node that is silent for so long is gone.
const GONE: Duration = Duration::from_secs(20);
/// Until a question is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two answers.
const ANSWERS: Duration = Duration::from_millis(100);
/// Bytes of one part of an answer.
const PART: usize = 256 << 10;
/// Nodes that are followed.
const MAX_NODES: usize = 1024;

const DELTA: u8 = 1;
const HEARTBEAT: u8 = 2;
const ASK: u8 = 3;
const SNAPSHOT: u8 = 4;
const BYE: u8 = 5;

#[derive(Debug)]
struct Node {
    heard: Instant,
    /// Of what we know.
    version: u64,
    asked: Option<Instant>,
    /// Connections of each member.
    members: HashMap<Key, u32>,
    /// Parts of an answer that is under way.
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    version: u64,
    next: u32,
    members: HashMap<Key, (u32, Bytes)>,
}

/// What this node says, and has heard.
#[derive(Debug, Default)]
pub(crate) struct Gossip {
    version: u64,
    nodes: HashMap<u64, Node>,
    last_heartbeat: Option<Instant>,
    answered: Option<Instant>,
    /// When somebody who has asked is to be answered.
    answer_due: Option<Instant>,
}

/// What a message leads to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Seats that have changed.
    pub(crate) changed: Vec<Key>,
    /// To be said.
    pub(crate) say: Vec<Bytes>,
}

impl Gossip {
    /// What to say when this node's own connections of a member have changed.
    pub(crate) fn delta(&mut self, key: &Key, connections: u32, data: &[u8]) -> Bytes {
        self.version += 1;
        let mut out = head(DELTA, self.version);
        entry(&mut out, key, connections, data);
        out.freeze()
    }

    /// To be said when the broker is there again: everybody's members, please.
    pub(crate) fn ask_all(&mut self) -> Bytes {
        head(ASK, 0).freeze()
    }

    /// To be said at the end.
    pub(crate) fn bye() -> Bytes {
        head(BYE, 0).freeze()
    }

    /// When [`Gossip::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let heartbeat = (self.version > 0)
            .then(|| self.last_heartbeat.map_or_else(Instant::now, |at| at + HEARTBEAT_INTERVAL));
        let gone = self.nodes.values().map(|node| node.heard + GONE).min();
        heartbeat.into_iter().chain(gone).chain(self.answer_due).min()
    }

    pub(crate) fn tick(&mut self, registry: &mut Registry, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        if self.version > 0 && self.last_heartbeat.is_none_or(|at| now >= at + HEARTBEAT_INTERVAL) {
            self.last_heartbeat = Some(now);
            outcome.say.push(head(HEARTBEAT, self.version).freeze());
        }
        if self.answer_due.is_some_and(|due| now >= due) {
            outcome.say.extend(self.answer(registry, now));
        }
        let gone: Vec<u64> =
            self.nodes.iter().filter(|(_, node)| now >= node.heard + GONE).map(|(id, _)| *id).collect();
        for node in gone {
            self.forget(node, registry, &mut outcome);
        }
        outcome
    }

    fn forget(&mut self, id: u64, registry: &mut Registry, outcome: &mut Outcome) {
        for (key, _) in self.nodes.remove(&id).map(|node| node.members).unwrap_or_default() {
            if registry.set(id, &key.0, &key.1, 0, &[]) {
                outcome.changed.push(key);
            }
        }
    }

    /// What another node says. `me` is this node.
    pub(crate) fn hear(
        &mut self,
        me: u64,
        from: u64,
        said: &[u8],
        registry: &mut Registry,
        now: Instant,
    ) -> Result<Outcome, Malformed> {
        let mut outcome = Outcome::default();
        let (kind, number, mut rest) = parse_head(said)?;
        if from == me {
            return Ok(outcome);
        }
        match kind {
            ASK => {
                // Several ask at once when the broker comes back: one answer is for all.
                if (number == 0 || number == me) && self.version > 0 && self.answer_due.is_none() {
                    match self.answered.map(|at| at + ANSWERS) {
                        Some(due) if due > now => self.answer_due = Some(due),
                        _ => outcome.say = self.answer(registry, now),
                    }
                }
                return Ok(outcome);
            }
            BYE => {
                self.forget(from, registry, &mut outcome);
                return Ok(outcome);
            }
            DELTA | HEARTBEAT | SNAPSHOT => {}
            _ => return Err(Malformed),
        }
        if !self.nodes.contains_key(&from) && self.nodes.len() >= MAX_NODES {
            return Ok(outcome);
        }
        let node = self.nodes.entry(from).or_insert_with(|| Node {
            heard: now,
            version: 0,
            asked: None,
            members: HashMap::new(),
            parts: None,
        });
        node.heard = now;
        match kind {
            DELTA if number.checked_sub(1) == Some(node.version) => {
                let (key, connections, data) = parse_entry(&mut rest)?;
                node.version = number;
                let changed = registry.set(from, &key.0, &key.1, connections, data);
                if connections > 0 {
                    node.members.insert(key.clone(), connections);
                } else {
                    node.members.remove(&key);
                }
                if changed {
                    outcome.changed.push(key);
                }
            }
            DELTA | HEARTBEAT => {
                if number != node.version && node.asked.is_none_or(|at| now >= at + AGAIN) {
                    node.asked = Some(now);
                    outcome.say.push(head(ASK, from).freeze());
                }
            }
            _ => Self::take_part(from, node, number, rest, registry, &mut outcome)?,
        }
        Ok(outcome)
    }

    /// A part of an answer: number, whether it is the last, members.
    fn take_part(
        from: u64,
        node: &mut Node,
        version: u64,
        rest: &[u8],
        registry: &mut Registry,
        outcome: &mut Outcome,
    ) -> Result<(), Malformed> {
        // All of it before any of it counts.
        let (index, last, members) = parse_part(rest)?;
        if index == 0 {
            node.parts = Some(Parts { version, next: 0, members: HashMap::new() });
        }
        let Some(parts) = node.parts.as_mut().filter(|p| p.version == version && p.next == index) else {
            // One got lost; a heartbeat leads to another answer.
            node.parts = None;
            return Ok(());
        };
        parts.next += 1;
        for (key, connections, data) in members {
            parts.members.insert(key, (connections, Bytes::copy_from_slice(data)));
        }
        if !last {
            return Ok(());
        }
        let Some(parts) = node.parts.take() else { return Ok(()) };
        if version < node.version {
            // Changes that came meanwhile are newer.
            return Ok(());
        }
        node.version = version;
        node.asked = None;
        let before = std::mem::take(&mut node.members);
        for key in before.into_keys().filter(|key| !parts.members.contains_key(key)) {
            if registry.set(from, &key.0, &key.1, 0, &[]) {
                outcome.changed.push(key);
            }
        }
        for (key, (connections, data)) in parts.members {
            if registry.set(from, &key.0, &key.1, connections, &data) {
                outcome.changed.push(key.clone());
            }
            node.members.insert(key, connections);
        }
        Ok(())
    }

    fn answer(&mut self, registry: &Registry, now: Instant) -> Vec<Bytes> {
        self.answered = Some(now);
        self.answer_due = None;
        self.snapshot(registry)
    }

    /// All members of this node, in parts.
    fn snapshot(&self, registry: &Registry) -> Vec<Bytes> {
        let begin = |index: u32| {
            let mut out = head(SNAPSHOT, self.version);
            out.put_u32_le(index);
            out.put_u8(0);
            out
        };
        let mut parts = vec![begin(0)];
        for (topic, member, seat) in registry.iter() {
            let here = seat.here();
            if here == 0 {
                continue;
            }
            if parts.last().is_some_and(|part| part.len() > PART) {
                parts.push(begin(parts.len() as u32));
            }
            if let Some(part) = parts.last_mut() {
                entry(part, &(topic.clone(), member.clone()), here, &seat.data);
            }
        }
        if let Some(last) = parts.last_mut() {
            last[HEAD + 4] = 1;
        }
        parts.into_iter().map(BytesMut::freeze).collect()
    }
}

/// Version of the format, kind, number.
const HEAD: usize = 10;

fn head(kind: u8, number: u64) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u8(1);
    out.put_u8(kind);
    out.put_u64_le(number);
    out
}

fn parse_head(said: &[u8]) -> Result<(u8, u64, &[u8]), Malformed> {
    let (head, rest) = said.split_first_chunk::<HEAD>().ok_or(Malformed)?;
    match head {
        [1, kind, number @ ..] => Ok((*kind, u64::from_le_bytes(*number), rest)),
        _ => Err(Malformed),
    }
}

fn entry(out: &mut BytesMut, (topic, member): &Key, connections: u32, data: &[u8]) {
    out.put_u32_le(connections);
    for bytes in [topic.as_bytes(), member.as_bytes(), data] {
        out.put_u32_le(bytes.len() as u32);
        out.put_slice(bytes);
    }
}

fn take<'a>(from: &mut &'a [u8], n: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = from.split_at_checked(n).ok_or(Malformed)?;
    *from = rest;
    Ok(taken)
}

/// A member, its connections, what it has said about itself.
type Entry<'a> = (Key, u32, &'a [u8]);

/// The part's number, whether it is the last, members.
fn parse_part(mut from: &[u8]) -> Result<(u32, bool, Vec<Entry<'_>>), Malformed> {
    let index = take(&mut from, 4)?.try_into().map(u32::from_le_bytes).map_err(|_| Malformed)?;
    let last = take(&mut from, 1)? == [1];
    let mut entries = Vec::new();
    while !from.is_empty() {
        entries.push(parse_entry(&mut from)?);
    }
    Ok((index, last, entries))
}

fn parse_entry<'a>(from: &mut &'a [u8]) -> Result<Entry<'a>, Malformed> {
    fn number(from: &mut &[u8]) -> Result<u32, Malformed> {
        take(from, 4)?.try_into().map(u32::from_le_bytes).map_err(|_| Malformed)
    }
    fn name(from: &mut &[u8]) -> Result<Arc<str>, Malformed> {
        let n = number(from)? as usize;
        let bytes = take(from, n)?;
        match std::str::from_utf8(bytes) {
            Ok(name) if (1..=255).contains(&n) => Ok(name.into()),
            _ => Err(Malformed),
        }
    }
    let connections = number(from)?;
    let key = (name(from)?, name(from)?);
    let n = number(from)? as usize;
    let data = take(from, n)?;
    Ok((key, connections, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Side {
        id: u64,
        registry: Registry,
        gossip: Gossip,
    }

    impl Side {
        fn new(id: u64) -> Self {
            Self { id, registry: Registry::default(), gossip: Gossip::default() }
        }

        fn join(&mut self, conn: u64, member: &str) -> Bytes {
            let key = self.registry.join(1, conn, "t", member, "data".into()).remove(0);
            let seat = self.registry.get(&key).unwrap();
            self.gossip.delta(&key, seat.here(), &seat.data)
        }

        fn leave(&mut self, conn: u64) -> Bytes {
            let key = self.registry.leave(1, conn, "t").unwrap();
            let here = self.registry.get(&key).unwrap().here();
            self.registry.settle(&key);
            self.gossip.delta(&key, here, b"")
        }

        fn hear(&mut self, from: u64, said: &[u8], now: Instant) -> Outcome {
            let outcome = self.gossip.hear(self.id, from, said, &mut self.registry, now).unwrap();
            outcome.changed.iter().for_each(|key| self.registry.settle(key));
            outcome
        }

        fn members(&self) -> Vec<(String, u32)> {
            let mut all: Vec<_> =
                self.registry.iter().map(|(_, m, seat)| (m.to_string(), seat.elsewhere(u32::MAX))).collect();
            all.sort();
            all
        }
    }

    #[test]
    fn changes_that_got_lost_are_asked_for() {
        let (mut a, mut b, now) = (Side::new(1), Side::new(2), Instant::now());
        let first = a.join(10, "ann");
        assert_eq!(b.hear(1, &first, now).changed.len(), 1);
        a.join(11, "bob");
        a.join(12, "ann");
        a.leave(11);
        let fifth = a.join(13, "cid");
        let asked = b.hear(1, &fifth, now).say.remove(0);
        assert!(b.hear(1, &fifth, now).say.is_empty(), "not asked twice at once");
        for part in a.hear(2, &asked, now).say {
            b.hear(1, &part, now);
        }
        assert_eq!(b.members(), [("ann".into(), 2), ("cid".into(), 1)]);
        let sixth = a.leave(13);
        b.hear(1, &sixth, now);
        assert_eq!(b.members(), [("ann".into(), 2)]);
        // A heartbeat tells that the last one got lost, too.
        a.leave(12);
        let heartbeat = a.gossip.tick(&mut a.registry, now).say.remove(0);
        let asked = b.hear(1, &heartbeat, now).say.remove(0);
        // Not at once after another answer, but soon.
        assert!(a.hear(2, &asked, now).say.is_empty());
        assert!(a.gossip.due().is_some_and(|due| due <= now + ANSWERS));
        for part in a.gossip.tick(&mut a.registry, now + ANSWERS).say {
            b.hear(1, &part, now);
        }
        assert_eq!(b.members(), [("ann".into(), 1)]);
        assert!(a.members() == b.members());
    }

    #[test]
    fn a_silent_node_and_one_that_says_goodbye_are_gone() {
        let (mut a, mut b, now) = (Side::new(1), Side::new(2), Instant::now());
        let first = a.join(10, "ann");
        b.hear(1, &first, now);
        assert!(b.gossip.tick(&mut b.registry, now + Duration::from_secs(19)).changed.is_empty());
        let late = now + Duration::from_secs(20);
        assert!(b.gossip.due().is_some_and(|due| due <= late));
        let outcome = b.gossip.tick(&mut b.registry, late);
        assert_eq!(outcome.changed.len(), 1);
        outcome.changed.iter().for_each(|key| b.registry.settle(key));
        assert!(b.registry.is_empty() && b.gossip.due().is_none());
        // It was only cut off: the next thing that it says brings it back.
        let heartbeat = a.gossip.tick(&mut a.registry, now).say.remove(0);
        let asked = b.hear(1, &heartbeat, late).say.remove(0);
        for part in a.hear(2, &asked, late).say {
            b.hear(1, &part, late);
        }
        assert_eq!(b.members(), [("ann".into(), 1)]);
        assert_eq!(b.hear(1, &Gossip::bye(), late).changed.len(), 1);
        assert!(b.registry.is_empty());
    }

    #[test]
    fn large_snapshots_come_in_parts_and_count_only_whole() {
        let (mut a, mut b, now) = (Side::new(1), Side::new(2), Instant::now());
        for conn in 0..20 {
            a.registry.join(1, conn, "t", &format!("m{conn}"), Bytes::from(vec![7; 60_000]));
        }
        a.join(99, "last");
        let ask = b.gossip.ask_all();
        let parts = a.hear(2, &ask, now).say;
        assert!(parts.len() > 2);
        b.hear(1, &parts[0], now);
        b.hear(1, &parts[2], now);
        assert!(b.members().is_empty());
        b.hear(1, &parts[0], now);
        let cut = &parts[1][..parts[1].len() - 1];
        assert!(b.gossip.hear(2, 1, cut, &mut b.registry, now).is_err());
        parts[2..].iter().for_each(|part| drop(b.hear(1, part, now)));
        assert!(b.members().is_empty());
        parts.iter().for_each(|part| drop(b.hear(1, part, now)));
        assert_eq!(b.members().len(), 21);
    }

    #[test]
    fn nothing_follows_the_highest_number() {
        let (mut b, now) = (Side::new(2), Instant::now());
        let mut last = head(SNAPSHOT, u64::MAX);
        last.put_slice(&[0, 0, 0, 0, 1]);
        b.hear(1, &last, now);
        let mut next = head(DELTA, 0);
        entry(&mut next, &("t".into(), "ann".into()), 1, b"");
        // It has begun anew, and is asked for all.
        assert_eq!(b.hear(1, &next, now).say.len(), 1);
        assert!(b.members().is_empty());
    }

    #[test]
    fn no_bytes_do_harm() {
        let (mut a, mut b, now) = (Side::new(1), Side::new(2), Instant::now());
        let delta = a.join(10, "ann");
        let ask = b.gossip.ask_all();
        let snapshot = a.hear(2, &ask, now).say.remove(0);
        for said in [delta, snapshot] {
            for cut in 0..said.len() {
                let _ = b.gossip.hear(2, 1, &said[..cut], &mut b.registry, now);
            }
            for at in 0..said.len() {
                let mut changed = said.to_vec();
                changed[at] ^= 0xff;
                let _ = b.gossip.hear(2, 3, &changed, &mut b.registry, now);
            }
        }
        for node in 0..2000 {
            b.hear(10 + node, &head(HEARTBEAT, 1), now);
        }
        assert!(b.gossip.nodes.len() <= MAX_NODES);
    }
}
