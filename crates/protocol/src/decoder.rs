//! The decoder: turns received bytes into messages and control frames (RFC 6455 sections 5 to 8, RFC
//! 7692 section 7.2.2). Each session of the server and each client connection holds one.

mod assembly;
mod input;

use bytes::Bytes;
use flate2::Decompress;
pub use tungstenite::protocol::{CloseFrame, Role};

use crate::deflate::decompressor::{Inflating, Stop};
use crate::deflate::{Compressed, Inflaters};
use crate::error::DecodeError;
use crate::frame::{CloseCode, Control, Data, Header, MAX_CONTROL, MAX_HEADER, OpCode};
use assembly::{Assembly, Piece};

pub use assembly::Message;
pub use input::{Chunk, Input};

/// The settings of a decoder: its side of the connection, and the messages that it accepts.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The receiving side: a server expects masked frames, a client unmasked ones.
    pub role: Role,
    /// Maximum size of a message in bytes, counted over all its fragments and after decompression.
    /// Control frames are exempt.
    pub max_message_size: usize,
    /// The kind of compressed messages that the handshake allows the peer to send.
    pub compressed: Compressed,
}

/// Result of [`Decoder::next`]. Every event except [`Event::Unfinished`] marks the end of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A complete message.
    Message(Message),
    /// The end of a fragment that is not the last one of its message.
    Fragment {
        /// Whether the fragment had no payload.
        empty: bool,
    },
    /// A ping, to be answered by a pong with the same payload (RFC 6455 section 5.5.2).
    Ping(Bytes),
    /// A pong: the answer to a ping, or sent unasked (RFC 6455 section 5.5.3).
    Pong(Bytes),
    /// A close frame, or `None` if it has no status code. The decoder must not be used after it.
    /// [`may_be_sent`](crate::frame::may_be_sent) checks whether the peer was allowed to send the code.
    Close(Option<CloseFrame>),
    /// The work budget of this turn is used up while a compressed message still has data to inflate:
    /// see [`Inflaters::begin_turn`].
    Unfinished,
}

/// Decodes the frames of one connection. Between two messages it buffers no bytes.
///
/// The decoder must not be used after an error or a close frame: its further results have no meaning.
///
/// ```
/// use sprocket_protocol::decoder::{Config, Decoder, Event, Role};
/// use sprocket_protocol::deflate::{Compressed, Inflaters};
///
/// let config = Config { role: Role::Client, max_message_size: 1 << 20, compressed: Compressed::Never };
/// let mut decoder = Decoder::new(config);
/// let mut shared = Inflaters::default();
/// let mut input = &b"\x81\x05hello\x89"[..];
/// let Some(Event::Message(message)) = decoder.next(&mut input, &mut shared)? else { panic!() };
/// assert_eq!(&message.payload[..], b"hello");
/// // The remaining byte is the start of a ping.
/// assert_eq!(decoder.next(&mut input, &mut shared)?, None);
/// let mut input = &b"\x00"[..];
/// assert!(matches!(decoder.next(&mut input, &mut shared)?, Some(Event::Ping(_))));
/// # Ok::<(), sprocket_protocol::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    /// State inside a message or a frame; `None` between two messages.
    current: Option<Box<Current>>,
    /// The inflater with the window of a peer that keeps it between messages (context takeover). A
    /// compressed message owns it while it is being read.
    window: Option<Box<Decompress>>,
}

/// State of a decoder inside a message or a frame.
#[derive(Debug, Default)]
struct Current {
    /// The received bytes of a header that is still incomplete.
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// The frame whose payload is being read; `None` between two frames.
    frame: Option<(FrameKind, Piece)>,
    /// Payload of the current control frame, as far as it has arrived.
    control: Vec<u8>,
    /// The message being assembled. It stays here during a control frame between two of its fragments.
    message: Option<Assembly>,
    /// Whether the inflater may produce more output without further input.
    unfinished: bool,
}

/// Kind of the current frame, which decides how its payload is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    Control(Control),
    Data {
        /// Whether the frame has no payload.
        empty: bool,
    },
}

impl Decoder {
    /// Creates the decoder of a connection on which no frame has been received yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, current: None, window: None }
    }

    /// Drops the unfinished message and the peer's window, and frees their memory.
    pub fn clear(&mut self) {
        self.current = None;
        self.window = None;
    }

    /// Whether [`next`](Decoder::next) may return another event without further input.
    #[must_use]
    #[inline]
    pub fn is_unfinished(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.unfinished)
    }

    /// Reads the message at the start of `input` if it is complete, uncompressed and in a single frame.
    /// Returns `None` in all other cases, which [`next`](Decoder::next) handles.
    ///
    /// This is the fast path of the common case: it is inlined into its caller, keeps no state and
    /// allocates only the payload.
    ///
    /// # Errors
    /// The message is a text message and not valid UTF-8.
    #[inline(always)]
    pub fn next_whole(&mut self, input: &mut impl Input) -> Result<Option<Message>, DecodeError> {
        /// First byte of the frame: FIN set, no reserved bits, and the opcode.
        const TEXT: u8 = 0x81;
        const BINARY: u8 = 0x82;
        let bytes = input.bytes();
        if self.current.is_some() || !matches!(bytes.first(), Some(&(TEXT | BINARY))) {
            return Ok(None);
        }
        let binary = bytes[0] == BINARY;
        let Some(header) = Header::parse(bytes) else { return Ok(None) };
        let arrived = bytes.len() - header.size;
        if header.length > arrived.min(self.config.max_message_size) as u64
            || header.mask.is_some() != (self.config.role == Role::Server)
        {
            return Ok(None);
        }
        input.advance(header.size);
        let (payload, ascii) = input.take_payload(header.length as usize, header.mask);
        if !binary && !ascii && std::str::from_utf8(&payload).is_err() {
            return Err(DecodeError::InvalidText);
        }
        Ok(Some(Message { payload, binary }))
    }

    /// Reads to the end of the next frame at most, so that the caller can pause between any two frames.
    /// Returns `None` if the whole input is consumed and more is needed.
    ///
    /// # Errors
    /// The peer has violated the protocol or a limit, and the connection must fail. The error is
    /// returned as soon as it is certain, not only when the frame is complete.
    #[inline(never)]
    pub fn next(
        &mut self,
        input: &mut impl Input,
        shared: &mut Inflaters,
    ) -> Result<Option<Event>, DecodeError> {
        let mut bytes = input.bytes();
        let all = bytes.len();
        let event = self.advance(&mut bytes, shared);
        let used = all - bytes.len();
        input.advance(used);
        event
    }

    /// Does the work of [`next`](Decoder::next) on borrowed bytes.
    fn advance(&mut self, input: &mut &[u8], shared: &mut Inflaters) -> Result<Option<Event>, DecodeError> {
        if input.is_empty() && self.current.is_none() {
            return Ok(None);
        }
        let current = self.current.get_or_insert_default();
        current.unfinished = false;
        if current.frame.is_none() {
            let Some(header) = current.header(input) else { return Ok(None) };
            current.begin(&header, &self.config, &mut self.window, shared)?;
        }
        let Some((kind, piece)) = &mut current.frame else { return Ok(None) };
        let (kind, fin) = (*kind, piece.fin);
        match (kind, &mut current.message) {
            (FrameKind::Data { .. }, Some(message)) => {
                if message.read(piece, input, shared, self.config.max_message_size)? == Stop::Spent {
                    current.unfinished = true;
                    return Ok(Some(Event::Unfinished));
                }
            }
            _ => _ = piece.read(input, &mut current.control),
        }
        if piece.left > 0 {
            return Ok(None);
        }
        current.frame = None;
        let event = match kind {
            FrameKind::Control(control) => control_event(control, std::mem::take(&mut current.control))?,
            FrameKind::Data { empty } if !fin => Event::Fragment { empty },
            FrameKind::Data { .. } => {
                let Some(message) = current.message.take() else { return Ok(None) };
                let (message, inflater) = message.end()?;
                match inflater {
                    Some(inflater) if self.config.compressed == Compressed::WithContext => {
                        self.window = Some(inflater);
                    }
                    Some(inflater) => shared.give_back(inflater),
                    None => {}
                }
                Event::Message(message)
            }
        };
        if current.message.is_none() {
            self.current = None;
        }
        Ok(Some(event))
    }
}

impl Current {
    /// Parses the next header, together with the bytes of it that were kept from earlier input. Returns
    /// `None` if it is still incomplete, and keeps its bytes.
    fn header(&mut self, input: &mut &[u8]) -> Option<Header> {
        let kept = self.header_len;
        let n = input.len().min(MAX_HEADER - kept);
        let header = if kept == 0 {
            Header::parse(input)
        } else {
            self.header[kept..kept + n].copy_from_slice(&input[..n]);
            Header::parse(&self.header[..kept + n])
        };
        match header {
            Some(header) => {
                *input = &input[header.size - kept..];
                self.header_len = 0;
            }
            None => {
                self.header[kept..kept + n].copy_from_slice(&input[..n]);
                *input = &input[n..];
                self.header_len += n;
            }
        }
        header
    }

    /// Validates a header and starts its frame; the first frame of a message also starts the message.
    fn begin(
        &mut self,
        header: &Header,
        config: &Config,
        window: &mut Option<Box<Decompress>>,
        shared: &mut Inflaters,
    ) -> Result<(), DecodeError> {
        let (max, extension) = (config.max_message_size, config.compressed != Compressed::Never);
        let opcode = header.opcode();
        if let OpCode::Control(Control::Reserved(code)) | OpCode::Data(Data::Reserved(code)) = opcode {
            return Err(DecodeError::ReservedOpcode(code));
        }
        let plain = match opcode {
            OpCode::Control(_) => false,
            OpCode::Data(Data::Continue) => !self.message.as_ref().is_some_and(Assembly::is_compressed),
            OpCode::Data(_) => !(header.rsv1() && extension),
        };
        if plain && header.length > max as u64 {
            return Err(DecodeError::TooLong { size: header.length, max });
        }
        match (config.role, header.mask) {
            (Role::Server, None) => return Err(DecodeError::NotMasked),
            (Role::Client, Some(_)) => return Err(DecodeError::Masked),
            _ => {}
        }
        if header.has_undefined_bits(extension) {
            return Err(DecodeError::ReservedBits);
        }
        if header.rsv1() && !matches!(opcode, OpCode::Data(Data::Text | Data::Binary)) {
            return Err(DecodeError::MisplacedRsv1);
        }
        let kind = match opcode {
            OpCode::Control(_) if !header.fin() => return Err(DecodeError::FragmentedControl),
            OpCode::Control(_) if header.length > MAX_CONTROL as u64 => {
                return Err(DecodeError::ControlTooLong);
            }
            OpCode::Control(control) => FrameKind::Control(control),
            OpCode::Data(data) => {
                let message = match (data, &mut self.message) {
                    (Data::Continue, None) => return Err(DecodeError::UnexpectedContinuation),
                    (Data::Continue, Some(message)) => message,
                    (_, Some(_)) => return Err(DecodeError::ExpectedContinuation),
                    (_, message @ None) => {
                        let inflating = header.rsv1().then(|| Inflating::begin(window.take(), shared));
                        message.insert(Assembly::new(data == Data::Binary, inflating))
                    }
                };
                message.announce(header.length, max)?;
                FrameKind::Data { empty: header.length == 0 }
            }
        };
        let piece = Piece { fin: header.fin(), mask: header.mask, left: header.length };
        self.frame = Some((kind, piece));
        Ok(())
    }
}

/// Builds the event of a control frame. Its payload has at most [`MAX_CONTROL`] bytes.
fn control_event(control: Control, payload: Vec<u8>) -> Result<Event, DecodeError> {
    Ok(match control {
        Control::Ping => Event::Ping(payload.into()),
        Control::Close => Event::Close(match payload.split_first_chunk() {
            None if payload.is_empty() => None,
            None => return Err(DecodeError::InvalidClose),
            Some((code, reason)) => {
                let reason = std::str::from_utf8(reason).map_err(|_| DecodeError::InvalidText)?;
                Some(CloseFrame { code: CloseCode::from(u16::from_be_bytes(*code)), reason: reason.into() })
            }
        }),
        // `begin` has already rejected the reserved opcodes.
        Control::Pong | Control::Reserved(_) => Event::Pong(payload.into()),
    })
}
