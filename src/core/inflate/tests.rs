//! Random streams of frames, valid and damaged, through the reader and the engine. Deterministic;
//! `SPROCKET_FUZZ_ROUNDS` asks for more rounds than the few that are quick.

use super::harness::{MAX, run, same};
use super::*;
use flate2::{Compress, Compression, FlushCompress};

/// xorshift64*: no more is needed, and no dependency.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    pub(crate) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.below(10) {
            0 => 0,
            1..=5 => self.below(300),
            6..=8 => self.below(5_000),
            _ => self.below(MAX + 2),
        };
        let letters = 1 + self.below(40) as u8;
        (0..length).map(|_| b' ' + (self.next() % u64::from(letters)) as u8).collect()
    }
}

fn frame(random: &mut Random, first: u8, payload: &[u8]) -> Vec<u8> {
    crate::frame::masked(first, payload, (random.next() as u32).to_be_bytes())
}

/// A stream of messages and control frames, and the messages in it.
pub(crate) fn stream(random: &mut Random, keep: bool) -> (Vec<u8>, Vec<(Vec<u8>, bool)>) {
    let mut codec = Compress::new(Compression::new(1 + random.below(9) as u32), false);
    let (mut bytes, mut messages) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(6) {
        let (payload, binary) = (random.payload(), random.chance(2));
        let deflated = !random.chance(4);
        let mut wire = payload.clone();
        if deflated {
            if !keep {
                codec.reset();
            }
            wire = Vec::with_capacity(payload.len() * 2 + 100);
            codec.compress_vec(&payload, &mut wire, FlushCompress::Sync).unwrap();
            if wire.ends_with(&TAIL) {
                wire.truncate(wire.len() - 4);
            } else {
                // Nothing to flush.
                wire = vec![0];
            }
        }
        let mut first = if binary { 2 } else { 1 } | if deflated { 0x40 } else { 0 };
        let mut rest = &wire[..];
        while random.chance(2) {
            let (piece, more) = rest.split_at(random.below(rest.len() + 1));
            bytes.extend(frame(random, first, piece));
            if random.chance(3) {
                let opcode = if random.chance(2) { 0x89 } else { 0x8a };
                bytes.extend(frame(random, opcode, b"control"));
            }
            first = 0;
            rest = more;
        }
        bytes.extend(frame(random, first | 0x80, rest));
        messages.push((payload, binary));
    }
    (bytes, messages)
}

pub(crate) fn cut(random: &mut Random, bytes: &[u8]) -> Vec<Vec<u8>> {
    let most = [3, 50, 1000, 70_000][random.below(4)];
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((1 + random.below(most)).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = more;
    }
    pieces
}

pub(crate) fn rounds(quick: u64) -> u64 {
    std::env::var("SPROCKET_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(quick)
}

#[test]
fn messages_come_out_as_they_went_in() {
    for round in 1..=rounds(60) {
        let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let keep = random.chance(2);
        let (bytes, mut messages) = stream(&mut random, keep);
        let mut end = None;
        if let Some(at) = messages.iter().position(|(payload, _)| payload.len() > MAX) {
            messages.truncate(at);
            end = Some(1009);
        }
        let pieces = cut(&mut random, &bytes);
        let outcome = run(pieces.iter().map(Vec::as_slice), keep);
        assert!(outcome == (messages, end), "round {round}: ended by {:?}", outcome.1);
    }
}

#[test]
fn damaged_streams_end_alike_however_they_are_cut() {
    let mut endings = std::collections::BTreeMap::new();
    for round in 1..=rounds(150) {
        let mut random = Random(round.wrapping_mul(0xd134_2543_de82_ef95));
        let keep = random.chance(2);
        let (mut bytes, _) = stream(&mut random, keep);
        for _ in 0..1 + random.below(4) {
            // Half of it where the headers are.
            let reach = if random.chance(2) { 40 } else { bytes.len() };
            let at = random.below(reach.min(bytes.len()));
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.next() as u8),
            }
        }
        let whole = run(std::iter::once(&bytes[..]), keep);
        let pieces = cut(&mut random, &bytes);
        let in_pieces = run(pieces.iter().map(Vec::as_slice), keep);
        assert!(same(&whole, &in_pieces), "round {round}: {:?} and {:?}", whole.1, in_pieces.1);
        *endings.entry(whole.1).or_insert(0) += 1;
    }
    for code in [None, Some(1002), Some(1007), Some(1009)] {
        assert!(endings.contains_key(&code), "damage never ends with {code:?}: {endings:?}");
    }
}

#[test]
fn a_bomb_fills_no_more_than_the_buffer() {
    let mut block = Vec::with_capacity(4096);
    let mut codec = Compress::new(Compression::best(), false);
    codec.compress_vec(&vec![0; 1 << 20], &mut block, FlushCompress::Full).unwrap();
    let mut random = Random(1);
    let bomb = frame(&mut random, 0xc2, &block.repeat(1000));
    assert!(bomb.len() < 2 << 20);
    let max = 1 << 30;
    let (mut reader, mut pool, mut plain) = (Reader::default(), Inflaters::default(), Plain::default());
    let (mut input, mut total) = (&bomb[..], 0);
    while total < 100 << 20 {
        assert_eq!(reader.read(&mut input, &mut plain, &mut pool, false, max), Ok(Step::Full));
        assert!(plain.filled().len() > ROOM / 2 && plain.filled().len() <= ROOM);
        total += plain.filled().len();
        plain.clear();
    }
    assert!(reader.take_work() >= total - total / 1000);
}
