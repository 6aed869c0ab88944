//! Parses the frame headers that an HTTP/2 client sends (RFC 9113 section 4.1) to detect floods.
//!
//! The h2 library reads for as long as the socket has input, and answers or ignores most frames itself, so
//! its caller cannot count them.

use std::time::Instant;

use crate::net::flood::Flood;

/// Length of the preface with which a client begins a connection (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Length of a frame header.
const HEADER: usize = 9;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const WINDOW_UPDATE: u8 = 0x8;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;

/// Number of ordinary frames as which a SETTINGS frame counts. Each may change the windows of all streams,
/// and a client sends one or a few during a connection.
const SETTINGS_WEIGHT: u32 = 50;
/// Bytes sent to the client for which it may send one WINDOW_UPDATE. The shortest DATA frame with a payload
/// has ten bytes, and a careful client answers it with two updates.
const BYTES_PER_UPDATE: u64 = 5;

/// The position in one connection's stream of frames, and the count of frames without a payload.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Start of the connection; [`Flood`] counts time from here.
    began: Instant,
    flood: Flood,
    /// Bytes to skip before the next frame header: the preface, or the rest of a payload.
    skip: usize,
    /// The beginning of the current frame that is examined: its header, and for padded DATA the length of the
    /// padding.
    head: [u8; HEADER + 1],
    /// Bytes of `head` received so far.
    head_len: usize,
    /// Bytes sent to the client and not yet offset by a WINDOW_UPDATE; see [`BYTES_PER_UPDATE`].
    sent: u64,
    /// Frames since the last call of [`Meter::take_frames`].
    frames: usize,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            flood: Flood::default(),
            skip: PREFACE,
            head: [0; HEADER + 1],
            head_len: 0,
            sent: 0,
            frames: 0,
        }
    }

    /// Returns the number of frames since the last call.
    pub(crate) fn take_frames(&mut self) -> usize {
        std::mem::take(&mut self.frames)
    }

    /// Longest read, in bytes, in which at most `frames` non-empty frames begin after the current one.
    pub(crate) fn room(&self, frames: usize) -> usize {
        self.skip.saturating_add(frames * (HEADER + 1))
    }

    /// Records `bytes` sent to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Follows the next piece of the stream. Returns true if the client floods the connection.
    pub(crate) fn received(&mut self, mut input: &[u8]) -> bool {
        loop {
            let skipped = self.skip.min(input.len());
            self.skip -= skipped;
            input = &input[skipped..];
            let Some((first, rest)) = input.split_first() else { return false };
            self.head[self.head_len] = *first;
            self.head_len += 1;
            input = rest;
            if self.head_len == self.head_needed() && self.frame() {
                return true;
            }
        }
    }

    /// Number of bytes of the current frame to collect in `head`.
    fn head_needed(&self) -> usize {
        let padded = self.head_len >= HEADER && self.kind() == DATA && self.flags() & PADDED != 0;
        HEADER + usize::from(padded && self.length() > 0)
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    fn kind(&self) -> u8 {
        self.head[3]
    }

    fn flags(&self) -> u8 {
        self.head[4]
    }

    /// Counts a frame whose head is complete. Returns true if that makes a flood.
    fn frame(&mut self) -> bool {
        let looked_at = std::mem::take(&mut self.head_len) - HEADER;
        self.frames += 1;
        let length = self.length();
        self.skip = length - looked_at;
        let padding = if looked_at > 0 { 1 + usize::from(self.head[HEADER]) } else { 0 };
        let weight = match self.kind() {
            // The h2 library itself limits requests that are reset before they are answered.
            HEADERS => 0,
            DATA if length > padding || self.flags() & END_STREAM != 0 => 0,
            WINDOW_UPDATE if self.sent >= BYTES_PER_UPDATE => {
                self.sent -= BYTES_PER_UPDATE;
                0
            }
            SETTINGS if self.flags() & ACK == 0 => SETTINGS_WEIGHT,
            _ => 1,
        };
        weight > 0 && self.flood.add(weight, || self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RST_STREAM: u8 = 0x3;
    const PING: u8 = 0x6;
    const UNKNOWN: u8 = 0x55;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        [&length[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Whether `count` copies of a frame are a flood. Checks that the result doesn't depend on how the stream
    /// is split.
    fn floods(frame: &[u8], count: usize) -> bool {
        let stream = [vec![0x50; PREFACE], frame.repeat(count)].concat();
        let mut verdicts = [1, 7, 1000, 16 << 10].map(|piece| {
            let mut meter = Meter::new();
            stream.chunks(piece).any(|piece| meter.received(piece))
        });
        verdicts.sort_unstable();
        assert_eq!(verdicts[0], verdicts[3], "the result depends on how the stream is split");
        verdicts[0]
    }

    #[test]
    fn frames_that_carry_nothing_are_a_flood() {
        let padding = [&[20][..], &[0; 20]].concat();
        for (kind, flags, payload) in [
            (PING, 0, &[0; 8][..]),
            (PING, ACK, &[0; 8]),
            (WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
            (SETTINGS, ACK, &[]),
            (RST_STREAM, 0, &[0, 0, 0, 8]),
            (DATA, 0, &[]),
            (DATA, PADDED, &padding),
            (0x2, 0, &[0; 5]),
            (0x9, 0, &[]),
            (UNKNOWN, 0, &[0; 300]),
        ] {
            let frame = frame(kind, flags, payload);
            assert!(!floods(&frame, 5_000), "few of type {kind}");
            assert!(floods(&frame, 20_000), "many of type {kind}");
        }
        assert!(!floods(&frame(SETTINGS, 0, &[0, 4, 0, 0, 255, 255]), 20));
        assert!(floods(&frame(SETTINGS, 0, &[]), 500));
    }

    #[test]
    fn data_and_headers_are_no_flood() {
        for frame in [
            frame(DATA, 0, b"x"),
            frame(DATA, PADDED, &[&[3][..], b"x\0\0\0"].concat()),
            frame(DATA, END_STREAM, &[]),
            frame(HEADERS, 5, &[0x82; 40]),
        ] {
            assert!(!floods(&frame, 30_000));
        }
    }

    #[test]
    fn a_read_can_be_limited_to_a_number_of_frames() {
        let stream = [vec![0x50; PREFACE], frame(DATA, 0, b"x").repeat(500), frame(DATA, 0, &[0; 5000])];
        let (mut rest, mut meter, mut frames) = (&stream.concat()[..], Meter::new(), Vec::new());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(meter.room(100).min(rest.len()));
            meter.received(now);
            frames.push(meter.take_frames());
            rest = later;
        }
        assert!(frames.iter().all(|n| *n <= 101), "{frames:?}");
        assert_eq!((frames.iter().sum::<usize>(), frames.len()), (501, 7), "the long frame is read at once");
    }

    #[test]
    fn window_updates_are_allowed_in_proportion_to_data_sent() {
        let updates = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 10]).repeat(2);
        let mut meter = Meter::new();
        meter.skip = 0;
        for _ in 0..50_000 {
            meter.sent(HEADER + 1);
            assert!(!meter.received(&updates));
        }
        assert!((0..50_000).any(|_| meter.received(&updates)), "updates without data are a flood");
    }
}
