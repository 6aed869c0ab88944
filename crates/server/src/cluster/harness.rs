//! What workers and the hub say to each other, and hubs to hubs, for fuzz targets.

use bytes::{Bytes, BytesMut};
use std::time::{Duration, Instant};

use super::wire::{Down, Up, split};
use crate::cluster::presence::gossip::{Gossip, Outcome};
use crate::cluster::presence::registry::{Key, Registry};

/// Bytes of a frame.
const LIMIT: usize = 1000;

/// Frames of a worker or a hub. The first byte says how the stream is cut, which must not make a
/// difference.
pub(crate) fn frames(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let whole = read(std::iter::once(stream));
    assert_eq!(read(stream.chunks(1 + usize::from(*how))), whole);
    for frame in &whole.0 {
        if let Ok(up) = Up::decode(frame) {
            let current = !matches!(up, Up::Hello { version, .. } if version != super::wire::VERSION);
            again(frame, &up.encode(), current);
            assert_eq!(Up::decode(&up.encode()[4..]).as_ref(), Ok(&up));
        }
        if let Ok(down) = Down::decode(frame) {
            again(frame, &down.encode(), true);
            assert_eq!(Down::decode(&down.encode()[4..]).as_ref(), Ok(&down));
        }
    }
}

/// Frames, and the bytes that wait for more; or that it failed.
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
                    assert!(split(&mut input, LIMIT).is_err(), "what has failed goes on");
                    return (frames, None);
                }
            }
        }
        assert!(input.len() < 4 + LIMIT, "{} bytes wait", input.len());
    }
    (frames, Some(input.len()))
}

/// There is one way to say something. (`LIMIT` leaves no name so long that it would be cut.)
fn again(frame: &[u8], encoded: &[u8], exact: bool) {
    let length = u32::from_le_bytes(*encoded.first_chunk().expect("it has a length")) as usize;
    assert_eq!(length, encoded.len() - 4);
    if exact {
        assert_eq!(&encoded[4..], frame);
    }
}

/// A node that hears others.
struct Side {
    registry: Registry,
    gossip: Gossip,
}

impl Side {
    fn new() -> Self {
        Self { registry: Registry::default(), gossip: Gossip::default() }
    }

    fn settle(&mut self, outcome: Outcome) -> Vec<Bytes> {
        outcome.changed.iter().for_each(|key| self.registry.settle(key));
        outcome.say
    }

    /// Who is where, seen without the own connections (`link` 1) or with nothing else.
    fn members(&self, own: bool) -> Vec<(String, String, u32)> {
        let seats = self.registry.iter().map(|(topic, member, seat)| {
            let connections = if own { seat.here() } else { seat.elsewhere(1) };
            (topic.to_string(), member.to_string(), connections)
        });
        let mut all: Vec<_> = seats.filter(|(_, _, connections)| *connections > 0).collect();
        all.sort();
        all
    }
}

const ME: u64 = 1;
const PEER: u64 = 2;
const STRANGER: u64 = 3;

/// What nodes tell each other about who is present. The bytes are joins and departures at a peer,
/// of which some are never heard, and what a stranger says. In the end we know what the peer knows,
/// and nothing is left of those who have said goodbye.
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
                let said = peer.gossip.tick(&mut peer.registry, now).say;
                exchange(&mut me, &mut peer, said, now);
                Vec::new()
            }
            _ => {
                let Some((length, rest)) = data.split_first() else { break };
                let (said, rest) = rest.split_at(rest.len().min((*length).into()));
                data = rest;
                stranger(&mut me, if who == 0 { ME } else { STRANGER }, said, now);
                Vec::new()
            }
        };
        for key in changed {
            let said = delta(&mut peer, &key);
            if step & 4 == 0 {
                exchange(&mut me, &mut peer, vec![said], now);
            }
        }
    }
    hear(&mut me, STRANGER, &Gossip::bye(), now);
    // A heartbeat leads to a question if something got lost, and the answer to all that is known.
    for _ in 0..3 {
        now += Duration::from_secs(5);
        let said = peer.gossip.tick(&mut peer.registry, now).say;
        exchange(&mut me, &mut peer, said, now);
    }
    assert_eq!(me.members(false), peer.members(true));
    hear(&mut me, PEER, &Gossip::bye(), now);
    assert!(me.registry.iter().next().is_none(), "somebody is left");
}

fn delta(side: &mut Side, key: &Key) -> Bytes {
    let (here, data) =
        side.registry.get(key).map_or((0, Bytes::new()), |seat| (seat.here(), seat.data.clone()));
    let said = side.gossip.delta(key, here, &data);
    side.registry.settle(key);
    said
}

fn hear(side: &mut Side, from: u64, said: &[u8], now: Instant) -> Vec<Bytes> {
    let outcome = side.gossip.hear(ME, from, said, &mut side.registry, now).expect("one of us has said it");
    side.settle(outcome)
}

/// What the peer says, what we ask in turn, and what it answers.
fn exchange(me: &mut Side, peer: &mut Side, said: Vec<Bytes>, now: Instant) {
    for said in said {
        for asked in hear(me, PEER, &said, now) {
            let outcome =
                peer.gossip.hear(PEER, ME, &asked, &mut peer.registry, now).expect("we have said it");
            for answer in peer.settle(outcome) {
                assert!(hear(me, PEER, &answer, now).is_empty());
            }
        }
    }
}

/// Any bytes: what is malformed changes nothing.
fn stranger(me: &mut Side, from: u64, said: &[u8], now: Instant) {
    let before = me.members(false);
    match me.gossip.hear(ME, from, said, &mut me.registry, now) {
        Ok(outcome) if from != ME => drop(me.settle(outcome)),
        Ok(outcome) => assert!(outcome.changed.is_empty() && outcome.say.is_empty()),
        Err(_) => assert_eq!(me.members(false), before),
    }
}
