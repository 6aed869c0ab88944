//! Compares the results of the decoder and of tungstenite on the same bytes, for tests and fuzz
//! targets.
//!
//! tungstenite does not support compression, so each frame of a compressed message is inflated and
//! passed to it as an uncompressed frame.
//!
//! The results may differ in these points:
//! - The decoder rejects an invalid frame or text as soon as it detects the fault (RFC 6455 sections
//!   7.1.7 and 8.1 permit it at any time); tungstenite waits for the complete frame. If only the
//!   decoder has failed, the frame is therefore completed, and tungstenite must fail likewise.
//! - A control frame over the message limit is a protocol error for the decoder (1002, RFC 6455 section
//!   5.5) and a message that is too big for tungstenite (1009).
//! - A compressed message that is both too long and invalid may fail with either code, since the
//!   decoder inflates and validates it in steps.
#![allow(dead_code, unreachable_pub, reason = "each user needs a part of it")]

use flate2::{Decompress, FlushDecompress};
use sprocket_protocol::decoder::{Chunk, CloseFrame, Config, Decoder, Event, Input, Role};
use sprocket_protocol::deflate::{Compressed, Inflaters};
use std::io::{self, Cursor, Read, Write};
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Message, WebSocketConfig, WebSocketContext};

/// Maximum size of a message in bytes.
pub const MAX: usize = 200_000;
/// The last bytes of every flushed message, which the sender removes (RFC 7692 section 7.2.1).
pub const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Returns the settings of a connection.
pub fn config(role: Role, compressed: Compressed) -> Config {
    Config { role, max_message_size: MAX, compressed }
}

/// A received message or control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

/// State of the connection at the end of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The connection expects more bytes.
    Open,
    Closed(Option<CloseFrame>),
    /// The connection fails with this close code.
    Failed(u16),
}

pub type Outcome = (Vec<Received>, End);

/// Variants of how a session feeds the decoder.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Read into a [`Chunk`], which messages from this size in bytes on share; `None` uses borrowed
    /// bytes.
    pub keep_from: Option<usize>,
    /// Pause after this number of frames, and continue with a copy of the remaining bytes.
    pub pause_after: Option<usize>,
    /// Skip the fast path for complete messages.
    pub slow: bool,
}

/// Decodes a stream that arrives in these pieces, in the way of a session.
pub fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, config: Config, manner: Manner) -> Outcome {
    let mut session = Session {
        decoder: Decoder::new(config),
        shared: Inflaters::default(),
        manner,
        received: Vec::new(),
        end: End::Open,
    };
    for piece in pieces {
        let mut held = piece.to_vec();
        loop {
            let rest = match manner.keep_from {
                Some(keep_from) => {
                    let mut chunk = Chunk::new(held[..].into(), keep_from);
                    session.receive(&mut chunk);
                    chunk.bytes().to_vec()
                }
                None => {
                    let mut input = &held[..];
                    session.receive(&mut input);
                    input.to_vec()
                }
            };
            if session.end != End::Open {
                return (session.received, session.end);
            }
            if rest.is_empty() && !session.decoder.is_unfinished() {
                break;
            }
            held = rest;
        }
    }
    (session.received, session.end)
}

struct Session {
    decoder: Decoder,
    shared: Inflaters,
    manner: Manner,
    received: Vec<Received>,
    end: End,
}

impl Session {
    /// Runs one turn: decodes until the input, the frames or the work budget are used up.
    fn receive(&mut self, input: &mut impl Input) {
        // The budget is smaller than the inflater's buffer, so that large messages need several turns.
        self.shared.begin_turn(50_000);
        let mut frames_left = self.manner.pause_after.unwrap_or(usize::MAX);
        while frames_left > 0 && !self.shared.is_spent() {
            frames_left -= 1;
            let before = (input.bytes().len(), self.decoder.is_unfinished());
            let whole = if self.manner.slow { Ok(None) } else { self.decoder.next_whole(input) };
            let event = match whole {
                Ok(Some(message)) => Ok(Some(Event::Message(message))),
                Ok(None) => self.decoder.next(input, &mut self.shared),
                Err(error) => Err(error),
            };
            match event {
                Ok(None) => {
                    assert!(input.bytes().is_empty(), "the decoder asks for more with unread input");
                    return;
                }
                Ok(Some(Event::Unfinished)) => assert!(self.shared.is_spent()),
                Ok(Some(event)) => self.event(event),
                Err(error) => self.end = End::Failed(error.close_code()),
            }
            if self.end != End::Open {
                return;
            }
            let after = (input.bytes().len(), self.decoder.is_unfinished());
            assert!(before != after || self.shared.is_spent(), "no progress");
        }
    }

    fn event(&mut self, event: Event) {
        self.received.push(match event {
            Event::Message(message) if message.binary => Received::Binary(message.payload.into()),
            Event::Message(message) => Received::Text(message.payload.into()),
            Event::Ping(payload) => Received::Ping(payload.into()),
            Event::Pong(payload) => Received::Pong(payload.into()),
            Event::Close(frame) => {
                self.end = End::Closed(frame);
                return;
            }
            Event::Fragment { .. } | Event::Unfinished => return,
        });
    }
}

/// Decodes a complete stream with tungstenite.
pub fn oracle(stream: &[u8], config: Config) -> Outcome {
    if config.compressed == Compressed::Never {
        return plain(stream, config.role);
    }
    let (frames, end) = inflate_frames(stream, config);
    let (received, first) = plain(&frames, config.role);
    (received, if first == End::Open { end } else { first })
}

/// Compares the decoder's result for a stream with that of tungstenite. Returns the difference as an
/// error.
pub fn compare(ours: &Outcome, stream: &[u8], config: Config) -> Result<(), String> {
    let mut theirs = oracle(stream, config);
    if theirs.1 == End::Open && ours.1 != End::Open {
        let mut completed = stream.to_vec();
        completed.resize(stream.len() + missing(stream), 0);
        theirs = oracle(&completed, config);
    }
    let alike = match (&ours.1, &theirs.1) {
        (End::Failed(1002), End::Failed(1009)) => is_long_control(stream),
        (End::Failed(1007 | 1009), End::Failed(1007 | 1009)) if config.compressed != Compressed::Never => {
            true
        }
        (ours, theirs) => ours == theirs,
    };
    if alike && ours.0 == theirs.0 {
        return Ok(());
    }
    Err(format!("{:?} and {:?}, {} and {} received", ours.1, theirs.1, ours.0.len(), theirs.0.len()))
}

/// Compares the results for one input of a fuzz target, split in several ways. The first byte of the
/// input selects the way of splitting and the receiving side; its lowest bit is passed to `compressed`.
pub fn fuzz(data: &[u8], compressed: impl FnOnce(bool) -> Compressed) {
    /// Number of positions at which a stream is split; shorter streams are split at every byte.
    const CUTS: usize = 64;
    let Some((how, stream)) = data.split_first() else { return };
    let role = if how & 2 == 0 { Role::Server } else { Role::Client };
    let config = config(role, compressed(how & 1 != 0));
    let manner = |n: usize| Manner {
        keep_from: (n & 1 != 0).then_some(usize::from(how >> 2)),
        pause_after: (n & 2 != 0).then_some(1),
        slow: n & 4 != 0,
    };
    let whole = decode([stream], config, Manner::default());
    if let Err(difference) = compare(&whole, stream, config) {
        panic!("{config:?}: {difference}");
    }
    let step = 1 + usize::from(how >> 2);
    let pieces = decode(stream.chunks(step), config, manner(step));
    assert!(same(&pieces, &whole, config), "in pieces of {step}: {:?}, else {:?}", pieces.1, whole.1);
    for cut in (0..stream.len()).step_by(stream.len() / CUTS + 1) {
        let (a, b) = stream.split_at(cut);
        let pieces = decode([a, b], config, manner(cut));
        assert!(same(&pieces, &whole, config), "cut after {cut}: {:?}, else {:?}", pieces.1, whole.1);
    }
}

/// Whether two results for one stream are equivalent, with the tolerance described at the top of this
/// file.
pub fn same(a: &Outcome, b: &Outcome, config: Config) -> bool {
    a.0 == b.0 && (a.1 == b.1 || either(&a.1, &b.1, config))
}

/// Whether both results are valid for a compressed message that is both too long and invalid.
fn either(a: &End, b: &End, config: Config) -> bool {
    let invalid = |end: &End| matches!(end, End::Failed(1007 | 1009));
    config.compressed != Compressed::Never && invalid(a) && invalid(b)
}

/// Parses the header at the start, and returns it with its own size and the length of its payload in
/// bytes.
fn header(bytes: &[u8]) -> Option<(FrameHeader, usize, u64)> {
    let mut cursor = Cursor::new(bytes);
    // The parser returns an error for reserved opcodes; such frames are rejected without regard to
    // their length.
    let (header, length) = FrameHeader::parse(&mut cursor).ok()??;
    Some((header, cursor.position() as usize, length))
}

/// Returns the number of bytes missing from the last frame.
fn missing(mut stream: &[u8]) -> usize {
    while let Some((_, size, length)) = header(stream) {
        let all = size.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        if all > stream.len() {
            return all - stream.len();
        }
        stream = &stream[all..];
    }
    0
}

/// Whether the first frame over the message limit is a control frame.
fn is_long_control(mut stream: &[u8]) -> bool {
    while let Some((head, size, length)) = header(stream) {
        if length > MAX as u64 {
            return matches!(head.opcode, OpCode::Control(_));
        }
        let Some(rest) = stream.get(size + length as usize..) else { return false };
        stream = rest;
    }
    false
}

/// The transport for tungstenite: it reads from the slice, and discards the pongs that it writes.
struct Stream<'a>(&'a [u8]);

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buf)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plain(stream: &[u8], role: Role) -> Outcome {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .max_message_size(Some(MAX))
        .max_frame_size(Some(MAX));
    let mut context = WebSocketContext::new(role, Some(config));
    let mut stream = Stream(stream);
    // After its own close frame, tungstenite continues to read and returns the code of the peer's close
    // frame unchanged.
    context.close(&mut stream, None).expect("writes cannot fail");
    let mut received = Vec::new();
    loop {
        received.push(match context.read(&mut stream) {
            Ok(Message::Text(text)) => Received::Text(text.as_bytes().to_vec()),
            Ok(Message::Binary(payload)) => Received::Binary(payload.into()),
            Ok(Message::Ping(payload)) => Received::Ping(payload.into()),
            Ok(Message::Pong(payload)) => Received::Pong(payload.into()),
            Ok(Message::Close(frame)) => return (received, End::Closed(frame)),
            Ok(Message::Frame(_)) => unreachable!("raw frames are never read"),
            Err(Error::Io(_)) => return (received, End::Open),
            Err(error) => return (received, End::Failed(code(&error))),
        });
    }
}

fn code(error: &Error) -> u16 {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => 1009,
        Error::Utf8(_) => 1007,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => panic!("the stream has not ended"),
        Error::Protocol(_) => 1002,
        other => panic!("{other}"),
    }
}

/// Converts the complete frames of a compressed stream to uncompressed ones. The second value is the
/// result if the stream fails for a reason that only compressed streams have.
fn inflate_frames(mut stream: &[u8], config: Config) -> (Vec<u8>, End) {
    let mut out = Vec::new();
    let mut window = Decompress::new(false);
    // Compressed and inflated size in bytes of the current compressed message.
    let mut message: Option<(u64, usize)> = None;
    let (mut in_plain, masked) = (false, config.role == Role::Server);
    while let Some((mut head, size, length)) = header(stream) {
        let data = matches!(head.opcode, OpCode::Data(_));
        let first = data && head.opcode != OpCode::Data(Data::Continue);
        let good = !head.rsv2 && !head.rsv3 && head.mask.is_some() == masked;
        let begins = first && head.rsv1 && message.is_none() && !in_plain && good;
        let continues = data && !first && !head.rsv1 && message.is_some() && good;
        if !begins && !continues {
            if first && head.rsv1 || data && !first && message.is_some() {
                // The frame is rejected, whatever its length.
                head.format(0, &mut out).expect("writing to a Vec cannot fail");
                return (out, End::Open);
            }
            let all = size.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            out.extend_from_slice(&stream[..all.min(stream.len())]);
            if all > stream.len() {
                return (out, End::Open);
            }
            in_plain = if data { !head.is_final } else { in_plain };
            stream = &stream[all..];
            continue;
        }
        if begins && config.compressed == Compressed::Alone {
            window.reset(false);
        }
        let (deflated, inflated) = message.get_or_insert((0, 0));
        *deflated = deflated.saturating_add(length);
        if *deflated > 2 * MAX as u64 + 1024 {
            return (out, End::Failed(1009));
        }
        let Some(payload) = stream.get(size..size + length as usize) else { return (out, End::Open) };
        stream = &stream[size + length as usize..];
        let mut payload = payload.to_vec();
        let mask = head.mask.unwrap_or_default();
        payload.iter_mut().enumerate().for_each(|(i, byte)| *byte ^= mask[i & 3]);
        let tail = if head.is_final { &TAIL[..] } else { &[] };
        let Some(plain) = inflate(&mut window, &[&payload, tail], MAX - *inflated) else {
            return (out, End::Failed(1007));
        };
        *inflated += plain.len();
        if *inflated > MAX {
            return (out, End::Failed(1009));
        }
        if head.is_final {
            message = None;
        }
        head.rsv1 = false;
        head.mask = masked.then_some([0; 4]);
        head.format(plain.len() as u64, &mut out).expect("writing to a Vec cannot fail");
        out.extend(plain);
    }
    out.extend_from_slice(stream);
    (out, End::Open)
}

/// Inflates all parts, or stops after more than `most` bytes of output. Returns `None` if the data is
/// invalid.
fn inflate(codec: &mut Decompress, parts: &[&[u8]], most: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; most + 1];
    let mut len = 0;
    for mut part in parts.iter().copied() {
        loop {
            let (before_in, before_out) = (codec.total_in(), codec.total_out());
            let status = codec.decompress(part, &mut out[len..], FlushDecompress::Sync).ok()?;
            let (taken, made) = (codec.total_in() - before_in, codec.total_out() - before_out);
            part = &part[taken as usize..];
            len += made as usize;
            if status == flate2::Status::StreamEnd {
                codec.reset(false);
            } else if taken == 0 && made == 0 && !part.is_empty() {
                return None;
            }
            if len > most {
                return Some(out);
            }
            if part.is_empty() {
                break;
            }
        }
    }
    out.truncate(len);
    Some(out)
}
