//! Tests of the outbox.

use super::*;
use crate::net::plain_socket::PlainSocket;
use std::io::Read;

async fn pair() -> (Stream, std::os::unix::net::UnixStream) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let stream = tokio::net::UnixStream::from_std(ours).unwrap();
    stream.writable().await.unwrap();
    (PlainSocket::Unix(stream).into(), theirs)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn frames_of_all_sizes_arrive_in_order() {
    run(async {
        let (mut stream, theirs) = pair().await;
        let sizes = [3, 900, 1024, 5000, 1, 1, 70_000, 10, 2000, 40];
        let frames: Vec<Bytes> = sizes.iter().enumerate().map(|(i, n)| vec![i as u8; *n].into()).collect();
        let mut outbox = Outbox::default();
        frames.iter().for_each(|f| outbox.push(f.clone()));
        let reader = reader(theirs);
        let mut scratch = Vec::new();
        let mut written = 0;
        while !outbox.is_empty() {
            written += outbox.write_to(&mut stream, &mut scratch).unwrap();
            tokio::task::yield_now().await;
        }
        drop(stream);
        let all = reader.join().unwrap();
        assert_eq!(all, frames.concat());
        assert_eq!(written, all.len());
    });
}

/// Reads everything that is sent to a socket, on a thread of its own.
fn reader(mut theirs: std::os::unix::net::UnixStream) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        all
    })
}

#[test]
fn many_frames_arrive_in_order_and_are_counted() {
    run(async {
        let (mut stream, theirs) = pair().await;
        let sizes = [3, 3, 4, 128, 3, 129, 5, 6000, 2, 128, 3];
        let frame = |i: usize| Bytes::from(vec![i as u8; sizes[i % sizes.len()]]);
        let mut outbox = Outbox::default();
        let (mut expected, mut frames) = (Vec::new(), 0);
        let mut push = |outbox: &mut Outbox, count: usize| {
            for _ in 0..count {
                expected.extend_from_slice(&frame(frames));
                outbox.push(frame(frames));
                frames += 1;
            }
            (expected.len(), frames)
        };
        push(&mut outbox, 9000);
        assert_eq!(outbox.len(), 9000);
        let mut written = outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
        // The socket is full. Further frames join those that wait.
        let (bytes, frames) = push(&mut outbox, 9000);
        let mut ends = (0..frames).scan(0, |end, i| {
            *end += frame(i).len();
            Some(*end)
        });
        let complete = ends.position(|end| end > written).unwrap();
        assert_eq!(outbox.len(), frames - complete, "completely written frames are not counted");
        let reader = reader(theirs);
        while !outbox.is_empty() {
            written += outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!((written, outbox.len()), (bytes, 0));
        assert!(outbox.gathered.is_none() && outbox.pieces.capacity() == 0);
        drop(stream);
        assert!(reader.join().unwrap() == expected);
    });
}

#[test]
fn discard_keeps_a_partly_written_frame_among_gathered_ones() {
    for (written, kept) in [(0, 0), (4, 0), (6, 2), (4 * FEW, 0), (4 * FEW + 1, 3), (4 * FEW + 400, 0)] {
        let mut outbox = Outbox::default();
        (0..2000).for_each(|i| outbox.push(vec![i as u8; 4].into()));
        outbox.skip(written.min(4 * FEW));
        outbox.skip(written.saturating_sub(4 * FEW));
        let left = outbox.len();
        assert_eq!(left, 2000 - written / 4);
        assert_eq!(outbox.discard(), 8000 - written - kept, "{written} bytes are written");
        assert_eq!(outbox.pieces.iter().map(Bytes::len).sum::<usize>(), kept);
        assert_eq!((outbox.len(), outbox.is_empty()), (usize::from(kept > 0), kept == 0));
        outbox.push(Bytes::from_static(b"close"));
        assert_eq!(outbox.len(), usize::from(kept > 0) + 1);
    }
}

/// The frames of `count` messages of different lengths, which follow each other.
fn together(count: usize) -> Bytes {
    let mut frames = Vec::new();
    (0..count).for_each(|i| frame::append_message(&mut frames, &vec![i as u8; i % 5 * 33], true));
    frames.into()
}

/// The end of each frame, counted from the start.
fn ends(frames: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    while ends.last().unwrap_or(&0) < &frames.len() {
        let start = ends.last().unwrap_or(&0);
        ends.push(start + frame::first_length(&frames[*start..]));
    }
    ends
}

#[test]
fn frames_sent_together_are_counted_and_discarded_one_by_one() {
    // The counts of the pushes, of which the second list gathers frames.
    for pushes in [vec![3, 1, 4], vec![5; FEW + 8]] {
        let fill = |outbox: &mut Outbox| {
            let mut all = Vec::new();
            for count in &pushes {
                all.extend_from_slice(&together(*count));
                outbox.push_many(together(*count), *count);
            }
            all
        };
        let all = fill(&mut Outbox::default());
        let ends = ends(&all);
        let limit = all.len().min(1500);
        for first in 0..=limit {
            let mut outbox = Outbox::default();
            fill(&mut outbox);
            assert_eq!(outbox.len(), ends.len());
            outbox.skip(first);
            let next = outbox.first.wrapping_add(outbox.pieces.len() as u64);
            outbox.skip((limit - first) / 3);
            assert_eq!(outbox.first.wrapping_add(outbox.pieces.len() as u64), next, "numbers stay");
            let written = first + (limit - first) / 3;
            let left: Vec<_> = ends.iter().filter(|end| **end > written).collect();
            assert_eq!(outbox.len(), left.len(), "{first} and {written} bytes are written");
            let begun = written > 0 && !ends.contains(&written);
            let kept = left.first().map_or(0, |end| if begun { *end - written } else { 0 });
            assert_eq!(outbox.discard(), all.len() - written - kept, "{written} bytes are written");
            assert_eq!((outbox.len(), outbox.is_empty()), (usize::from(begun), !begun));
            assert_eq!(outbox.pieces.front().map_or(&[][..], |piece| piece), &all[written..][..kept]);
        }
    }
}

#[test]
fn pongs_among_gathered_frames_are_replaced() {
    let mut outbox = Outbox { blocked: true, ..Outbox::default() };
    let mut expected = Vec::new();
    for i in 0..100 {
        outbox.push(vec![i; 3].into());
        expected.extend_from_slice(&[i; 3]);
    }
    outbox.skip(48);
    assert_eq!(outbox.push_pong(Bytes::from_static(b"first")), 0);
    outbox.push(Bytes::from_static(b"more"));
    outbox.push_rest(Bytes::from_static(b"rest"));
    assert_eq!(outbox.push_pong(Bytes::from_static(b"second")), 5);
    outbox.seal();
    let expected = [b"rest", &expected[48..], b"second", b"more"].concat();
    assert_eq!(outbox.pieces.iter().flatten().copied().collect::<Vec<_>>(), expected);
    outbox.skip(expected.len() - 4);
    outbox.blocked = true;
    assert_eq!(outbox.push_pong(Bytes::from_static(b"third")), 0, "the earlier one is written");
    assert_eq!(outbox.len(), 2);
}

#[test]
fn a_pong_replaces_the_last_one_while_the_socket_is_full() {
    run(async {
        let (mut stream, _theirs) = pair().await;
        let mut outbox = Outbox::default();
        let pong = |i: u8| Bytes::from(vec![0x8a, 1, i]);
        (0..3).for_each(|i| assert_eq!(outbox.push_pong(pong(i)), 0));
        assert_eq!(outbox.pieces.len(), 3, "each ping is answered");
        outbox.push(Bytes::from(vec![7; 4 << 20]));
        outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
        assert!(outbox.blocked && outbox.pieces.len() == 1);
        assert_eq!(outbox.push_pong(pong(3)), 0);
        outbox.push(Bytes::from_static(b"text"));
        (4..100).for_each(|i| assert_eq!(outbox.push_pong(pong(i)), 3));
        assert_eq!(outbox.pieces.len(), 3);
        assert_eq!(outbox.pieces[1], pong(99));
    });
}

#[test]
fn discard_keeps_a_partly_written_frame() {
    run(async {
        let (mut stream, theirs) = pair().await;
        let big = Bytes::from(vec![7; 4 << 20]);
        let mut outbox = Outbox::default();
        outbox.push(big.clone());
        outbox.push(Bytes::from_static(b"never"));
        let written = outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
        assert!(written > 0 && written < big.len());
        assert_eq!(outbox.discard(), 5);
        let reader = reader(theirs);
        while !outbox.is_empty() {
            outbox.write_to(&mut stream, &mut Vec::new()).unwrap();
            tokio::task::yield_now().await;
        }
        drop(stream);
        assert_eq!(reader.join().unwrap().len(), big.len());
    });
}

#[test]
fn an_encrypted_pong_is_not_replaced() {
    let mut outbox = Outbox { blocked: true, ..Outbox::default() };
    outbox.push(Bytes::from_static(b"ten bytes."));
    outbox.push_pong(Bytes::from_static(b"first"));
    outbox.keep(10);
    assert_eq!(outbox.push_pong(Bytes::from_static(b"second")), 5);
    outbox.keep(11);
    assert_eq!(outbox.push_pong(Bytes::from_static(b"third")), 0);
    assert_eq!(outbox.push_pong(Bytes::from_static(b"fourth")), 5);
    assert_eq!(outbox.pieces.iter().skip(1).collect::<Vec<_>>(), ["second", "fourth"]);
}
