//! The decoder beside the path that it is to replace.

use sprocket_protocol::decoder::{Compressed, Config, Decoder, Event, Role};
use sprocket_protocol::deflate::Inflaters;

use crate::inflate::harness::{MAX, Outcome, same};
use crate::inflate::tests::{Random, cut, rounds, stream};

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>, compressed: Compressed) -> Outcome {
    let mut decoder = Decoder::new(Config { role: Role::Server, max_message_size: MAX, compressed });
    let (mut shared, mut messages) = (Inflaters::default(), Vec::new());
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece, &mut shared) {
                Ok(Some(Event::Message(message))) => {
                    messages.push((message.payload.to_vec(), message.binary))
                }
                Ok(Some(Event::Close(_))) => return (messages, Some(1000)),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return (messages, Some(error.close_code())),
            }
        }
    }
    (messages, None)
}

#[test]
fn both_paths_make_the_same_of_a_stream() {
    for round in 1..=rounds(300) {
        let mut random = Random(round.wrapping_mul(0xa076_1d64_78bd_642f));
        let keep = random.chance(2);
        let plain = random.chance(2);
        let (mut bytes, _) = stream(&mut random, keep);
        for _ in 0..random.below(4) {
            let reach = if random.chance(2) { 40 } else { bytes.len() };
            let at = random.below(reach.min(bytes.len()));
            match random.below(3) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.next() as u8),
            }
        }
        let pieces = cut(&mut random, &bytes);
        let pieces = || pieces.iter().map(Vec::as_slice);
        let compressed = match (plain, keep) {
            (true, _) => Compressed::Never,
            (_, true) => Compressed::WithContext,
            _ => Compressed::Alone,
        };
        let old = if plain {
            crate::codec::harness::run(pieces())
        } else {
            crate::inflate::harness::run(pieces(), keep)
        };
        let new = decode(pieces(), compressed);
        // The old path may wait for the frame in which a fault is to be seen.
        let early = new.1.is_some() && old.1.is_none() && new.0 == old.0;
        assert!(same(&old, &new) || early, "round {round}: {:?} and {:?}", old.1, new.1);
    }
}
