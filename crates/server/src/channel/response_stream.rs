//! Response streams: HTTP responses whose body the host writes in pieces.
//!
//! The host and the I/O thread share one queue per stream. The host appends pieces to it and posts
//! [`Command::Stream`](crate::channel::mailbox::Command::Stream), which wakes the connection's task. At
//! most one such command is pending at a time, however many pieces are written. The task takes pieces
//! from the queue whenever the connection has room: over HTTP/1.1 through hyper
//! ([`Current`](crate::http::stream_body::Current)), over HTTP/2 through `http2`.
//!
//! Every stream ends with exactly one [`Event::StreamClose`](crate::Event::StreamClose), and at most
//! one [`Event::StreamDrain`](crate::Event::StreamDrain) per stream waits for the host. The number of
//! events is therefore bounded by the number of streams that the host itself has begun.

use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::id::Ticket;

/// Maximum size of a piece passed to the connection, in bytes. Smaller pieces are joined up to this size,
/// so that a queue of single bytes occupies no more memory than its content.
const PIECE: usize = 64 << 10;

/// The host's handle of a streamed response. It is cheap to clone, and all its methods work without a round
/// trip to the I/O thread.
#[derive(Debug, Clone)]
pub struct ResponseStream(pub(crate) Arc<StreamState>);

impl ResponseStream {
    /// The ticket of the request that the stream answers; unique within the process.
    pub fn ticket(&self) -> Ticket {
        self.0.ticket
    }

    /// Whether the host may write: neither has the host ended the stream nor has the core detected its end.
    pub fn is_open(&self) -> bool {
        self.0.flow().phase == StreamPhase::Open
    }

    /// Sets whether the host wants [`Event::StreamDrain`](crate::Event::StreamDrain) from now on.
    pub fn want_drain(&self, on: bool) {
        let mut flow = self.0.flow();
        flow.drain_interest = on;
        flow.drain_wanted = on && flow.waiting() > 0;
    }

    /// Whether the host has received the last event of the stream.
    pub fn is_closed(&self) -> bool {
        self.0.close_delivered.load(Ordering::Relaxed)
    }

    /// Number of body bytes that were written by the host and not yet accepted by the kernel, or over
    /// HTTP/2 by the connection's buffer, which takes at most 64 KiB and 32 DATA frames of a stream.
    pub fn buffered_amount(&self) -> usize {
        self.0.flow().waiting()
    }
}

/// The states of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamPhase {
    /// The host may write.
    Open,
    /// The host has ended the stream; pieces may still wait in the queue.
    Ending,
    /// The connection has received the whole body including its end, but may not have written it yet.
    HandedOver,
    /// The stream was ended early, and its queue discarded.
    Cut(Loss),
    /// The last event has been emitted.
    Closed,
}

/// The reason why a stream ended before its body was sent completely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The peer has disconnected, or has accepted nothing for too long.
    Peer,
    /// More than `send_buffer_limit` bytes waited.
    Slow,
    /// The host has cut the stream, or the server has stopped.
    Host,
}

/// The state of a stream that the host and an I/O thread share.
#[derive(Debug)]
pub(crate) struct StreamState {
    ticket: Ticket,
    /// Index of the I/O thread that owns the socket; 0 until that thread has received the response.
    thread: AtomicU16,
    /// The host has received the last event.
    pub(crate) close_delivered: AtomicBool,
    flow: Mutex<Flow>,
}

/// The queue of a stream and its state, behind the lock in [`StreamState`].
#[derive(Debug)]
struct Flow {
    phase: StreamPhase,
    /// Complete pieces, oldest first.
    pieces: VecDeque<Bytes>,
    /// The piece that is being filled; it follows `pieces`.
    last: BytesMut,
    /// Bytes in `pieces` and `last`.
    queued: usize,
    /// Bytes that the connection has received from the queue and the kernel has not accepted yet.
    handed: usize,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// A command that wakes the task is pending.
    posted: bool,
    /// The host wants drain events.
    drain_interest: bool,
    /// Bytes have waited since the last drain event, so another one is due when none wait.
    drain_wanted: bool,
    /// A drain event is on its way to the host.
    drain_posted: bool,
}

impl Flow {
    /// Number of bytes that the kernel has not accepted yet.
    fn waiting(&self) -> usize {
        self.queued + self.handed
    }

    /// Appends data to the queue, joined into pieces of [`PIECE`] bytes.
    fn push(&mut self, mut data: &[u8]) {
        self.queued += data.len();
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(PIECE - self.last.len()));
            self.last.extend_from_slice(now);
            if self.last.len() == PIECE {
                self.pieces.push_back(mem::take(&mut self.last).freeze());
            }
            data = later;
        }
    }

    /// Takes the next piece for the connection.
    fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front().or_else(|| {
            let last = mem::take(&mut self.last);
            (!last.is_empty()).then(|| last.freeze())
        })?;
        self.queued -= piece.len();
        self.handed += piece.len();
        Some(piece)
    }

    /// Discards the waiting bytes. Returns their number.
    fn clear(&mut self) -> usize {
        self.pieces = VecDeque::new();
        self.last = BytesMut::new();
        mem::take(&mut self.queued) + mem::take(&mut self.handed)
    }

    /// Stores the waker of the task, to be woken when the host writes, ends or cuts the stream.
    fn await_data(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// The result of [`StreamState::write`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The data is queued.
    Accepted,
    /// The stream is not open.
    Closed,
    /// The data would exceed the limit, so the stream was cut and this many waiting bytes discarded.
    Overflow(usize),
}

/// The effect on a stream of the socket having accepted all bytes that the connection had.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Number of bytes that no longer wait.
    pub(crate) bytes: usize,
    /// A drain event must be emitted.
    pub(crate) drained: bool,
    /// The stream has ended, and the socket has accepted the whole body.
    pub(crate) complete: bool,
}

impl StreamState {
    /// Creates an open stream. With `head_only`, the response has no body (RFC 9110 sections 9.3.2 and 15),
    /// so nothing can be written.
    pub(crate) fn new(ticket: Ticket, head_only: bool) -> Arc<Self> {
        let phase = if head_only { StreamPhase::HandedOver } else { StreamPhase::Open };
        Self::in_phase(ticket, phase)
    }

    /// Creates a closed stream, for a client that has already disconnected.
    pub(crate) fn void(ticket: Ticket) -> Arc<Self> {
        Self::in_phase(ticket, StreamPhase::Closed)
    }

    fn in_phase(ticket: Ticket, phase: StreamPhase) -> Arc<Self> {
        let flow = Flow {
            phase,
            pieces: VecDeque::new(),
            last: BytesMut::new(),
            queued: 0,
            handed: 0,
            waker: None,
            posted: false,
            drain_interest: false,
            drain_wanted: false,
            drain_posted: false,
        };
        Arc::new(Self {
            ticket,
            thread: AtomicU16::new(0),
            close_delivered: AtomicBool::new(false),
            flow: Mutex::new(flow),
        })
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ticket of the request that the stream answers.
    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Index of the I/O thread to which commands for the stream must be posted.
    pub(crate) fn thread(&self) -> u16 {
        self.thread.load(Ordering::Relaxed)
    }

    /// I/O thread: records that this thread has received the response.
    pub(crate) fn belongs_to(&self, thread: u16) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// Host: appends to the body. If bytes already wait and the data would exceed `limit`, the stream is cut.
    /// Data larger than the limit is accepted when nothing waits.
    pub(crate) fn write(&self, data: &[u8], limit: usize) -> Written {
        let mut flow = self.flow();
        if flow.phase != StreamPhase::Open {
            return Written::Closed;
        }
        let waiting = flow.waiting();
        if waiting > 0 && waiting.saturating_add(data.len()) > limit {
            flow.phase = StreamPhase::Cut(Loss::Slow);
            return Written::Overflow(flow.clear());
        }
        flow.push(data);
        flow.drain_wanted = flow.drain_interest;
        Written::Accepted
    }

    /// Host: ends the body. Returns false if the stream was not open.
    pub(crate) fn end(&self) -> bool {
        let mut flow = self.flow();
        let open = flow.phase == StreamPhase::Open;
        if open {
            flow.phase = StreamPhase::Ending;
        }
        open
    }

    /// Whether the stream has been cut.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self.flow().phase, StreamPhase::Cut(_))
    }

    /// Cuts the stream. Returns the number of bytes discarded, or `None` if it was already cut or closed.
    pub(crate) fn cut(&self) -> Option<usize> {
        let mut flow = self.flow();
        if matches!(flow.phase, StreamPhase::Cut(_) | StreamPhase::Closed) {
            return None;
        }
        flow.phase = StreamPhase::Cut(Loss::Host);
        Some(flow.clear())
    }

    /// Host: whether a command must be posted to the I/O thread. If so, the command counts as pending from
    /// now on.
    pub(crate) fn must_post(&self) -> bool {
        !mem::replace(&mut self.flow().posted, true)
    }

    /// I/O thread: executes the pending command, by waking the connection's task.
    pub(crate) fn wake(&self) {
        let waker = {
            let mut flow = self.flow();
            flow.posted = false;
            flow.waker.clone()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Host: takes a drain event. Returns false if the event must be dropped, because data was written since
    /// (another event follows), or because the host no longer wants it.
    pub(crate) fn take_drain(&self) -> bool {
        let mut flow = self.flow();
        flow.drain_posted = false;
        let drained = flow.waiting() == 0;
        flow.drain_wanted = flow.drain_interest && !drained;
        drained && flow.drain_interest && flow.phase == StreamPhase::Open
    }

    /// I/O thread: records that the socket has accepted all bytes that the connection had.
    pub(crate) fn flushed(&self) -> Flushed {
        let mut flow = self.flow();
        let bytes = mem::take(&mut flow.handed);
        let complete = flow.phase == StreamPhase::HandedOver;
        if complete {
            flow.phase = StreamPhase::Closed;
        }
        let drained =
            flow.phase == StreamPhase::Open && flow.drain_wanted && flow.waiting() == 0 && !flow.drain_posted;
        if drained {
            (flow.drain_wanted, flow.drain_posted) = (false, true);
        }
        Flushed { bytes, drained, complete }
    }

    /// I/O thread: closes a stream whose body was not sent completely. Returns the cause and the number of
    /// bytes discarded, or `None` if the stream was already closed.
    pub(crate) fn lost(&self) -> Option<(Loss, usize)> {
        let mut flow = self.flow();
        let loss = match flow.phase {
            StreamPhase::Closed => return None,
            StreamPhase::Cut(loss) => loss,
            StreamPhase::Open | StreamPhase::Ending | StreamPhase::HandedOver => Loss::Peer,
        };
        flow.phase = StreamPhase::Closed;
        flow.waker = None;
        Some((loss, flow.clear()))
    }

    /// Whether the stream has been cut. If not, the task is woken when that happens.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        let mut flow = self.flow();
        flow.await_data(cx);
        matches!(flow.phase, StreamPhase::Cut(_))
    }

    /// Polls for the next piece of the body; `None` is its end.
    ///
    /// # Errors
    /// The stream was cut, so the response must be aborted.
    pub(crate) fn poll_piece(&self, cx: &Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut flow = self.flow();
        match flow.phase {
            StreamPhase::Cut(_) | StreamPhase::Closed => {
                let why = "the response was cut before its end";
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))))
            }
            StreamPhase::HandedOver => Poll::Ready(None),
            phase @ (StreamPhase::Open | StreamPhase::Ending) => {
                if let Some(piece) = flow.pop() {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                if phase == StreamPhase::Ending {
                    flow.phase = StreamPhase::HandedOver;
                    return Poll::Ready(None);
                }
                flow.await_data(cx);
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn stream() -> Arc<StreamState> {
        StreamState::new(Ticket(1), false)
    }

    fn read(stream: &StreamState) -> Poll<Option<io::Result<Bytes>>> {
        let poll = stream.poll_piece(&Context::from_waker(Waker::noop()));
        poll.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }

    #[test]
    fn small_pieces_are_joined_and_large_ones_split() {
        let shared = stream();
        assert!(read(&shared).is_pending());
        (0..3).for_each(|_| assert_eq!(shared.write(b"ab", LIMIT), Written::Accepted));
        assert!(matches!(read(&shared), Poll::Ready(Some(Ok(data))) if data == "ababab"));
        shared.flushed();
        assert_eq!(
            shared.write(&vec![b'x'; PIECE + 7], LIMIT),
            Written::Accepted,
            "accepted because nothing waits"
        );
        for length in [PIECE, 7] {
            assert!(matches!(read(&shared), Poll::Ready(Some(Ok(data))) if data.len() == length));
        }
        assert!(shared.end() && !shared.end());
        assert!(matches!(read(&shared), Poll::Ready(None)));
        assert_eq!(shared.write(b"late", LIMIT), Written::Closed);
        let flushed = Flushed { bytes: PIECE + 7, drained: false, complete: true };
        assert_eq!((shared.flushed(), shared.lost()), (flushed, None));
    }

    #[test]
    fn bytes_count_until_the_kernel_has_accepted_them() {
        let shared = stream();
        shared.write(&[0; 600], LIMIT);
        assert!(read(&shared).is_ready());
        assert_eq!(shared.flow().waiting(), 600);
        assert_eq!(
            shared.write(&[0; 600], LIMIT),
            Written::Overflow(600),
            "the connection still has the first"
        );
        assert!(matches!(read(&shared), Poll::Ready(Some(Err(_)))));
        assert_eq!((shared.lost(), shared.lost()), (Some((Loss::Slow, 0)), None));
    }

    #[test]
    fn at_most_one_drain_event_is_pending_and_none_is_lost() {
        let shared = stream();
        let pass = |shared: &StreamState| {
            assert!(read(shared).is_ready());
            shared.flushed().drained
        };
        shared.write(&[0; 100], LIMIT);
        assert!(!pass(&shared), "the host does not want the event");
        ResponseStream(shared.clone()).want_drain(true);
        shared.write(&[0; 100], LIMIT);
        assert!(pass(&shared));
        shared.write(&[0; 100], LIMIT);
        assert!(!pass(&shared), "the host has not taken the first event");
        assert!(shared.take_drain());
        shared.write(&[0; 100], LIMIT);
        assert!(pass(&shared));
        shared.write(&[0; 1], LIMIT);
        assert!(!shared.take_drain(), "something waits again");
        assert!(pass(&shared), "the event is emitted later");
    }
}
