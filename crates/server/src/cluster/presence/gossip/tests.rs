//! Two nodes exchange presence while messages are lost or malformed.

use super::*;

/// A node without a hub: its members and its side of the exchange.
struct TestNode {
    id: u64,
    registry: Registry,
    gossip: Gossip,
}

impl TestNode {
    fn new(id: u64) -> Self {
        Self { id, registry: Registry::default(), gossip: Gossip::default() }
    }

    fn join(&mut self, conn: u64, member: &str) -> Bytes {
        let key = self.registry.join(1, conn, "t", member, "data".into()).remove(0);
        let entry = self.registry.get(&key).unwrap();
        self.gossip.delta(&key, entry.here(), &entry.data)
    }

    fn leave(&mut self, conn: u64) -> Bytes {
        let key = self.registry.leave(1, conn, "t").unwrap();
        let here = self.registry.get(&key).unwrap().here();
        self.registry.settle(&key);
        self.gossip.delta(&key, here, b"")
    }

    fn receive(&mut self, from: u64, message: &[u8], now: Instant) -> GossipOutcome {
        let outcome = self.gossip.receive(self.id, from, message, &mut self.registry, now).unwrap();
        outcome.changed.iter().for_each(|key| self.registry.settle(key));
        outcome
    }

    fn members(&self) -> Vec<(String, u32)> {
        let mut all: Vec<_> =
            self.registry.iter().map(|(_, m, entry)| (m.to_string(), entry.elsewhere(u32::MAX))).collect();
        all.sort();
        all
    }
}

#[test]
fn lost_changes_are_requested() {
    let (mut a, mut b, now) = (TestNode::new(1), TestNode::new(2), Instant::now());
    let first = a.join(10, "ann");
    assert_eq!(b.receive(1, &first, now).changed.len(), 1);
    a.join(11, "bob");
    a.join(12, "ann");
    a.leave(11);
    let fifth = a.join(13, "cid");
    let asked = b.receive(1, &fifth, now).send.remove(0);
    assert!(b.receive(1, &fifth, now).send.is_empty(), "the request is not repeated at once");
    for part in a.receive(2, &asked, now).send {
        b.receive(1, &part, now);
    }
    assert_eq!(b.members(), [("ann".into(), 2), ("cid".into(), 1)]);
    let sixth = a.leave(13);
    b.receive(1, &sixth, now);
    assert_eq!(b.members(), [("ann".into(), 2)]);
    // A heartbeat reveals that the last delta was lost.
    a.leave(12);
    let heartbeat = a.gossip.tick(&mut a.registry, now).send.remove(0);
    let asked = b.receive(1, &heartbeat, now).send.remove(0);
    // A second snapshot is not sent at once after another, but soon.
    assert!(a.receive(2, &asked, now).send.is_empty());
    assert!(a.gossip.due().is_some_and(|due| due <= now + ANSWERS));
    for part in a.gossip.tick(&mut a.registry, now + ANSWERS).send {
        b.receive(1, &part, now);
    }
    assert_eq!(b.members(), [("ann".into(), 1)]);
    assert!(a.members() == b.members());
}

#[test]
fn silent_and_departed_nodes_are_dropped() {
    let (mut a, mut b, now) = (TestNode::new(1), TestNode::new(2), Instant::now());
    let first = a.join(10, "ann");
    b.receive(1, &first, now);
    assert!(b.gossip.tick(&mut b.registry, now + Duration::from_secs(19)).changed.is_empty());
    let late = now + Duration::from_secs(20);
    assert!(b.gossip.due().is_some_and(|due| due <= late));
    let outcome = b.gossip.tick(&mut b.registry, late);
    assert_eq!(outcome.changed.len(), 1);
    outcome.changed.iter().for_each(|key| b.registry.settle(key));
    assert!(b.registry.is_empty() && b.gossip.due().is_none());
    // The node was only disconnected: its next message brings it back.
    let heartbeat = a.gossip.tick(&mut a.registry, now).send.remove(0);
    let asked = b.receive(1, &heartbeat, late).send.remove(0);
    for part in a.receive(2, &asked, late).send {
        b.receive(1, &part, late);
    }
    assert_eq!(b.members(), [("ann".into(), 1)]);
    assert_eq!(b.receive(1, &Gossip::bye(), late).changed.len(), 1);
    assert!(b.registry.is_empty());
}

#[test]
fn snapshots_in_parts_take_effect_only_when_complete() {
    let (mut a, mut b, now) = (TestNode::new(1), TestNode::new(2), Instant::now());
    for conn in 0..20 {
        a.registry.join(1, conn, "t", &format!("m{conn}"), Bytes::from(vec![7; 60_000]));
    }
    a.join(99, "last");
    let ask = b.gossip.ask_all();
    let parts = a.receive(2, &ask, now).send;
    assert!(parts.len() > 2);
    b.receive(1, &parts[0], now);
    b.receive(1, &parts[2], now);
    assert!(b.members().is_empty());
    b.receive(1, &parts[0], now);
    let cut = &parts[1][..parts[1].len() - 1];
    assert!(b.gossip.receive(2, 1, cut, &mut b.registry, now).is_err());
    parts[2..].iter().for_each(|part| drop(b.receive(1, part, now)));
    assert!(b.members().is_empty());
    parts.iter().for_each(|part| drop(b.receive(1, part, now)));
    assert_eq!(b.members().len(), 21);
}

#[test]
fn no_delta_follows_the_highest_number() {
    let (mut b, now) = (TestNode::new(2), Instant::now());
    let last = head(SNAPSHOT, u64::MAX).number(0).flag(true).into_bytes();
    b.receive(1, &last, now);
    let next = write_entry(head(DELTA, 0), &("t".into(), "ann".into()), 1, b"").into_bytes();
    // The number does not continue, so a snapshot is requested.
    assert_eq!(b.receive(1, &next, now).send.len(), 1);
    assert!(b.members().is_empty());
}

#[test]
fn malformed_messages_never_panic_and_nodes_are_bounded() {
    let (mut a, mut b, now) = (TestNode::new(1), TestNode::new(2), Instant::now());
    let delta = a.join(10, "ann");
    let ask = b.gossip.ask_all();
    let snapshot = a.receive(2, &ask, now).send.remove(0);
    for message in [delta, snapshot] {
        for cut in 0..message.len() {
            let _ = b.gossip.receive(2, 1, &message[..cut], &mut b.registry, now);
        }
        for at in 0..message.len() {
            let mut changed = message.to_vec();
            changed[at] ^= 0xff;
            let _ = b.gossip.receive(2, 3, &changed, &mut b.registry, now);
        }
    }
    for node in 0..2000 {
        b.receive(10 + node, &head(HEARTBEAT, 1).into_bytes(), now);
    }
    assert!(b.gossip.nodes.len() <= MAX_NODES);
}

#[test]
fn messages_of_another_version_of_the_format_change_nothing() {
    let (mut a, mut b, now) = (TestNode::new(1), TestNode::new(2), Instant::now());
    let mut delta = a.join(10, "ann").to_vec();
    for version in [VERSION - 1, VERSION + 1] {
        delta[0] = version;
        assert!(b.gossip.receive(2, 1, &delta, &mut b.registry, now).is_err());
    }
    assert!(b.members().is_empty() && b.gossip.nodes.is_empty());
}
