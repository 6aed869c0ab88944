//! Splits a server's byte stream into frames, without copying payloads.

use anyhow::{Result, bail};
use bench_common::frame;

/// A part of the stream.
pub(crate) enum Piece<'a> {
    /// Payload of a data message, starting at `offset` of the whole message.
    Payload { offset: usize, data: &'a [u8] },
    /// The end of a data message.
    Message { opcode: u8, len: usize },
    /// A complete control frame.
    Control { opcode: u8, payload: Vec<u8> },
}

/// Parser state of one connection between two reads.
#[derive(Default)]
pub(crate) struct Parser {
    header: [u8; 10],
    header_len: usize,
    /// Remaining payload bytes of the current frame; `None` within a header.
    left: Option<u64>,
    /// First byte of the current frame.
    first: u8,
    /// Opcode and length so far of the current message, over all its fragments.
    opcode: u8,
    offset: usize,
    control: Vec<u8>,
}

impl Parser {
    /// Parses all of `data`, and passes its parts to `sink`.
    pub(crate) fn feed(
        &mut self,
        mut data: &[u8],
        mut sink: impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        loop {
            let left = match self.left {
                Some(left) => left,
                None => {
                    if !self.take_header(&mut data)? {
                        return Ok(());
                    }
                    self.left.unwrap_or_default()
                }
            };
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(data.len());
            let (chunk, rest) = data.split_at(n);
            data = rest;
            let is_control = self.first & 15 >= 8;
            if is_control {
                self.control.extend_from_slice(chunk);
            } else if n > 0 {
                sink(Piece::Payload { offset: self.offset, data: chunk })?;
                self.offset += n;
            }
            if n as u64 != left {
                self.left = Some(left - n as u64);
                return Ok(());
            }
            self.left = None;
            if is_control {
                let payload = std::mem::take(&mut self.control);
                sink(Piece::Control { opcode: self.first & 15, payload })?;
            } else if self.first & 0x80 != 0 {
                sink(Piece::Message { opcode: self.opcode, len: self.offset })?;
                self.offset = 0;
            }
        }
    }

    /// False if the header is incomplete, and `data` is used up.
    fn take_header(&mut self, data: &mut &[u8]) -> Result<bool> {
        loop {
            let wanted = match self.header_len {
                0 | 1 => 2,
                _ => 2 + frame::extended_len(self.header[1]),
            };
            if self.header_len == wanted {
                break;
            }
            let n = (wanted - self.header_len).min(data.len());
            if n == 0 {
                return Ok(false);
            }
            self.header[self.header_len..self.header_len + n].copy_from_slice(&data[..n]);
            self.header_len += n;
            *data = &data[n..];
        }
        let [first, second, ..] = self.header;
        if second & 0x80 != 0 || first & 0x70 != 0 {
            bail!("a frame of the server is masked or has reserved bits");
        }
        self.left = Some(frame::payload_len(&self.header[..self.header_len]));
        self.header_len = 0;
        self.first = first;
        if matches!(first & 15, 1..8) {
            self.opcode = first & 15;
            self.offset = 0;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a stream in steps of `step` bytes, and returns (opcode, payload) of each message.
    fn parse(stream: &[u8], step: usize) -> Vec<(u8, Vec<u8>)> {
        let mut parser = Parser::default();
        let (mut found, mut payload) = (Vec::new(), Vec::new());
        for chunk in stream.chunks(step) {
            let fed = parser.feed(chunk, |piece| {
                match piece {
                    Piece::Payload { offset, data } => {
                        assert_eq!(offset, payload.len());
                        payload.extend_from_slice(data);
                    }
                    Piece::Message { opcode, len } => {
                        assert_eq!(len, payload.len());
                        found.push((opcode, std::mem::take(&mut payload)));
                    }
                    Piece::Control { opcode, payload } => found.push((opcode, payload)),
                }
                Ok(())
            });
            fed.expect("a valid stream");
        }
        found
    }

    #[test]
    fn any_split_gives_the_same_messages() {
        let mut stream = Vec::new();
        frame::append(&mut stream, frame::TEXT, b"Hello");
        frame::append(&mut stream, frame::PING, b"?");
        frame::append(&mut stream, frame::BINARY, &[9; 300]);
        frame::append(&mut stream, frame::TEXT, b"");
        let expected = parse(&stream, stream.len());
        assert_eq!(expected.len(), 4);
        assert_eq!(expected[0], (frame::TEXT, b"Hello".to_vec()));
        assert_eq!(expected[3], (frame::TEXT, Vec::new()));
        for step in [1, 2, 3, 7, 100] {
            assert_eq!(parse(&stream, step), expected, "step {step}");
        }
    }

    #[test]
    fn fragments_are_one_message_with_a_ping_between() {
        let stream = [1, 2, b'a', b'b', 0x89, 0, 0, 1, b'c', 0x80, 1, b'd'];
        let expected = vec![(frame::PING, vec![]), (frame::TEXT, b"abcd".to_vec())];
        assert_eq!(parse(&stream, stream.len()), expected);
        assert_eq!(parse(&stream, 1), expected);
    }

    #[test]
    fn a_masked_frame_is_refused() {
        assert!(Parser::default().feed(&[0x81, 0x80, 1, 2, 3, 4], |_| Ok(())).is_err());
    }
}
