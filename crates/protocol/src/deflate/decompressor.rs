//! Decompression of received messages (RFC 7692 section 7.2.2). A payload is inflated in steps of 64
//! KiB, so that a message that inflates to far more than its limit costs no more than one step beyond
//! it.

use flate2::{Decompress, FlushDecompress, Status};

use crate::error::DecodeError;

/// Number of input bytes that are unmasked and inflated in one step.
const PIECE: usize = 4 << 10;
/// Size of the output buffer in bytes; the decoder takes its content whenever it is full.
const ROOM: usize = 64 << 10;
/// Maximum number of idle inflaters (46 KiB each) kept for later messages.
const SPARE: usize = 4;
/// Work charged for a final block, in inflated bytes: the inflater is reset, which costs about as much.
const RESET_WORK: usize = 1 << 10;
/// The last bytes of every flushed message, which the sender removes (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Resources that all decoders of one thread share for compressed messages: idle inflaters, the output
/// buffer, and the work budget of the current turn. A turn is one bounded run of a connection's task.
///
/// Nothing is allocated before the first compressed message.
#[derive(Debug)]
pub struct Inflaters {
    #[expect(clippy::vec_box, reason = "messages hold them boxed, and moving the box is cheaper")]
    spare: Vec<Box<Decompress>>,
    buffer: Box<[u8]>,
    budget: usize,
}

impl Default for Inflaters {
    /// Creates empty resources without a limit on the work.
    fn default() -> Self {
        Self { spare: Vec::new(), buffer: Box::default(), budget: usize::MAX }
    }
}

impl Inflaters {
    /// Begins the turn of a connection. `work` limits the sum of compressed bytes read and inflated
    /// bytes written in this turn.
    pub fn begin_turn(&mut self, work: usize) {
        self.budget = work;
    }

    /// Whether the work budget of the turn is used up. A decoder with more to inflate then returns
    /// [`Event::Unfinished`](crate::Event::Unfinished).
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.budget == 0
    }

    fn inflater(&mut self) -> Box<Decompress> {
        // A smaller window would save no memory: zlib-rs allocates the same amount for each size.
        self.spare.pop().unwrap_or_else(|| Box::new(Decompress::new(false)))
    }

    /// Keeps the inflater of a completed message for the next message of any connection.
    pub(crate) fn give_back(&mut self, mut inflater: Box<Decompress>) {
        if self.spare.len() < SPARE {
            inflater.reset(false);
            self.spare.push(inflater);
        }
    }
}

/// Decompression state of one compressed message.
#[derive(Debug)]
pub(crate) struct Inflating {
    inflater: Box<Decompress>,
    /// Number of bytes of [`TAIL`] already fed to the inflater.
    tail: usize,
}

/// Reason for which [`Inflating::read`] or [`Inflating::read_tail`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The whole input is consumed.
    Input,
    /// The output buffer is full. The inflater may hold more output even if the input is consumed.
    Full,
    /// The work budget of the turn is used up. The inflater may hold more output even if the input is
    /// consumed.
    Spent,
}

impl Inflating {
    /// Begins a message. `window` is the inflater of the peer's earlier messages if the peer keeps its
    /// window; otherwise an idle inflater is used.
    pub(crate) fn begin(window: Option<Box<Decompress>>, shared: &mut Inflaters) -> Self {
        Self { inflater: window.unwrap_or_else(|| shared.inflater()), tail: 0 }
    }

    /// Ends the message and returns its inflater, which contains the peer's window.
    pub(crate) fn end(self) -> Box<Decompress> {
        self.inflater
    }

    /// Inflates `input`, a masked part of a frame's payload, and returns the output. Rotates `mask` by
    /// the number of bytes consumed.
    pub(crate) fn read<'a>(
        &mut self,
        input: &mut &[u8],
        mask: &mut Option<[u8; 4]>,
        shared: &'a mut Inflaters,
    ) -> Result<(&'a [u8], Stop), DecodeError> {
        let (room, piece) = buffers(&mut shared.buffer);
        let mut len = 0;
        while !input.is_empty() {
            let n = input.len().min(PIECE);
            let piece = &mut piece[..n];
            copy_unmasked(piece, &input[..n], *mask);
            let used = self.inflate(piece, room, &mut len, &mut shared.budget)?;
            *input = &input[used..];
            if let Some(mask) = mask {
                mask.rotate_left(used & 3);
            }
            if shared.budget == 0 {
                return Ok((&room[..len], Stop::Spent));
            }
            if len == room.len() {
                return Ok((room, Stop::Full));
            }
        }
        Ok((&room[..len], Stop::Input))
    }

    /// Inflates [`TAIL`], which the sender has removed from the end of the message, and returns the
    /// output.
    pub(crate) fn read_tail<'a>(
        &mut self,
        shared: &'a mut Inflaters,
    ) -> Result<(&'a [u8], Stop), DecodeError> {
        let (room, _) = buffers(&mut shared.buffer);
        let mut len = 0;
        self.tail += self.inflate(&TAIL[self.tail..], room, &mut len, &mut shared.budget)?;
        if len < room.len() {
            return Ok((&room[..len], Stop::Input));
        }
        Ok((room, if shared.budget == 0 { Stop::Spent } else { Stop::Full }))
    }

    /// Inflates a piece into `room`, whose first `len` bytes are occupied, until the piece is consumed
    /// or `room` is full. Returns the number of bytes consumed.
    fn inflate(
        &mut self,
        piece: &[u8],
        room: &mut [u8],
        len: &mut usize,
        budget: &mut usize,
    ) -> Result<usize, DecodeError> {
        let mut used = 0;
        loop {
            let (before_in, before_out) = (self.inflater.total_in(), self.inflater.total_out());
            let status = self
                .inflater
                .decompress(&piece[used..], &mut room[*len..], FlushDecompress::Sync)
                .map_err(|_| DecodeError::InvalidCompression)?;
            let taken = (self.inflater.total_in() - before_in) as usize;
            let made = (self.inflater.total_out() - before_out) as usize;
            used += taken;
            *len += made;
            *budget = budget.saturating_sub(taken + made);
            if status == Status::StreamEnd {
                // More blocks may follow one that is marked as final (RFC 7692 section 7.2.3.4).
                self.inflater.reset(false);
                *budget = budget.saturating_sub(RESET_WORK);
            }
            if *len == room.len() || used == piece.len() {
                return Ok(used);
            }
            if taken == 0 && made == 0 && status != Status::StreamEnd {
                return Err(DecodeError::InvalidCompression);
            }
        }
    }
}

/// Splits the buffer, allocated on first use, into the output buffer and the buffer for one unmasked
/// piece.
fn buffers(buffer: &mut Box<[u8]>) -> (&mut [u8], &mut [u8]) {
    if buffer.is_empty() {
        *buffer = vec![0; ROOM + PIECE].into_boxed_slice();
    }
    buffer.split_at_mut(ROOM)
}

/// Copies `from` to `to` and removes the mask. The steps of sixteen bytes compile to one vector
/// instruction each.
fn copy_unmasked(to: &mut [u8], from: &[u8], mask: Option<[u8; 4]>) {
    let Some(mask) = mask else { return to.copy_from_slice(from) };
    let mask: [u8; 16] = std::array::from_fn(|i| mask[i & 3]);
    for (to, from) in to.chunks_mut(16).zip(from.chunks(16)) {
        for ((to, from), mask) in to.iter_mut().zip(from).zip(mask) {
            *to = from ^ mask;
        }
    }
}
