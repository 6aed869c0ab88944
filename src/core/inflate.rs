//! The reading side of permessage-deflate (RFC 7692 section 7.2.2): between the socket and the
//! engine, which knows no extensions. Compressed messages become plain ones, cut into frames of
//! some 64 KiB as they inflate, so that no more than that exists at once. All else passes as it is.

use flate2::{Decompress, FlushDecompress, Status};

/// The codec reads this much at once, unmasked.
const PIECE: usize = 4 << 10;
/// Inflated bytes that are handed to the engine together. Below 64 KiB, so that the length of a
/// frame always takes two bytes.
const ROOM: usize = 64 << 10;
/// Longest header of a frame that we write: two bytes, two of length, the mask.
const HEADER: usize = 8;
/// Less room than this is not worth going on for.
const LEAST_ROOM: usize = 256;
/// Inflaters kept for the next message, of 46 KiB each.
const SPARE: usize = 4;
/// What a final block costs: the inflater is reset (about as long as inflating this many bytes).
const RESET_WORK: usize = 1 << 10;
/// What a frame costs beside its payload, likewise.
const FRAME_WORK: usize = 512;
/// Work after which the frames so far are handed on, even if there is room for more.
const WORK_AT_ONCE: usize = 64 << 10;
/// What every message ends with and nobody sends.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Why a connection fails: close code and words.
pub(crate) type Failure = (u16, String);

/// Whether all was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// All input is used up, and nothing waits in the inflater.
    Done,
    /// The buffer is full, or it was enough work at once: empty the buffer and call again.
    Full,
}

/// What the sessions of one thread share for reading.
#[derive(Debug, Default)]
pub(crate) struct Inflaters {
    #[expect(clippy::vec_box, reason = "readers hold them boxed, and moving the box is cheaper")]
    spare: Vec<Box<Decompress>>,
    plain: Option<Box<Plain>>,
}

impl Inflaters {
    fn inflater(&mut self) -> Box<Decompress> {
        // Smaller windows would save nothing: the codec allocates the same for each size.
        self.spare.pop().unwrap_or_else(|| Box::new(Decompress::new(false)))
    }

    fn give_back(&mut self, mut inflater: Box<Decompress>) {
        if self.spare.len() < SPARE {
            inflater.reset(false);
            self.spare.push(inflater);
        }
    }

    /// The buffer of the thread, to be given back.
    pub(crate) fn plain(&mut self) -> Box<Plain> {
        self.plain.take().unwrap_or_default()
    }

    pub(crate) fn give_back_plain(&mut self, plain: Box<Plain>) {
        self.plain = Some(plain);
    }
}

/// Plain frames on their way to the engine.
#[derive(Debug)]
pub(crate) struct Plain {
    buffer: Box<[u8]>,
    len: usize,
}

impl Default for Plain {
    fn default() -> Self {
        Self { buffer: vec![0; ROOM].into_boxed_slice(), len: 0 }
    }
}

impl Plain {
    pub(crate) fn filled(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    fn room(&self) -> usize {
        ROOM - self.len
    }

    /// There must be room.
    fn push(&mut self, bytes: &[u8]) {
        self.buffer[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// What the message under way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Message {
    #[default]
    None,
    Plain,
    Deflated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Header,
    /// Payload that passes as it is.
    Pass,
    /// Payload that is inflated.
    Inflate,
    /// The message is whole, and the inflater is given this much of [`TAIL`] yet to take.
    Tail(u8),
}

/// Follows the frames of one connection.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// A header that has not arrived whole.
    header: [u8; 14],
    header_len: u8,
    state: State,
    /// Payload bytes of the current frame that are yet to come.
    left: u64,
    mask: [u8; 4],
    /// How far the mask has turned.
    phase: u8,
    fin: bool,
    message: Message,
    /// Opcode of the next frame of a compressed message that we write: 0 once it has begun.
    opcode: u8,
    /// Payload bytes of the compressed message, as received and inflated.
    deflated: u64,
    inflated: usize,
    /// The inflater was not asked for all that it can give.
    full: bool,
    /// While a compressed message is under way; for good if the client keeps its window.
    inflater: Option<Box<Decompress>>,
    /// Work done since it was asked last.
    work: usize,
    /// Fragments without payload since it was asked last.
    idle: u32,
}

impl Reader {
    /// Whether [`Reader::read`] has more to give without input.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Compressed fragments without payload, but for the last of a message, since the last call. Nobody
    /// else sees them.
    pub(crate) fn take_idle(&mut self) -> u32 {
        std::mem::take(&mut self.idle)
    }

    /// Bytes inflated, or their equivalent, since the last call.
    pub(crate) fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    /// Turns `input` into plain frames until it is used up or the buffer is full. On a failure the
    /// frames before it are in the buffer. `keep`: the client's window outlives the message.
    pub(crate) fn read(
        &mut self,
        input: &mut &[u8],
        plain: &mut Plain,
        pool: &mut Inflaters,
        keep: bool,
        max: usize,
    ) -> Result<Step, Failure> {
        self.full = false;
        // Where the frame begins that is being written.
        let mut frame = None;
        let result = self.advance(input, plain, pool, &mut frame, keep, max);
        match (&result, frame) {
            (Ok(_), Some(start)) => self.end_frame(plain, start, false),
            (Err(_), Some(start)) => plain.len = start,
            _ => {}
        }
        self.full = matches!(result, Ok(Step::Full));
        result
    }

    fn advance(
        &mut self,
        input: &mut &[u8],
        plain: &mut Plain,
        pool: &mut Inflaters,
        frame: &mut Option<usize>,
        keep: bool,
        max: usize,
    ) -> Result<Step, Failure> {
        let enough = self.work + WORK_AT_ONCE;
        loop {
            if plain.room() < LEAST_ROOM {
                return Ok(Step::Full);
            }
            match self.state {
                State::Header => {
                    if self.work >= enough {
                        return Ok(Step::Full);
                    }
                    let Some((header, len)) = self.header(input) else { return Ok(Step::Done) };
                    if header[0] & 0x08 != 0
                        && let Some(start) = frame.take()
                    {
                        // A control frame goes between two frames of the message.
                        self.end_frame(plain, start, false);
                    }
                    self.begin_frame(&header[..len], plain, max)?;
                }
                State::Pass => {
                    let n = self.left.min(input.len() as u64).min(plain.room() as u64) as usize;
                    let (piece, rest) = input.split_at(n);
                    plain.push(piece);
                    *input = rest;
                    self.left -= n as u64;
                    if self.left > 0 && input.is_empty() {
                        return Ok(Step::Done);
                    }
                    if self.left == 0 {
                        self.state = State::Header;
                    }
                }
                State::Inflate if self.left == 0 => {
                    self.state = if self.fin { State::Tail(0) } else { State::Header };
                }
                State::Inflate => {
                    let mut piece = [0; PIECE];
                    let n = self.left.min(input.len().min(PIECE) as u64) as usize;
                    let piece = &mut piece[..n];
                    unmask(piece, &input[..n], self.mask, self.phase as usize);
                    let (used, more) = self.inflate(piece, plain, pool, frame, max)?;
                    *input = &input[used..];
                    self.left -= used as u64;
                    self.phase = (self.phase as usize + used) as u8 & 3;
                    if more {
                        return Ok(Step::Full);
                    }
                    if self.left > 0 && input.is_empty() {
                        return Ok(Step::Done);
                    }
                }
                State::Tail(at) => {
                    let (used, more) = self.inflate(&TAIL[at as usize..], plain, pool, frame, max)?;
                    self.state = State::Tail(at + used as u8);
                    if more {
                        return Ok(Step::Full);
                    }
                    let start = frame.take().unwrap_or_else(|| begin(plain));
                    self.end_frame(plain, start, true);
                    self.state = State::Header;
                    self.message = Message::None;
                    if !keep && let Some(inflater) = self.inflater.take() {
                        pool.give_back(inflater);
                    }
                }
            }
        }
    }

    /// The next header as it was received, completed with what was kept. `None`: it has not
    /// arrived whole, and is kept.
    fn header(&mut self, input: &mut &[u8]) -> Option<([u8; 14], usize)> {
        while let Some((first, rest)) = input.split_first() {
            self.header[self.header_len as usize] = *first;
            self.header_len += 1;
            *input = rest;
            if self.header_len >= 2 && self.header_len as usize == header_len(self.header[1]) {
                return Some((self.header, std::mem::take(&mut self.header_len) as usize));
            }
        }
        None
    }

    fn begin_frame(&mut self, header: &[u8], plain: &mut Plain, max: usize) -> Result<(), Failure> {
        let (rsv1, opcode) = (header[0] & 0x40 != 0, header[0] & 0x0f);
        let masked = header[1] & 0x80 != 0;
        let after_length = header.len() - if masked { 4 } else { 0 };
        self.left = match header[1] & 0x7f {
            126 | 127 => header[2..after_length].iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            short => u64::from(short),
        };
        let fin = header[0] & 0x80 != 0;
        let control = opcode & 0x08 != 0;
        if rsv1 && (control || opcode == 0) {
            return Err((1002, "reserved bit 1 is set on a control or continuation frame".into()));
        }
        if !control && opcode != 0 && self.message != Message::None {
            return Err((1002, "new message inside a fragmented one".into()));
        }
        self.work += FRAME_WORK;
        let deflated = !control && (rsv1 || opcode == 0 && self.message == Message::Deflated);
        if !deflated {
            // What is wrong with it, the engine finds.
            plain.push(header);
            self.state = State::Pass;
            if !control {
                self.message = if fin { Message::None } else { Message::Plain };
            }
            return Ok(());
        }
        if header[0] & 0x30 != 0 || opcode > 2 {
            return Err((1002, "reserved bits or opcode".into()));
        }
        if !masked {
            return Err((1002, "client frame is not masked".into()));
        }
        if opcode != 0 {
            self.opcode = opcode;
            self.deflated = 0;
            self.inflated = 0;
        }
        // No compressor makes twice of it; so nobody can keep us busy with blocks of nothing.
        self.deflated = self.deflated.saturating_add(self.left);
        if self.deflated > (max as u64).saturating_mul(2).saturating_add(1024) {
            let size = self.deflated;
            return Err((
                1009,
                format!("compressed message of {size} bytes, at most {max} are allowed inflated"),
            ));
        }
        self.idle += u32::from(self.left == 0 && !fin);
        self.mask = header[after_length..].try_into().unwrap_or_default();
        self.phase = 0;
        self.fin = fin;
        self.message = Message::Deflated;
        self.state = State::Inflate;
        Ok(())
    }

    /// Inflates a piece of the message into the current frame. Returns how much of the piece was
    /// used, and whether there may be more to come from what was used.
    fn inflate(
        &mut self,
        mut piece: &[u8],
        plain: &mut Plain,
        pool: &mut Inflaters,
        frame: &mut Option<usize>,
        max: usize,
    ) -> Result<(usize, bool), Failure> {
        let inflater = self.inflater.get_or_insert_with(|| pool.inflater());
        let mut used = 0;
        loop {
            if frame.is_none() {
                *frame = Some(begin(plain));
            }
            let room = plain.room();
            let (before_in, before_out) = (inflater.total_in(), inflater.total_out());
            let status = inflater
                .decompress(piece, &mut plain.buffer[plain.len..], FlushDecompress::Sync)
                .map_err(|_| (1007, "invalid compressed data".to_owned()))?;
            let taken = (inflater.total_in() - before_in) as usize;
            let made = (inflater.total_out() - before_out) as usize;
            piece = &piece[taken..];
            used += taken;
            plain.len += made;
            self.inflated += made;
            self.work += made + taken;
            if self.inflated > max {
                return Err(too_long(max));
            }
            if status == Status::StreamEnd {
                // A block that calls itself the last one (section 7.2.3.4) is not the last one.
                inflater.reset(false);
                self.work += RESET_WORK;
            }
            if made == room {
                return Ok((used, true));
            }
            if piece.is_empty() {
                return Ok((used, false));
            }
            if taken == 0 && made == 0 && status != Status::StreamEnd {
                return Err((1007, "invalid compressed data".into()));
            }
        }
    }

    /// Writes the header of a frame whose payload is in place. An empty one in the middle of a
    /// message is left out.
    fn end_frame(&mut self, plain: &mut Plain, start: usize, fin: bool) {
        let length = plain.len - start - HEADER;
        if length == 0 && !fin {
            plain.len = start;
            return;
        }
        let first = if fin { 0x80 } else { 0 } | std::mem::take(&mut self.opcode);
        // With a mask of zeros, because the engine wants masked frames.
        let [high, low] = (length as u16).to_be_bytes();
        let long = [first, 0x80 | 126, high, low, 0, 0, 0, 0];
        if length > 125 {
            plain.buffer[start..start + HEADER].copy_from_slice(&long);
        } else {
            let short = [first, 0x80 | low, 0, 0, 0, 0];
            plain.buffer[start..start + short.len()].copy_from_slice(&short);
            plain.buffer.copy_within(start + HEADER..plain.len, start + short.len());
            plain.len -= HEADER - short.len();
        }
    }
}

/// Sixteen bytes at a time, which the compiler makes one instruction of.
fn unmask(to: &mut [u8], from: &[u8], mask: [u8; 4], phase: usize) {
    let mask: [u8; 16] = std::array::from_fn(|i| mask[(phase + i) & 3]);
    for (to, from) in to.chunks_mut(16).zip(from.chunks(16)) {
        for ((to, from), mask) in to.iter_mut().zip(from).zip(mask) {
            *to = from ^ mask;
        }
    }
}

/// Leaves room for the header of a frame.
fn begin(plain: &mut Plain) -> usize {
    let start = plain.len;
    plain.len += HEADER;
    start
}

fn too_long(max: usize) -> Failure {
    (1009, format!("message of more than {max} bytes when inflated"))
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

#[cfg(any(test, fuzzing))]
pub(crate) mod harness;
#[cfg(test)]
pub(crate) mod tests;
