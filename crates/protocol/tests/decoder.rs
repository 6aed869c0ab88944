//! Compares the decoder with tungstenite: a table of streams, split at every position, and random
//! streams, valid and damaged. The random numbers are the same in every run; the environment variable
//! `SPROCKET_FUZZ_ROUNDS` raises the number of rounds.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
mod oracle;

use flate2::{Compress, Compression, FlushCompress};
use oracle::*;
use sprocket_protocol::decoder::{Config, Decoder, Event, Role};
use sprocket_protocol::deflate::{Compressed, Inflaters};
use std::collections::BTreeMap;

/// An xorshift64* generator, which is good enough here and saves a dependency.
struct Random(u64);

impl Random {
    fn new(round: u64) -> Self {
        Self(round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.below(20) {
            0 => 0,
            1..=10 => self.below(300),
            11..=18 => self.below(5_000),
            _ => self.below(MAX + 2),
        };
        let letters = 1 + self.below(40) as u8;
        let mut payload: Vec<_> =
            (0..length).map(|_| b' ' + (self.next() % u64::from(letters)) as u8).collect();
        if length > 8 && self.chance(2) {
            let at = self.below(length - 4);
            payload[at..at + 4].copy_from_slice("😀".as_bytes());
        }
        payload
    }

    fn config(&mut self) -> Config {
        let role = if self.chance(4) { Role::Client } else { Role::Server };
        config(role, [Compressed::Never, Compressed::Alone, Compressed::WithContext][self.below(3)])
    }

    fn manner(&mut self) -> Manner {
        Manner {
            keep_from: self.chance(2).then(|| self.below(5_000)),
            pause_after: self.chance(2).then(|| 1 + self.below(3)),
            slow: self.chance(4),
        }
    }

    fn frame(&mut self, config: &Config, first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = (config.role == Role::Server).then(|| (self.next() as u32).to_be_bytes());
        frame(first, payload, mask)
    }
}

fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(n as u8),
        n @ 126..=65535 => {
            out.push(126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        out[1] |= 0x80;
        out.extend(mask);
    }
    let key = mask.unwrap_or_default();
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// Encodes a masked frame.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Some([0x11, 0xa2, 0x33, 0xc4]))
}

/// Compresses a message as a sender does: flushed, without the last four bytes.
fn deflate(codec: &mut Compress, payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(payload.len() * 2 + 100);
    codec.compress_vec(payload, &mut wire, FlushCompress::Sync).unwrap();
    if wire.ends_with(&TAIL) {
        wire.truncate(wire.len() - 4);
        wire
    } else {
        // The compressor had nothing to flush; this is an empty message (RFC 7692 section 7.2.3.6).
        vec![0]
    }
}

/// Generates a stream of messages and control frames, and the messages and pings that it contains.
fn stream(random: &mut Random, config: &Config) -> (Vec<u8>, Vec<Received>) {
    let mut codec = Compress::new(Compression::new(1 + random.below(9) as u32), false);
    let (mut bytes, mut received) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(6) {
        let (payload, binary) = (random.payload(), random.chance(2));
        let deflated = config.compressed != Compressed::Never && !random.chance(4);
        let mut wire = payload.clone();
        if deflated {
            if config.compressed == Compressed::Alone {
                codec.reset();
            }
            wire = deflate(&mut codec, &payload);
        }
        let mut first = if binary { 2 } else { 1 } | if deflated { 0x40 } else { 0 };
        let mut rest = &wire[..];
        while random.chance(2) {
            let (piece, more) = rest.split_at(random.below(rest.len() + 1));
            bytes.extend(random.frame(config, first, piece));
            if random.chance(3) {
                bytes.extend(random.frame(config, 0x89, b"control"));
                received.push(Received::Ping(b"control".to_vec()));
            }
            first = 0;
            rest = more;
        }
        bytes.extend(random.frame(config, first | 0x80, rest));
        received.push(if binary { Received::Binary(payload) } else { Received::Text(payload) });
    }
    (bytes, received)
}

fn cut<'a>(random: &mut Random, bytes: &'a [u8]) -> Vec<&'a [u8]> {
    let most = [3, 50, 1000, 70_000][random.below(4)];
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, more) = rest.split_at((1 + random.below(most)).min(rest.len()));
        pieces.push(piece);
        rest = more;
    }
    pieces
}

fn rounds(quick: u64) -> u64 {
    std::env::var("SPROCKET_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(quick)
}

fn agree(ours: &Outcome, stream: &[u8], config: Config, how: impl std::fmt::Display) {
    if let Err(difference) = compare(ours, stream, config) {
        panic!("{how}: {difference} of {:x?}", &stream[..stream.len().min(300)]);
    }
}

#[test]
fn random_messages_come_out_as_they_went_in() {
    for round in 1..=rounds(150) {
        let mut random = Random::new(round);
        let config = random.config();
        let (bytes, mut received) = stream(&mut random, &config);
        let mut end = End::Open;
        let too_long = |message: &Received| matches!(message, Received::Text(payload) | Received::Binary(payload) if payload.len() > MAX);
        if let Some(at) = received.iter().position(too_long) {
            // The decoder rejects the message before it reads some or all of the control frames between
            // its fragments.
            end = End::Failed(1009);
            received.truncate(at);
        }
        let manner = random.manner();
        let ours = decode(cut(&mut random, &bytes), config, manner);
        agree(&ours, &bytes, config, format_args!("round {round}, {config:?}, {manner:?}"));
        let pings = |message: &&Received| !matches!(message, Received::Ping(_));
        assert!(ours.0.iter().filter(pings).eq(received.iter().filter(pings)), "round {round}");
        assert_eq!(ours.1, end, "round {round}");
    }
}

#[test]
fn damaged_streams_end_as_with_tungstenite() {
    let mut endings = BTreeMap::new();
    for round in 1..=rounds(400) {
        let mut random = Random::new(round << 20);
        let config = random.config();
        let (mut bytes, _) = stream(&mut random, &config);
        for _ in 0..1 + random.below(4) {
            // Half of the damage goes to the start of the stream, where headers are dense.
            let reach = if random.chance(2) { 40 } else { bytes.len() };
            let at = random.below(reach.min(bytes.len()));
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = random.next() as u8,
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, random.next() as u8),
            }
        }
        let manner = random.manner();
        let ours = decode(cut(&mut random, &bytes), config, manner);
        agree(&ours, &bytes, config, format_args!("round {round}, {config:?}, {manner:?}"));
        *endings.entry(format!("{:?}", ours.1)).or_insert(0) += 1;
    }
    for end in ["Open", "Failed(1002)", "Failed(1007)", "Failed(1009)"] {
        assert!(endings.contains_key(end), "damage never ends with {end}: {endings:?}");
    }
}

/// Short streams, which a test can split at every position.
fn table() -> Vec<Vec<u8>> {
    const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let long = |first, length: u64| {
        [&[first, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4], b"some of it"].concat()
    };
    let mut table = vec![
        [masked(0x81, "é€😀".as_bytes()), masked(0x82, &[0xff; 130]), masked(0x81, b"")].concat(),
        [masked(0x01, b"\xe2\x82"), masked(0x89, b"ping"), masked(0x80, b"\xac"), masked(0x8a, b"")].concat(),
        [masked(0x02, b""), masked(0x00, b""), masked(0x80, b""), masked(0x81, b"next")].concat(),
        [masked(0x01, b"text"), masked(0x88, b"\x03\xe8bye")].concat(),
        [masked(0x88, b""), masked(0x81, b"behind the close")].concat(),
        // Invalid text: within a frame, across two frames, truncated, and in the reason of a close
        // frame.
        masked(0x81, b"valid until \xed\xa0\x80 here"),
        [masked(0x01, b"\xe2\x82"), masked(0x80, b"A")].concat(),
        [masked(0x01, b"caf\xc3"), masked(0x80, b"")].concat(),
        masked(0x81, b"caf\xc3"),
        masked(0x88, b"\x03\xe8\xff"),
        masked(0x88, b"\x03"),
        // Close codes: one that must not be sent, and one that tungstenite does not know.
        masked(0x88, &1005_u16.to_be_bytes()),
        masked(0x88, &1014_u16.to_be_bytes()),
        // Violations of the framing rules.
        masked(0x80, b"continues nothing"),
        [masked(0x01, b"a"), masked(0x82, b"b")].concat(),
        [masked(0x81, b"text"), masked(0x00, &[0xff; 20])].concat(),
        masked(0x09, b"fragmented"),
        masked(0x89, &[7; 126]),
        frame(0x81, b"not masked", None),
        // Lengths beyond the limits.
        long(0x82, MAX as u64 + 1),
        long(0x01, u64::MAX),
        long(0x89, 1000),
        long(0x89, u64::MAX),
        [masked(0x02, &[1; 100]), long(0x80, MAX as u64)].concat(),
        // Compressed messages: an example of RFC 7692 section 7.2.3; the same in two fragments; one
        // with a final block and more data after it; one that refers to the message before it.
        masked(0xc1, HELLO),
        [masked(0x41, &HELLO[..3]), masked(0x89, b""), masked(0x80, &HELLO[3..])].concat(),
        masked(0xc1, &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]).repeat(2),
        [masked(0xc1, HELLO), masked(0xc2, &[0xf2, 0x00, 0x11, 0x00, 0x00])].concat(),
        masked(0xc1, &[0xff; 20]),
        masked(0xc1, &[0]),
        masked(0xc1, b""),
        [masked(0x41, HELLO), masked(0xc0, b"")].concat(),
        [masked(0x01, b"a"), masked(0xc0, b"")].concat(),
        [masked(0x41, HELLO), masked(0x81, b"x")].concat(),
        long(0xc2, 2 * MAX as u64 + 1025),
        long(0x50, u64::MAX),
    ];
    // Every possible first byte, between messages and inside a fragmented one.
    for first in 0..=255 {
        table.push([masked(0x81, b"ok"), masked(first, b"\x03\xe8")].concat());
        table.push([masked(0x01, b"begun"), masked(first, b"\x03\xe8")].concat());
    }
    table
}

#[test]
fn the_result_does_not_depend_on_where_a_stream_is_split() {
    for stream in table() {
        for role in [Role::Server, Role::Client] {
            for compressed in [Compressed::Never, Compressed::Alone, Compressed::WithContext] {
                let config = config(role, compressed);
                let whole = decode([&stream[..]], config, Manner::default());
                agree(&whole, &stream, config, format_args!("{config:?}"));
                for cut in 0..=stream.len() {
                    for keep_from in [None, Some(0), Some(50)] {
                        let manner = Manner { keep_from, pause_after: Some(1), slow: cut % 2 == 1 };
                        let (a, b) = stream.split_at(cut);
                        let ours = decode([a, b], config, manner);
                        assert_eq!(ours, whole, "cut after {cut} bytes, {manner:?}, {config:?}: {stream:x?}");
                    }
                    // A truncated stream must also have the same result as with tungstenite.
                    let start = decode([&stream[..cut]], config, Manner::default());
                    agree(&start, &stream[..cut], config, format_args!("the first {cut} bytes, {config:?}"));
                }
            }
        }
    }
}

#[test]
fn text_is_refused_at_the_byte_that_makes_it_invalid() {
    let mut payload = vec![b'x'; 10_000];
    payload[5000] = 0xff;
    let plain = masked(0x81, &payload);
    let packed = masked(0xc1, &deflate(&mut Compress::new(Compression::none(), false), &payload));
    for (stream, config) in
        [(plain, config(Role::Server, Compressed::Never)), (packed, config(Role::Server, Compressed::Alone))]
    {
        let (mut decoder, mut shared) = (Decoder::new(config), Inflaters::default());
        let mut read = |byte: &u8| decoder.next(&mut &[*byte][..], &mut shared).is_ok();
        let valid = stream.iter().take_while(|byte| read(byte)).count();
        // The offset includes the headers of the frame and of a stored DEFLATE block.
        assert!((5008..5020).contains(&valid), "{valid} bytes are valid");
    }
}

#[test]
fn a_decompression_bomb_is_refused_at_the_limit() {
    let mut block = Vec::with_capacity(4096);
    let mut codec = Compress::new(Compression::best(), false);
    codec.compress_vec(&vec![0; 1 << 20], &mut block, FlushCompress::Full).unwrap();
    let bomb = masked(0xc2, &block.repeat(1000));
    assert!(bomb.len() < 2 << 20);
    let config = Config { max_message_size: 64 << 20, ..config(Role::Server, Compressed::Alone) };
    let (mut decoder, mut shared) = (Decoder::new(config), Inflaters::default());
    let (mut input, mut turns) = (&bomb[..], 0);
    let error = loop {
        shared.begin_turn(1 << 20);
        match decoder.next(&mut input, &mut shared) {
            Ok(event) => assert_eq!(event, Some(Event::Unfinished)),
            Err(error) => break error,
        }
        turns += 1;
    };
    assert_eq!(error.to_string(), format!("message exceeds the limit of {} bytes when inflated", 64 << 20));
    // A turn exceeds its work budget by at most one buffer.
    assert!((60..=64).contains(&turns), "{turns} turns");
    assert!(bomb.len() - input.len() < bomb.len() / 10, "it is read no further than necessary");
}

#[test]
fn every_frame_that_ends_no_message_yields_an_event() {
    let stream = [
        masked(0x01, b""),
        masked(0x00, b"x"),
        masked(0x89, b"ping"),
        masked(0x80, b""),
        masked(0x42, b""),
        masked(0x80, b"\0"),
        masked(0x81, b""),
    ]
    .concat();
    let mut decoder = Decoder::new(config(Role::Server, Compressed::Alone));
    let (mut input, mut shared, mut events) = (&stream[..], Inflaters::default(), Vec::new());
    while let Some(event) = decoder.next(&mut input, &mut shared).unwrap() {
        events.push(match event {
            Event::Fragment { empty: true } => 'e',
            Event::Fragment { empty: false } => 'f',
            Event::Ping(_) => 'p',
            Event::Message(_) => 'm',
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(events.iter().collect::<String>(), "efpmemm");
}
