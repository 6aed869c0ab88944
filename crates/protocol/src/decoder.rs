//! Bytes in, messages and control frames out (RFC 6455 sections 5 to 8, RFC 7692 section 7.2.2).

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

/// What a decoder accepts.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The side that receives: a server expects masked frames, a client unmasked ones.
    pub role: Role,
    /// Bytes of a message, over all its fragments, and inflated. Does not apply to control frames.
    pub max_message_size: usize,
    /// Whether messages may be compressed.
    pub compressed: Compressed,
}

/// What [`Decoder::next`] has read. Every event but [`Event::Unfinished`] is the end of one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message is whole.
    Message(Message),
    /// A fragment of a message has ended, and the message goes on.
    Fragment {
        /// It had no payload.
        empty: bool,
    },
    /// The peer asks for a pong with this payload.
    Ping(Bytes),
    /// The peer has answered a ping, or sends this unasked.
    Pong(Bytes),
    /// The peer closes the connection; the decoder must not be fed any more. `None`: without a code.
    /// [`may_be_sent`](crate::frame::may_be_sent) tells whether the code is a permitted one.
    Close(Option<CloseFrame>),
    /// The work of the turn is done, and a message holds more: see [`Inflaters::begin_turn`].
    Unfinished,
}

/// Reads one connection. It holds no bytes while it stands between two messages.
///
/// After an error or a close frame the decoder must not be fed any more: what it then returns has no
/// meaning.
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
/// // The rest is the start of a ping.
/// assert_eq!(decoder.next(&mut input, &mut shared)?, None);
/// let mut input = &b"\x00"[..];
/// assert!(matches!(decoder.next(&mut input, &mut shared)?, Some(Event::Ping(_))));
/// # Ok::<(), sprocket_protocol::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    /// `None` between two messages.
    current: Option<Box<Current>>,
    /// Knows the window of a peer that keeps it; taken by the compressed message on its way.
    window: Option<Box<Decompress>>,
}

/// Where a decoder stands inside a message, or inside a frame.
#[derive(Debug, Default)]
struct Current {
    /// The start of a header that is still incomplete.
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// The frame whose payload is being read.
    frame: Option<(Kind, Piece)>,
    /// Payload of a control frame.
    control: Vec<u8>,
    /// A control frame may stand between two frames of it.
    message: Option<Assembly>,
    /// There may be more to inflate without further input.
    unfinished: bool,
}

/// How the payload of a frame is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Control(Control),
    Data {
        /// Without a payload.
        empty: bool,
    },
}

impl Decoder {
    /// A decoder for a connection whose first frame is yet to come.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, current: None, window: None }
    }

    /// Forgets the message on its way and the peer's window, and frees what they take.
    pub fn clear(&mut self) {
        self.current = None;
        self.window = None;
    }

    /// Whether [`next`](Decoder::next) may return more without further input.
    #[must_use]
    #[inline]
    pub fn is_unfinished(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.unfinished)
    }

    /// Reads the message at the start of `input`, if it is there as a whole, in one frame and not
    /// compressed. `None`: everything else, which is left to [`next`](Decoder::next).
    ///
    /// This is the fast path for the common case: it keeps no state and allocates nothing but the
    /// payload, and is inlined into its caller.
    ///
    /// # Errors
    /// The message is a text and not valid UTF-8.
    #[inline(always)]
    pub fn next_whole(&mut self, input: &mut impl Input) -> Result<Option<Message>, DecodeError> {
        /// FIN without reserved bits, and the opcode.
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

    /// Reads on, at most to the end of the next frame, so that the caller can leave the rest for
    /// later at any frame. `None`: all of the input is used up, and more is needed.
    ///
    /// # Errors
    /// The peer has violated the protocol or a limit, and the connection fails. The bytes of a frame
    /// that cannot become valid are not awaited.
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
            (Kind::Data { .. }, Some(message)) => {
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
            Kind::Control(control) => control_event(control, std::mem::take(&mut current.control))?,
            Kind::Data { empty } if !fin => Event::Fragment { empty },
            Kind::Data { .. } => {
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
    /// The next header, completed with what has been kept of it. `None`: it is still incomplete, and
    /// kept.
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

    /// Checks a header, and begins its frame, and its message if it is the first frame of one.
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
            OpCode::Control(control) => Kind::Control(control),
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
                Kind::Data { empty: header.length == 0 }
            }
        };
        let piece = Piece { fin: header.fin(), mask: header.mask, left: header.length };
        self.frame = Some((kind, piece));
        Ok(())
    }
}

/// A control frame with this payload, which has at most [`MAX_CONTROL`] bytes.
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
        // Reserved opcodes have been refused.
        Control::Pong | Control::Reserved(_) => Event::Pong(payload.into()),
    })
}
