//! Inflating (RFC 7692 section 7.2.2): a payload becomes plain bytes in steps of 64 KiB, so that a
//! message that inflates to far more than its limit takes no more memory than that.

use flate2::{Decompress, FlushDecompress, Status};

use crate::error::DecodeError;

/// Bytes that the inflater reads at once, after unmasking.
const PIECE: usize = 4 << 10;
/// Bytes that the inflater writes at most before they are handed on.
const ROOM: usize = 64 << 10;
/// Inflaters kept for the next message, of 46 KiB each.
const SPARE: usize = 4;
/// Cost of a final block, in inflated bytes: the inflater is reset, which takes about as long.
const RESET_WORK: usize = 1 << 10;
/// The last bytes of every flushed message, which the sender leaves out.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// What all decoders of one thread share for compressed messages: inflaters between two messages, the
/// buffer that they write into, and the work that a connection may cause in one turn.
///
/// Empty until a compressed message arrives.
#[derive(Debug)]
pub struct Inflaters {
    #[expect(clippy::vec_box, reason = "messages hold them boxed, and moving the box is cheaper")]
    spare: Vec<Box<Decompress>>,
    buffer: Box<[u8]>,
    budget: usize,
}

impl Default for Inflaters {
    /// Without a limit on the work.
    fn default() -> Self {
        Self { spare: Vec::new(), buffer: Box::default(), budget: usize::MAX }
    }
}

impl Inflaters {
    /// Begins the turn of a connection, in which compressed bytes read and inflated bytes written may
    /// come to `work`.
    pub fn begin_turn(&mut self, work: usize) {
        self.budget = work;
    }

    /// Whether the work of the turn is done. A decoder that has more to inflate then returns
    /// [`Event::Unfinished`](crate::Event::Unfinished).
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.budget == 0
    }

    fn inflater(&mut self) -> Box<Decompress> {
        // A smaller window would save nothing: zlib-rs allocates the same for each size.
        self.spare.pop().unwrap_or_else(|| Box::new(Decompress::new(false)))
    }

    /// Keeps the inflater of a message that has ended for one of any connection.
    pub(crate) fn give_back(&mut self, mut inflater: Box<Decompress>) {
        if self.spare.len() < SPARE {
            inflater.reset(false);
            self.spare.push(inflater);
        }
    }
}

/// One compressed message on its way.
#[derive(Debug)]
pub(crate) struct Inflating {
    inflater: Box<Decompress>,
    /// Bytes of [`TAIL`] that the inflater has read.
    tail: usize,
}

/// Why [`Inflating::read`] and [`Inflating::read_tail`] have returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// All that there was to read is read.
    Input,
    /// The buffer is full. There may be more, even if all is read.
    Full,
    /// The work of the turn is done. There may be more, even if all is read.
    Spent,
}

impl Inflating {
    /// Begins a message; `window` is the inflater that the peer's earlier messages went through, if
    /// the peer keeps its window.
    pub(crate) fn begin(window: Option<Box<Decompress>>, shared: &mut Inflaters) -> Self {
        Self { inflater: window.unwrap_or_else(|| shared.inflater()), tail: 0 }
    }

    /// Ends the message. The inflater knows the peer's window.
    pub(crate) fn end(self) -> Box<Decompress> {
        self.inflater
    }

    /// Inflates `input`, a part of a frame's payload. `mask` turns along. Returns what is inflated.
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

    /// Inflates what the sender has left out at the end of the message. Returns what is inflated.
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

    /// Inflates a piece into `room`, of which `len` bytes are used, until either is used up. Returns
    /// how much of the piece was used.
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
                // A block that is marked as the last one need not be (RFC 7692 section 7.2.3.4).
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

/// Room for what is inflated, and for a piece that is unmasked.
fn buffers(buffer: &mut Box<[u8]>) -> (&mut [u8], &mut [u8]) {
    if buffer.is_empty() {
        *buffer = vec![0; ROOM + PIECE].into_boxed_slice();
    }
    buffer.split_at_mut(ROOM)
}

/// Copies sixteen bytes at a time, which the compiler turns into one vector instruction.
fn copy_unmasked(to: &mut [u8], from: &[u8], mask: Option<[u8; 4]>) {
    let Some(mask) = mask else { return to.copy_from_slice(from) };
    let mask: [u8; 16] = std::array::from_fn(|i| mask[i & 3]);
    for (to, from) in to.chunks_mut(16).zip(from.chunks(16)) {
        for ((to, from), mask) in to.iter_mut().zip(from).zip(mask) {
            *to = from ^ mask;
        }
    }
}
