//! Encoding and decoding of frames are inverse, and malformed input is rejected.

use super::*;

fn ups() -> Vec<Up<'static>> {
    vec![
        Up::Hello { version: VERSION, slot: 3, instance: u64::MAX, counters: 1, history: "a b" },
        Up::Publish { topic: "room.1", payload: "hé".as_bytes(), binary: false, except: 7, ticket: 5 },
        Up::Broadcast { payload: &[0xff], binary: true },
        Up::Interest { name: "room.*", on: true },
        Up::Resume { ticket: 9, topic: "t", position: "abc-1" },
        Up::Join { conn: 1, topic: "t", member: "m", data: &[0, 255] },
        Up::Leave { conn: 1, topic: "t" },
        Up::Stats { values: vec![1, u64::MAX] },
        Up::Sync,
    ]
}

fn downs() -> Vec<Down<'static>> {
    vec![
        Down::Welcome { broker: true, limit: 5 },
        Down::TurnedAway { why: "no" },
        Down::Deliver { topic: "t", payload: b"p", binary: false, position: "a-1", except: 0 },
        Down::Broadcast { payload: b"", binary: false },
        Down::Missed { ticket: 1, payload: b"x", binary: true },
        Down::Resumed { ticket: 1, complete: true, position: "" },
        Down::Present { topic: "t", member: "m", connections: 5, data: b"d" },
        Down::Refused { ticket: 4, topic: "t", why: "full", uncertain: true },
        Down::Broker { connected: false, reason: "gone" },
        Down::Stats { link: 1, slot: 2, values: vec![] },
        Down::StatsGone { link: 1 },
        Down::Handled { publications: 3 },
        Down::Synced,
    ]
}

#[test]
fn frames_survive_encoding_and_any_split_of_the_stream() {
    let all: Vec<u8> = ups().iter().map(Up::encode).collect::<Vec<_>>().concat();
    for step in [1, 2, 7, all.len()] {
        let (mut input, mut frames) = (BytesMut::new(), Vec::new());
        for piece in all.chunks(step) {
            input.extend_from_slice(piece);
            while let Some(frame) = split(&mut input, 1000).unwrap() {
                frames.push(frame);
            }
        }
        let read: Vec<_> = frames.iter().map(|f| Up::decode(f).unwrap()).collect();
        assert_eq!(read, ups());
    }
    for down in downs() {
        assert_eq!(Down::decode(&down.encode()[4..]).as_ref(), Ok(&down));
    }
}

#[test]
fn malformed_frames_are_rejected_without_a_panic() {
    for frame in ups().iter().map(Up::encode).chain(downs().iter().map(Down::encode)) {
        let frame = &frame[4..];
        // Truncated or altered anywhere, a frame decodes to an error or another frame, never a panic.
        for cut in 0..frame.len() {
            let _ = (Up::decode(&frame[..cut]), Down::decode(&frame[..cut]));
        }
        for at in 0..frame.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = frame.to_vec();
                changed[at] = byte;
                let _ = (Up::decode(&changed), Down::decode(&changed));
            }
        }
    }
    let invalid = Up::Publish { topic: "t", payload: &[0xff], binary: false, except: 0, ticket: 0 }.encode();
    assert_eq!(Up::decode(&invalid[4..]), Err(Malformed));
    assert_eq!(Up::decode(&[]), Err(Malformed));
}

#[test]
fn a_length_field_alone_allocates_no_memory() {
    let mut input = BytesMut::from(&1000u32.to_le_bytes()[..]);
    assert_eq!(split(&mut input, 999), Err(Malformed));
    assert_eq!(split(&mut BytesMut::from(&[0; 4][..]), 999), Err(Malformed));
    let mut input = BytesMut::from(&(1u32 << 30).to_le_bytes()[..]);
    assert_eq!(split(&mut input, 1 << 30), Ok(None));
    assert!(input.capacity() < 1 << 20);
}

#[test]
fn a_hello_of_another_version_yields_its_version() {
    let mut hello =
        Up::Hello { version: 2, slot: 0, instance: 0, counters: 0, history: "" }.encode().to_vec();
    hello.extend(b"something new");
    assert!(matches!(Up::decode(&hello[4..]), Ok(Up::Hello { version: 2, .. })));
}
