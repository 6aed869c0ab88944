//! Follows the frames of incoming bytes before the engine sees them.
//!
//! Three things need it. A connection that stands between two messages needs no engine of its
//! own: the tracker knows when that is so. Invalid UTF-8 must be noticed in a message that
//! has not arrived whole, where the engine looks only at whole frames. And the engine replaces close
//! codes that it does not know, which the tracker keeps.

use crate::utf8::Utf8;

/// What a piece of input held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Whole messages and control frames that end in the piece.
    pub(crate) messages: usize,
    /// Frames that begin in the piece.
    pub(crate) frames: u32,
    /// Of the frames that end in the piece: control frames, and fragments without payload that do
    /// not end a message.
    pub(crate) idle: u32,
    /// A text that has not arrived whole is invalid already.
    pub(crate) invalid_utf8: bool,
}

/// Position in the stream of frames (RFC 6455 section 5.2).
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    /// A header that has not arrived whole.
    header: [u8; 14],
    header_len: u8,
    /// Payload bytes of the current frame that are yet to come.
    left: u64,
    /// Of the current frame, while `left` is not 0.
    frame: Frame,
    /// A fragmented message is under way.
    fragmented: bool,
    /// It, or the message of the current frame, is text.
    text: bool,
    utf8: Utf8,
    /// Payload of the current, or last, close frame as far as it has arrived; none that is longer
    /// than a control frame may be.
    close: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Frame {
    fin: bool,
    control: bool,
    /// Its payload is kept.
    close: bool,
    mask: [u8; 4],
    /// How far the mask has turned.
    phase: usize,
    /// Its text is being validated here.
    checked: bool,
}

impl Tracker {
    /// Whether the stream stands between two messages.
    pub(crate) fn is_clean(&self) -> bool {
        self.left == 0 && self.header_len == 0 && !self.fragmented
    }

    /// Payload of the close frame that has arrived last: code and reason, not validated.
    pub(crate) fn close_payload(&self) -> &[u8] {
        &self.close
    }

    /// Follows the next piece of the stream.
    #[cfg(test)]
    pub(crate) fn scan(&mut self, mut input: &[u8]) -> Scan {
        let mut all = Scan::default();
        while !input.is_empty() && !all.invalid_utf8 {
            let (scan, used) = self.scan_message(input, 3);
            all.messages += scan.messages;
            all.frames += scan.frames;
            all.idle += scan.idle;
            all.invalid_utf8 = scan.invalid_utf8;
            input = &input[used..];
        }
        all
    }

    /// Follows the next piece of the stream, but not beyond the end of a message or a control frame,
    /// so that each can be weighed before the next, nor beyond the end of the `most`th frame. Also
    /// says how many bytes that was: not 0, where there are any.
    pub(crate) fn scan_message(&mut self, input: &[u8], most: u32) -> (Scan, usize) {
        let mut rest = input;
        let scan = self.follow(&mut rest, most);
        (scan, input.len() - rest.len())
    }

    fn follow(&mut self, input: &mut &[u8], most: u32) -> Scan {
        let mut scan = Scan::default();
        loop {
            if self.left > 0 {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
                let (piece, rest) = input.split_at(n);
                *input = rest;
                self.left -= n as u64;
                if self.frame.close {
                    let mask = self.frame.mask;
                    let kept = self.close.len();
                    self.close.extend(piece.iter().enumerate().map(|(i, byte)| byte ^ mask[(kept + i) & 3]));
                }
                if self.frame.checked && !self.check(piece) {
                    scan.invalid_utf8 = true;
                    return scan;
                }
                if self.left > 0 {
                    return scan;
                }
                self.end_of_frame(&mut scan);
                if self.is_clean() || self.frame.control {
                    return scan;
                }
            }
            if input.is_empty() || scan.frames >= most.max(1) {
                return scan;
            }
            let Some((frame, length, used)) = self.parse_header(input) else {
                *input = &[];
                return scan;
            };
            *input = &input[used..];
            scan.frames += 1;
            self.frame = frame;
            self.left = length;
            // A text that arrives whole in one frame is left to the engine. So is the text of a
            // message that has an impossible header: the engine refuses that.
            let whole = frame.fin && !self.fragmented && length <= input.len() as u64;
            self.frame.checked = !frame.control && self.text && !whole;
            if length == 0 {
                // The end of a message says something even if it is empty; other fragments do not.
                scan.idle += u32::from(!frame.control && !frame.fin);
                self.end_of_frame(&mut scan);
                if self.is_clean() || self.frame.control {
                    return scan;
                }
            }
        }
    }

    fn end_of_frame(&mut self, scan: &mut Scan) {
        if self.frame.control {
            scan.messages += 1;
            scan.idle += 1;
            return;
        }
        self.fragmented = !self.frame.fin;
        if self.frame.fin {
            scan.messages += 1;
            // What continues no message is refused by the engine, whatever came before.
            self.text = false;
        }
    }

    /// The header at the start of `input`, completed with what was kept; its payload length, and
    /// how many bytes of `input` it took. `None`: it has not arrived whole, and is kept.
    fn parse_header(&mut self, input: &[u8]) -> Option<(Frame, u64, usize)> {
        let kept = self.header_len as usize;
        let (header, used) = if kept == 0 && input.len() >= 2 && input.len() >= header_len(input[1]) {
            let n = header_len(input[1]);
            (&input[..n], n)
        } else {
            let mut len = kept;
            for byte in input {
                self.header[len] = *byte;
                len += 1;
                if len >= 2 && len == header_len(self.header[1]) {
                    break;
                }
            }
            self.header_len = len as u8;
            if len < 2 || len < header_len(self.header[1]) {
                return None;
            }
            self.header_len = 0;
            (&self.header[..len], len - kept)
        };
        let opcode = header[0] & 0x0f;
        let masked = header[1] & 0x80 != 0;
        let after_length = header.len() - if masked { 4 } else { 0 };
        let length = match header[1] & 0x7f {
            126 | 127 => header[2..after_length].iter().fold(0u64, |n, b| n << 8 | u64::from(*b)),
            short => u64::from(short),
        };
        let mask = if masked { header[after_length..].try_into().unwrap_or_default() } else { [0; 4] };
        let control = opcode & 0x08 != 0;
        if !control && opcode != 0 {
            self.text = opcode == 1;
            self.utf8 = Utf8::default();
        }
        let close = opcode == 8 && length <= 125;
        if close {
            self.close.clear();
        }
        let frame = Frame { fin: header[0] & 0x80 != 0, control, close, mask, phase: 0, checked: false };
        Some((frame, length, used))
    }

    /// Validates a piece of the current frame's payload.
    fn check(&mut self, piece: &[u8]) -> bool {
        let mut plain = [0u8; 512];
        for chunk in piece.chunks(plain.len()) {
            let plain = &mut plain[..chunk.len()];
            for (i, (to, from)) in plain.iter_mut().zip(chunk).enumerate() {
                *to = from ^ self.frame.mask[(self.frame.phase + i) & 3];
            }
            self.frame.phase = (self.frame.phase + chunk.len()) & 3;
            if !self.utf8.feed(plain) {
                return false;
            }
        }
        true
    }
}

/// Length of a frame header whose second byte is this.
fn header_len(second: u8) -> usize {
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & 0x80 != 0 { 4 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        crate::frame::masked(first, payload, [1, 2, 3, 4])
    }

    #[test]
    fn counts_whole_messages_however_they_are_cut() {
        let mut stream = masked(0x81, b"one");
        stream.extend(masked(0x01, b"tw"));
        stream.extend(masked(0x89, b"ping"));
        stream.extend(masked(0x80, b"o"));
        stream.extend(masked(0x82, &[0xff; 300]));
        stream.extend(masked(0x82, &vec![0xff; 70_000]));
        for step in [1, 2, 3, 7, 100, 5000, stream.len()] {
            let mut tracker = Tracker::default();
            let mut messages = 0;
            for piece in stream.chunks(step) {
                let scan = tracker.scan(piece);
                assert!(!scan.invalid_utf8);
                messages += scan.messages;
            }
            assert_eq!(messages, 5, "step {step}");
            assert!(tracker.is_clean());
        }
    }

    #[test]
    fn counts_frames_that_carry_nothing() {
        let mut stream = masked(0x81, b"");
        stream.extend(masked(0x01, b""));
        stream.extend(masked(0x00, b"x"));
        stream.extend(masked(0x89, b"ping"));
        stream.extend(masked(0x80, b""));
        stream.extend(masked(0x8a, b""));
        for step in [1, 3, stream.len()] {
            let mut tracker = Tracker::default();
            let idle: u32 = stream.chunks(step).map(|piece| tracker.scan(piece).idle).sum();
            assert_eq!(idle, 3, "step {step}");
        }
    }

    #[test]
    fn stops_after_as_many_frames_as_it_may_follow() {
        let stream = [masked(0x01, b""), masked(0x00, b"").repeat(100)].concat();
        let mut tracker = Tracker::default();
        let (scan, used) = tracker.scan_message(&stream, 10);
        assert_eq!((scan.frames, used), (10, 60));
    }

    #[test]
    fn is_not_clean_inside_a_header_a_frame_or_a_fragmented_message() {
        let frame = masked(0x81, b"hello");
        for cut in 1..frame.len() {
            let mut tracker = Tracker::default();
            tracker.scan(&frame[..cut]);
            assert!(!tracker.is_clean(), "cut {cut}");
        }
        let mut tracker = Tracker::default();
        tracker.scan(&masked(0x01, b"part"));
        assert!(!tracker.is_clean());
    }

    #[test]
    fn invalid_text_is_noticed_before_the_frame_is_whole() {
        let frame = masked(0x81, b"caf\xed\xa0 and more");
        let mut tracker = Tracker::default();
        assert!(!tracker.scan(&frame[..10]).invalid_utf8);
        assert!(tracker.scan(&frame[10..12]).invalid_utf8);
    }

    #[test]
    fn a_character_may_span_fragments() {
        let mut tracker = Tracker::default();
        assert!(!tracker.scan(&masked(0x01, b"\xe2\x82")).invalid_utf8);
        assert!(!tracker.scan(&masked(0x80, b"\xac")).invalid_utf8);
        let mut tracker = Tracker::default();
        assert!(!tracker.scan(&masked(0x01, b"\xe2\x82")).invalid_utf8);
        assert!(tracker.scan(&masked(0x00, b"A")).invalid_utf8);
    }

    #[test]
    fn a_continuation_of_nothing_is_not_text_whatever_came_before() {
        let mut stream = masked(0x81, b"text");
        stream.extend(&masked(0x00, &[0xff; 20])[..15]);
        assert!(!Tracker::default().scan(&stream).invalid_utf8);
    }

    #[test]
    fn a_close_frame_is_kept_however_it_is_cut_and_a_longer_one_is_not() {
        let mut stream = masked(0x01, b"part");
        stream.extend(masked(0x88, b"\x03\xf6upstream"));
        for step in [1, 3, stream.len()] {
            let mut tracker = Tracker::default();
            stream.chunks(step).for_each(|piece| _ = tracker.scan(piece));
            assert_eq!(tracker.close_payload(), b"\x03\xf6upstream");
        }
        let mut tracker = Tracker::default();
        tracker.scan(&masked(0x88, &[0; 126]));
        assert_eq!(tracker.close_payload(), b"");
    }

    #[test]
    fn binary_is_not_text() {
        let mut tracker = Tracker::default();
        assert!(!tracker.scan(&masked(0x02, b"\xff\xfe")).invalid_utf8);
        assert!(!tracker.scan(&masked(0x80, b"\xff")).invalid_utf8);
    }
}
