//! Entry points for the fuzz targets: frames between workers and the hub, and the exchange of presence
//! between hubs.

use bytes::{Bytes, BytesMut};
use std::time::{Duration, Instant};

use super::wire::{Down, Up, split};
use crate::cluster::presence::gossip::{Gossip, GossipOutcome};
use crate::cluster::presence::registry::{MemberKey, Registry};

/// Bytes of the largest frame.
const LIMIT: usize = 1000;

/// Decodes a stream of frames of a worker or a hub. The first byte of `data` is the size of the pieces
/// in which the stream arrives, which must not make a difference.
pub(crate) fn frames(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let whole = read(std::iter::once(stream));
    assert_eq!(read(stream.chunks(1 + usize::from(*how))), whole);
    for frame in &whole.0 {
        if let Ok(up) = Up::decode(frame) {
            let current = !matches!(up, Up::Hello { version, .. } if version != super::wire::VERSION);
            check_encoding(frame, &up.encode(), current);
            assert_eq!(Up::decode(&up.encode()[4..]).as_ref(), Ok(&up));
        }
        if let Ok(down) = Down::decode(frame) {
            check_encoding(frame, &down.encode(), true);
            assert_eq!(Down::decode(&down.encode()[4..]).as_ref(), Ok(&down));
        }
    }
}

/// The frames of a stream, and the number of bytes of an incomplete frame at its end; `None` if the
/// stream is malformed.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, Option<usize>) {
    let (mut input, mut frames) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match split(&mut input, LIMIT) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => {
                    input.extend_from_slice(&[1, 0, 0, 0, 9]);
                    assert!(split(&mut input, LIMIT).is_err(), "splitting continues after an error");
                    return (frames, None);
                }
            }
        }
        assert!(input.len() < 4 + LIMIT, "{} bytes wait", input.len());
    }
    (frames, Some(input.len()))
}

/// Checks that a decoded frame is encoded as the same bytes (`exact`), with a correct length. `LIMIT`
/// keeps names too short to be truncated.
fn check_encoding(frame: &[u8], encoded: &[u8], exact: bool) {
    let length =
        u32::from_le_bytes(*encoded.first_chunk().expect("an encoded frame begins with its length")) as usize;
    assert_eq!(length, encoded.len() - 4);
    if exact {
        assert_eq!(&encoded[4..], frame);
    }
}

/// A node without a hub: its members and its side of the exchange.
struct Side {
    registry: Registry,
    gossip: Gossip,
}

impl Side {
    fn new() -> Self {
        Self { registry: Registry::default(), gossip: Gossip::default() }
    }

    fn settle(&mut self, outcome: GossipOutcome) -> Vec<Bytes> {
        outcome.changed.iter().for_each(|key| self.registry.settle(key));
        outcome.send
    }

    /// The members with their number of connections: only those of this node (`own`), which are on the
    /// link 1, or only those elsewhere.
    fn members(&self, own: bool) -> Vec<(String, String, u32)> {
        let members = self.registry.iter().map(|(topic, member, entry)| {
            let connections = if own { entry.here() } else { entry.elsewhere(1) };
            (topic.to_string(), member.to_string(), connections)
        });
        let mut all: Vec<_> = members.filter(|(_, _, connections)| *connections > 0).collect();
        all.sort();
        all
    }
}

const ME: u64 = 1;
const PEER: u64 = 2;
const STRANGER: u64 = 3;

/// Runs the exchange of presence between this node, a peer (another node, which follows the protocol)
/// and a stranger (one that sends arbitrary bytes). Each byte of `data` is a join or departure at the
/// peer, whose message may be lost, a tick of the peer, or a message of the stranger. In the end this
/// node must know the peer's members, and none of nodes that have announced their end.
pub(crate) fn gossip(mut data: &[u8]) {
    let (mut me, mut peer, mut now) = (Side::new(), Side::new(), Instant::now());
    while let Some((step, rest)) = data.split_first() {
        data = rest;
        let who = u64::from(step >> 4 & 3);
        let (topic, member) =
            (["t", "u"][usize::from(step >> 6 & 1)], ["ann", "bob"][usize::from(step >> 7)]);
        let changed = match step & 3 {
            0 => {
                let about = Bytes::copy_from_slice(&data[..data.len().min(1)]);
                peer.registry.join(1, who, topic, member, about)
            }
            1 => peer.registry.leave(1, who, topic).into_iter().collect(),
            2 => {
                now += Duration::from_millis(500);
                let messages = peer.gossip.tick(&mut peer.registry, now).send;
                exchange(&mut me, &mut peer, messages, now);
                Vec::new()
            }
            _ => {
                let Some((length, rest)) = data.split_first() else { break };
                let (message, rest) = rest.split_at(rest.len().min((*length).into()));
                data = rest;
                stranger(&mut me, if who == 0 { ME } else { STRANGER }, message, now);
                Vec::new()
            }
        };
        for key in changed {
            let message = delta(&mut peer, &key);
            if step & 4 == 0 {
                exchange(&mut me, &mut peer, vec![message], now);
            }
        }
    }
    receive(&mut me, STRANGER, &Gossip::bye(), now);
    // If a delta was lost, a heartbeat makes this node request a snapshot.
    for _ in 0..3 {
        now += Duration::from_secs(5);
        let messages = peer.gossip.tick(&mut peer.registry, now).send;
        exchange(&mut me, &mut peer, messages, now);
    }
    assert_eq!(me.members(false), peer.members(true));
    receive(&mut me, PEER, &Gossip::bye(), now);
    assert!(me.registry.iter().next().is_none(), "members of departed nodes remain");
}

/// The peer's message about a changed member.
fn delta(side: &mut Side, key: &MemberKey) -> Bytes {
    let (here, data) =
        side.registry.get(key).map_or((0, Bytes::new()), |entry| (entry.here(), entry.data.clone()));
    let message = side.gossip.delta(key, here, &data);
    side.registry.settle(key);
    message
}

/// Passes a well-formed message to this node. Returns its replies.
fn receive(side: &mut Side, from: u64, message: &[u8], now: Instant) -> Vec<Bytes> {
    let outcome = side
        .gossip
        .receive(ME, from, message, &mut side.registry, now)
        .expect("messages of nodes are well-formed");
    side.settle(outcome)
}

/// Passes messages of the peer to this node, its requests to the peer, and the answers back.
fn exchange(me: &mut Side, peer: &mut Side, messages: Vec<Bytes>, now: Instant) {
    for message in messages {
        for request in receive(me, PEER, &message, now) {
            let outcome = peer
                .gossip
                .receive(PEER, ME, &request, &mut peer.registry, now)
                .expect("requests are well-formed");
            for answer in peer.settle(outcome) {
                assert!(receive(me, PEER, &answer, now).is_empty());
            }
        }
    }
}

/// Passes arbitrary bytes to this node: a malformed message must change nothing.
fn stranger(me: &mut Side, from: u64, message: &[u8], now: Instant) {
    let before = me.members(false);
    match me.gossip.receive(ME, from, message, &mut me.registry, now) {
        Ok(outcome) if from != ME => drop(me.settle(outcome)),
        Ok(outcome) => assert!(outcome.changed.is_empty() && outcome.send.is_empty()),
        Err(_) => assert_eq!(me.members(false), before),
    }
}
