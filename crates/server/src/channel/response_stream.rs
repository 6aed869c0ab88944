//! Responses whose body the host writes in pieces.
//!
//! Host and I/O thread share a queue per stream. The host appends to it and posts
//! [`Command::Stream`](crate::channel::mailbox::Command::Stream), which wakes the connection's task; one such
//! command is under way at a time, however many pieces are written meanwhile. The task takes pieces
//! off the queue whenever the connection has room, over HTTP/1.1 by hyper
//! ([`Current`](crate::http::stream_body::Current)), over HTTP/2 by `http2`.
//!
//! Every stream ends with exactly one [`Event::StreamClose`](crate::Event::StreamClose), and at most
//! one [`Event::StreamDrain`](crate::Event::StreamDrain) waits for the host: what streams add to the
//! queue of events is bounded by the number of streams that the host itself has begun.

use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::id::Ticket;

/// Bytes that are handed to the connection at once. Small pieces gather up to this size, so that a
/// queue of single bytes costs no more memory than its content.
const PIECE: usize = 64 << 10;

/// The host's handle of a streamed response. Cheap to clone, readable without asking an I/O thread.
#[derive(Debug, Clone)]
pub struct ResponseStream(pub(crate) Arc<Shared>);

impl ResponseStream {
    /// The ticket of the request that it answers; unique in a process.
    pub fn ticket(&self) -> Ticket {
        self.0.ticket
    }

    /// False as soon as the host has ended it or the core has seen its end.
    pub fn is_open(&self) -> bool {
        self.0.flow().phase == Phase::Open
    }

    /// Whether the host wants [`Event::StreamDrain`](crate::Event::StreamDrain) from now on.
    pub fn want_drain(&self, on: bool) {
        let mut flow = self.0.flow();
        flow.drain_interest = on;
        flow.drain_wanted = on && flow.waiting() > 0;
    }

    /// Whether its last event has been handed out.
    pub fn is_closed(&self) -> bool {
        self.0.told.load(Ordering::Relaxed)
    }

    /// Bytes of the body that were accepted and not yet taken by the kernel, or over HTTP/2 by the
    /// connection's own buffer of 64 KiB.
    pub fn buffered_amount(&self) -> usize {
        self.0.flow().waiting()
    }
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The host may write.
    Open,
    /// The host has ended it; pieces may still wait.
    Ending,
    /// The connection has all of it, the end included, and may not have written it yet.
    HandedOver,
    /// It ends before its time, and what waits is void.
    Cut(Loss),
    /// The host has been told that it is over.
    Closed,
}

/// Why a stream ended before its end was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The peer is gone or has taken nothing for too long.
    Peer,
    /// More than `send_buffer_limit` waited.
    Slow,
    /// The host has cut it, or the server has stopped.
    Host,
}

/// What the host and an I/O thread both see of a stream.
#[derive(Debug)]
pub(crate) struct Shared {
    ticket: Ticket,
    /// Index of the I/O thread that owns the socket; until that has the response, the first one.
    thread: AtomicU16,
    /// The host has got the last event.
    pub(crate) told: AtomicBool,
    flow: Mutex<Flow>,
}

#[derive(Debug)]
struct Flow {
    phase: Phase,
    /// Whole pieces, and the one that is being filled.
    pieces: VecDeque<Bytes>,
    last: BytesMut,
    /// Bytes of both.
    queued: usize,
    /// Bytes that the connection has got and the kernel has not.
    handed: usize,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// A command that does so is under way.
    posted: bool,
    /// The host wants to know when nothing waits any more.
    drain_interest: bool,
    /// Something has waited since that was told last.
    drain_wanted: bool,
    /// An event that says so is under way.
    drain_posted: bool,
}

impl Flow {
    fn waiting(&self) -> usize {
        self.queued + self.handed
    }

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

    fn pop(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front().or_else(|| {
            let last = mem::take(&mut self.last);
            (!last.is_empty()).then(|| last.freeze())
        })?;
        self.queued -= piece.len();
        self.handed += piece.len();
        Some(piece)
    }

    /// Drops what waits, and says how much it was.
    fn clear(&mut self) -> usize {
        self.pieces = VecDeque::new();
        self.last = BytesMut::new();
        mem::take(&mut self.queued) + mem::take(&mut self.handed)
    }

    fn await_data(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// What came of [`Shared::write`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Accepted,
    /// The stream is not open.
    Closed,
    /// Too much waited: the stream is cut, and so many bytes are void.
    Overflow(usize),
}

/// What the socket's taking of everything means for a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Flushed {
    /// Bytes that no longer wait.
    pub(crate) bytes: usize,
    /// The host is to be told that nothing waits.
    pub(crate) drained: bool,
    /// The stream is over, and the peer's kernel can have all of it.
    pub(crate) complete: bool,
}

impl Shared {
    /// `head_only`: the response has no body (RFC 9110 sections 9.3.2 and 15), so that nothing can
    /// be written.
    pub(crate) fn new(ticket: Ticket, head_only: bool) -> Arc<Self> {
        let phase = if head_only { Phase::HandedOver } else { Phase::Open };
        Self::in_phase(ticket, phase)
    }

    /// The stream of a client that no longer waits.
    pub(crate) fn void(ticket: Ticket) -> Arc<Self> {
        Self::in_phase(ticket, Phase::Closed)
    }

    fn in_phase(ticket: Ticket, phase: Phase) -> Arc<Self> {
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
            told: AtomicBool::new(false),
            flow: Mutex::new(flow),
        })
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(crate) fn thread(&self) -> u16 {
        self.thread.load(Ordering::Relaxed)
    }

    /// I/O thread: the response is here.
    pub(crate) fn belongs_to(&self, thread: u16) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// Host: appends to the body. A piece that is larger than the limit passes when nothing waits
    /// before it.
    pub(crate) fn write(&self, data: &[u8], limit: usize) -> Written {
        let mut flow = self.flow();
        if flow.phase != Phase::Open {
            return Written::Closed;
        }
        let waiting = flow.waiting();
        if waiting > 0 && waiting.saturating_add(data.len()) > limit {
            flow.phase = Phase::Cut(Loss::Slow);
            return Written::Overflow(flow.clear());
        }
        flow.push(data);
        flow.drain_wanted = flow.drain_interest;
        Written::Accepted
    }

    /// Host: nothing follows. False: it was not open.
    pub(crate) fn end(&self) -> bool {
        let mut flow = self.flow();
        let open = flow.phase == Phase::Open;
        if open {
            flow.phase = Phase::Ending;
        }
        open
    }

    /// Whether it has been cut.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self.flow().phase, Phase::Cut(_))
    }

    /// Ends it before its time. The number of bytes that are void, unless it has ended already.
    pub(crate) fn cut(&self) -> Option<usize> {
        let mut flow = self.flow();
        if matches!(flow.phase, Phase::Cut(_) | Phase::Closed) {
            return None;
        }
        flow.phase = Phase::Cut(Loss::Host);
        Some(flow.clear())
    }

    /// Host: whether the I/O thread must be told; if so, that is on its way now.
    pub(crate) fn must_post(&self) -> bool {
        !mem::replace(&mut self.flow().posted, true)
    }

    /// I/O thread: the host has done something.
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

    /// Host: takes the event of a drain. False: pieces were written since, and another one follows.
    pub(crate) fn take_drain(&self) -> bool {
        let mut flow = self.flow();
        flow.drain_posted = false;
        let drained = flow.waiting() == 0;
        flow.drain_wanted = flow.drain_interest && !drained;
        drained && flow.drain_interest && flow.phase == Phase::Open
    }

    /// I/O thread: nothing of what the connection got waits for the socket any more.
    pub(crate) fn flushed(&self) -> Flushed {
        let mut flow = self.flow();
        let bytes = mem::take(&mut flow.handed);
        let complete = flow.phase == Phase::HandedOver;
        if complete {
            flow.phase = Phase::Closed;
        }
        let drained =
            flow.phase == Phase::Open && flow.drain_wanted && flow.waiting() == 0 && !flow.drain_posted;
        if drained {
            (flow.drain_wanted, flow.drain_posted) = (false, true);
        }
        Flushed { bytes, drained, complete }
    }

    /// I/O thread: the stream is over without its end having been sent. Why, and the number of bytes
    /// that are void; `None` if it was over before.
    pub(crate) fn lost(&self) -> Option<(Loss, usize)> {
        let mut flow = self.flow();
        let loss = match flow.phase {
            Phase::Closed => return None,
            Phase::Cut(loss) => loss,
            Phase::Open | Phase::Ending | Phase::HandedOver => Loss::Peer,
        };
        flow.phase = Phase::Closed;
        flow.waker = None;
        Some((loss, flow.clear()))
    }

    /// Whether it has been cut. If not, the task is woken when it is.
    pub(crate) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        let mut flow = self.flow();
        flow.await_data(cx);
        matches!(flow.phase, Phase::Cut(_))
    }

    pub(crate) fn poll_piece(&self, cx: &Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut flow = self.flow();
        match flow.phase {
            Phase::Cut(_) | Phase::Closed => {
                let why = "the response was cut before its end";
                Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why))))
            }
            Phase::HandedOver => Poll::Ready(None),
            phase @ (Phase::Open | Phase::Ending) => {
                if let Some(piece) = flow.pop() {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                if phase == Phase::Ending {
                    flow.phase = Phase::HandedOver;
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

    fn stream() -> Arc<Shared> {
        Shared::new(Ticket(1), false)
    }

    fn read(stream: &Shared) -> Poll<Option<io::Result<Bytes>>> {
        let poll = stream.poll_piece(&Context::from_waker(Waker::noop()));
        poll.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }

    #[test]
    fn small_pieces_leave_together_and_large_ones_in_parts() {
        let shared = stream();
        assert!(read(&shared).is_pending());
        (0..3).for_each(|_| assert_eq!(shared.write(b"ab", LIMIT), Written::Accepted));
        assert!(matches!(read(&shared), Poll::Ready(Some(Ok(data))) if data == "ababab"));
        shared.flushed();
        assert_eq!(shared.write(&vec![b'x'; PIECE + 7], LIMIT), Written::Accepted, "nothing waits before it");
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
    fn what_the_kernel_has_not_taken_counts() {
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
    fn one_drain_is_under_way_at_a_time_and_none_is_lost() {
        let shared = stream();
        let pass = |shared: &Shared| {
            assert!(read(shared).is_ready());
            shared.flushed().drained
        };
        shared.write(&[0; 100], LIMIT);
        assert!(!pass(&shared), "nobody wants it");
        ResponseStream(shared.clone()).want_drain(true);
        shared.write(&[0; 100], LIMIT);
        assert!(pass(&shared));
        shared.write(&[0; 100], LIMIT);
        assert!(!pass(&shared), "the host has not taken the first");
        assert!(shared.take_drain());
        shared.write(&[0; 100], LIMIT);
        assert!(pass(&shared));
        shared.write(&[0; 1], LIMIT);
        assert!(!shared.take_drain(), "something waits again");
        assert!(pass(&shared), "so it is told later");
    }
}
