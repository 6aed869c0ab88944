//! Exchange of presence between nodes, over the broker's control channel, which may lose messages.
//!
//! Each node numbers its changes and publishes them as deltas. A node that misses one, which it
//! notices by the number of the next delta or heartbeat, asks for a snapshot of all members. A node
//! that is silent for some time counts as gone, and its members as absent.
//!
//! A message is the version of the format (1 byte), a kind (1 byte), a number (64 bits,
//! little-endian), and the content of the kind:
//!
//! | kind | number | content |
//! |---|---|---|
//! | `DELTA` | of this change | one member |
//! | `HEARTBEAT` | of the last change | |
//! | `ASK` | node that is to send a snapshot, or 0 for all | |
//! | `SNAPSHOT` | of the last change | index of the part, 1 for the last part, members |
//! | `BYE` | 0 | |

#[cfg(test)]
mod tests;

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::presence::registry::{MemberKey, Registry};
use crate::cluster::wire::fields::{Malformed, Reader, Writer};

/// Time between the heartbeats of a node that has published changes.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Time after which a silent node counts as gone.
const GONE: Duration = Duration::from_secs(20);
/// Time after which a request for a snapshot is repeated.
const AGAIN: Duration = Duration::from_secs(2);
/// Minimum interval between two snapshots of this node.
const ANSWERS: Duration = Duration::from_millis(100);
/// Bytes after which a snapshot continues in another message.
const PART: usize = 256 << 10;
/// Other nodes tracked at most; messages of further ones are ignored.
const MAX_NODES: usize = 1024;

const DELTA: u8 = 1;
const HEARTBEAT: u8 = 2;
const ASK: u8 = 3;
const SNAPSHOT: u8 = 4;
const BYE: u8 = 5;

/// Another node, as far as its messages have arrived.
#[derive(Debug)]
struct RemoteNode {
    /// When its last message arrived.
    last_message: Instant,
    /// Number of the last change that `members` includes.
    version: u64,
    /// When a snapshot was last requested, until it arrives.
    asked: Option<Instant>,
    /// Number of connections of each member.
    members: HashMap<MemberKey, u32>,
    /// The parts of a snapshot received so far.
    parts: Option<Parts>,
}

/// An incomplete snapshot.
#[derive(Debug)]
struct Parts {
    /// Number of the last change that the snapshot includes.
    version: u64,
    /// Index of the next part.
    next: u32,
    /// Number of connections and data of each member.
    members: HashMap<MemberKey, (u32, Bytes)>,
}

/// The state of the exchange, held by the hub.
#[derive(Debug, Default)]
pub(crate) struct Gossip {
    /// Number of this node's last change; 0 while it has had no member.
    version: u64,
    /// The other nodes, by their numbers.
    nodes: HashMap<u64, RemoteNode>,
    /// When this node last sent a heartbeat.
    last_heartbeat: Option<Instant>,
    /// When this node last sent a snapshot.
    answered: Option<Instant>,
    /// When to send the next one, if it was requested too early to send it at once.
    answer_due: Option<Instant>,
}

/// Result of a message or of a tick.
#[derive(Debug, Default)]
pub(crate) struct GossipOutcome {
    /// Members that have changed.
    pub(crate) changed: Vec<MemberKey>,
    /// Messages to send to the other nodes.
    pub(crate) send: Vec<Bytes>,
}

impl Gossip {
    /// The message that announces a change of a member's connections on this node.
    pub(crate) fn delta(&mut self, key: &MemberKey, connections: u32, data: &[u8]) -> Bytes {
        self.version += 1;
        write_entry(head(DELTA, self.version), key, connections, data).into_bytes()
    }

    /// The message that requests the snapshots of all nodes, sent when the broker has reconnected.
    pub(crate) fn ask_all(&mut self) -> Bytes {
        head(ASK, 0).into_bytes()
    }

    /// The message that announces the end of this node.
    pub(crate) fn bye() -> Bytes {
        head(BYE, 0).into_bytes()
    }

    /// When to call [`Gossip::tick`] next.
    pub(crate) fn due(&self) -> Option<Instant> {
        let heartbeat = (self.version > 0)
            .then(|| self.last_heartbeat.map_or_else(Instant::now, |at| at + HEARTBEAT_INTERVAL));
        let gone = self.nodes.values().map(|node| node.last_message + GONE).min();
        heartbeat.into_iter().chain(gone).chain(self.answer_due).min()
    }

    /// Sends a heartbeat or a postponed snapshot, and drops silent nodes, where due.
    pub(crate) fn tick(&mut self, registry: &mut Registry, now: Instant) -> GossipOutcome {
        let mut outcome = GossipOutcome::default();
        if self.version > 0 && self.last_heartbeat.is_none_or(|at| now >= at + HEARTBEAT_INTERVAL) {
            self.last_heartbeat = Some(now);
            outcome.send.push(head(HEARTBEAT, self.version).into_bytes());
        }
        if self.answer_due.is_some_and(|due| now >= due) {
            outcome.send.extend(self.answer(registry, now));
        }
        let gone: Vec<u64> = self
            .nodes
            .iter()
            .filter(|(_, node)| now >= node.last_message + GONE)
            .map(|(id, _)| *id)
            .collect();
        for node in gone {
            self.forget(node, registry, &mut outcome);
        }
        outcome
    }

    /// Drops a node with its members.
    fn forget(&mut self, id: u64, registry: &mut Registry, outcome: &mut GossipOutcome) {
        for (key, _) in self.nodes.remove(&id).map(|node| node.members).unwrap_or_default() {
            if registry.set(id, &key.0, &key.1, 0, &[]) {
                outcome.changed.push(key);
            }
        }
    }

    /// Processes a message of the node `from`; `me` is the number of this node.
    ///
    /// # Errors
    /// The message is malformed. It has changed no member then.
    pub(crate) fn receive(
        &mut self,
        me: u64,
        from: u64,
        message: &[u8],
        registry: &mut Registry,
        now: Instant,
    ) -> Result<GossipOutcome, Malformed> {
        let mut outcome = GossipOutcome::default();
        let (kind, number, mut rest) = parse_head(message)?;
        if from == me {
            return Ok(outcome);
        }
        match kind {
            ASK => {
                // When the broker reconnects, many nodes ask at once: one snapshot answers all of them.
                if (number == 0 || number == me) && self.version > 0 && self.answer_due.is_none() {
                    match self.answered.map(|at| at + ANSWERS) {
                        Some(due) if due > now => self.answer_due = Some(due),
                        _ => outcome.send = self.answer(registry, now),
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
        let node = self.nodes.entry(from).or_insert_with(|| RemoteNode {
            last_message: now,
            version: 0,
            asked: None,
            members: HashMap::new(),
            parts: None,
        });
        node.last_message = now;
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
                    outcome.send.push(head(ASK, from).into_bytes());
                }
            }
            _ => Self::take_part(from, node, number, rest, registry, &mut outcome)?,
        }
        Ok(outcome)
    }

    /// Processes a part of a snapshot, and after the last one replaces the node's members.
    fn take_part(
        from: u64,
        node: &mut RemoteNode,
        version: u64,
        rest: Reader<'_>,
        registry: &mut Registry,
        outcome: &mut GossipOutcome,
    ) -> Result<(), Malformed> {
        // Parse the whole part first, so that a malformed one changes nothing.
        let (index, last, members) = parse_part(rest)?;
        if index == 0 {
            node.parts = Some(Parts { version, next: 0, members: HashMap::new() });
        }
        let Some(parts) = node.parts.as_mut().filter(|p| p.version == version && p.next == index) else {
            // A part was lost. The next heartbeat leads to another request.
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
            // Deltas that arrived meanwhile are newer than the snapshot.
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

    /// The snapshot of this node, and a record of when it was sent.
    fn answer(&mut self, registry: &Registry, now: Instant) -> Vec<Bytes> {
        self.answered = Some(now);
        self.answer_due = None;
        self.snapshot(registry)
    }

    /// The messages of a snapshot of all members on this node.
    fn snapshot(&self, registry: &Registry) -> Vec<Bytes> {
        let mut parts = Vec::new();
        let mut members = Writer::bare();
        for (topic, member, entry) in registry.iter() {
            let here = entry.here();
            if here == 0 {
                continue;
            }
            if members.len() > PART {
                parts.push(std::mem::replace(&mut members, Writer::bare()));
            }
            members = write_entry(members, &(topic.clone(), member.clone()), here, &entry.data);
        }
        parts.push(members);
        let last = parts.len() - 1;
        let message = |(index, members): (usize, Writer)| {
            head(SNAPSHOT, self.version).number(index as u64).flag(index == last).followed_by(&members)
        };
        parts.into_iter().enumerate().map(message).collect()
    }
}

/// Version of the format. Messages of another version are malformed.
const VERSION: u8 = 2;

/// Begins a message.
fn head(kind: u8, number: u64) -> Writer {
    Writer::bare().array([VERSION, kind]).number(number)
}

/// Splits a message into its kind, its number and its content.
fn parse_head(message: &[u8]) -> Result<(u8, u64, Reader<'_>), Malformed> {
    let mut from = Reader(message);
    match from.array()? {
        [VERSION, kind] => Ok((kind, from.number()?, from)),
        _ => Err(Malformed),
    }
}

/// Appends a member, its number of connections and its data.
fn write_entry(out: Writer, (topic, member): &MemberKey, connections: u32, data: &[u8]) -> Writer {
    out.number(connections.into()).name(topic).name(member).bytes(data)
}

/// A member, its number of connections, and its data.
type MemberEntry<'a> = (MemberKey, u32, &'a [u8]);

/// Parses a part of a snapshot: its index, whether it is the last, and its members.
fn parse_part(mut from: Reader<'_>) -> Result<(u32, bool, Vec<MemberEntry<'_>>), Malformed> {
    let (index, last) = (from.small()?, from.flag()?);
    let mut entries = Vec::new();
    while from.end().is_err() {
        entries.push(parse_entry(&mut from)?);
    }
    Ok((index, last, entries))
}

/// Parses what [`write_entry`] writes, and removes it from the front of the bytes.
fn parse_entry<'a>(from: &mut Reader<'a>) -> Result<MemberEntry<'a>, Malformed> {
    fn name(from: &mut Reader<'_>) -> Result<Arc<str>, Malformed> {
        let name = from.name()?;
        if (1..=255).contains(&name.len()) { Ok(name.into()) } else { Err(Malformed) }
    }
    let connections = from.small()?;
    let key = (name(from)?, name(from)?);
    Ok((key, connections, from.bytes()?))
}
