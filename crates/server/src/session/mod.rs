//! One WebSocket connection on its I/O thread: from the 101 to the closed socket.

mod closing;
mod early;
mod ending;
mod held;
mod input;
mod keep_alive;
mod output;
mod publications;
mod subscriptions;

use bytes::BytesMut;
use sprocket_protocol::Decoder;
use sprocket_protocol::deflate::Compressor;
use sprocket_protocol::frame;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

use crate::channel::mailbox::{Closed, Item};
use crate::connection::outbox::Outbox;
use crate::connection::shared::Shared;
use crate::context::ThreadContext;
use crate::context::log::SLOW;
use crate::context::read_buffers::LARGE;
use crate::indexed::Indexed;
use crate::limits::admission::Admission;
use crate::metrics::counters::Counters;
use crate::net::flood::Flood;
use crate::net::poll_turn;
use crate::net::progress::Progress;
use crate::net::stream::Stream;

use ending::Ending;
use subscriptions::{Resumes, Subscription};

pub(crate) use held::Early;
pub(crate) use subscriptions::Published;

/// Reads of one turn, of up to 128 KiB each.
const READS_PER_TURN: usize = 4;
/// Frames of one turn. One read holds up to 10,922 empty pings, which take 2 ms; as many as these
/// take less than 0.1 ms.
const FRAMES_PER_TURN: u32 = 256;
/// Compressed bytes read, and inflated bytes written, in one turn.
const INFLATED_PER_TURN: usize = 128 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The connection is to end, and the host has messages from before to answer. Nothing is read any
    /// more; the close frame goes out behind the answers.
    Answering,
    /// We have sent a close frame and wait for the peer's.
    Closing,
    /// The closing handshake is over, or the peer has ended its direction, and the host knows: what
    /// waits is written, then FIN; then the peer's FIN is awaited, because closing a socket with unread
    /// input would reset it and destroy what was written last.
    Lingering {
        /// Our FIN was sent.
        fin: bool,
        /// The peer's FIN was received.
        hung_up: bool,
    },
    Dead,
}

/// One connection. Its task holds only its place in the thread's table.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    stream: Stream,
    out: Outbox,
    decoder: Decoder,
    /// Bytes that were received and not looked at yet.
    early: Early,
    /// Place among those that wait for room in the backlog; 0 where it does not wait.
    place: u64,
    /// If compression was negotiated.
    compressor: Option<Box<Compressor>>,
    phase: Phase,
    /// The last read brought enough for a large message: what comes is read into a chunk.
    large: bool,
    /// To be reported instead of what the peer answers: we have failed the connection.
    failed: Option<(u16, String)>,
    /// While the host answers: what comes then.
    ending: Option<Box<Ending>>,
    /// When a session that is about to end is cut.
    deadline: Option<Instant>,
    /// Since the last ping, or since the deadline was set.
    progress: Progress,
    /// Counted in [`ThreadContext::unwritten`].
    unwritten: bool,
    /// Counts against the limits; goes to the host with the report of the end.
    admission: Option<Admission>,
    /// Of the connection's task.
    waker: Option<Waker>,
    /// It is on the list of those that have something to write.
    pub(crate) dirty: bool,
    /// Tick at which something was received last.
    heard: u32,
    /// Tick at which a ping went out that nothing has answered yet.
    pinged: Option<u32>,
    /// Control frames and empty fragments from the peer.
    flood: Flood,
    topics: Indexed<Subscription>,
    /// Topics that it resumes, or has resumed.
    resumes: Option<Box<Resumes>>,
    /// Number of the publication that it got last: one that goes to several topics comes once.
    published: u64,
    /// Frames and bytes that the thread has counted as waiting here.
    noted: (u32, usize),
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        stream: Stream,
        early: Early,
        decoder: Decoder,
        compressor: Option<Box<Compressor>>,
        admission: Admission,
        tick: u32,
    ) -> Self {
        Self {
            place: 0,
            shared,
            stream,
            out: Outbox::default(),
            decoder,
            early,
            compressor,
            phase: Phase::Open,
            large: false,
            failed: None,
            ending: None,
            deadline: None,
            progress: Progress::default(),
            unwritten: false,
            admission: Some(admission),
            waker: None,
            dirty: false,
            heard: tick,
            pinged: None,
            flood: Flood::default(),
            topics: Indexed::default(),
            resumes: None,
            published: 0,
            noted: (0, 0),
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    /// Reads, hands on, writes. Ready when the session is over and its socket can be dropped.
    pub(crate) fn poll(&mut self, context: &mut ThreadContext, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        self.poll_read(context, cx);
        self.poll_write(context, cx);
        if self.is_dead() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_read(&mut self, context: &mut ThreadContext, cx: &mut Context<'_>) {
        context.frames_left = FRAMES_PER_TURN;
        context.inflaters.begin_turn(INFLATED_PER_TURN);
        for _ in 0..READS_PER_TURN {
            if self.is_dead() {
                return;
            }
            if self.is_paused() {
                return self.stream.gather(cx);
            }
            if self.holds_input() {
                // Even when the backlog is full: part of it is what is held back here.
                self.receive_early(context);
            } else {
                if context.is_full() && self.phase == Phase::Open {
                    context.share.await_room((&*self.shared).into(), context.index, &mut self.place);
                    return self.stream.gather(cx);
                }
                self.place = 0;
                match self.read(context, cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(0)) => return self.hang_up(context),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => {
                        return self.lost(context, &format!("connection lost: {error}"));
                    }
                }
            }
            if context.frames_left == 0 {
                break;
            }
        }
        // The turn is over. Others have theirs, and the host what this one has brought.
        context.publish();
        poll_turn::pass(cx);
    }

    /// Reads once, and receives that. Says how many bytes it was.
    fn read(&mut self, context: &mut ThreadContext, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.large
            && let Some(chunk) = context.read_buffers.take()
        {
            return self.read_chunk(context, cx, chunk);
        }
        let mut buffer = std::mem::take(&mut context.read);
        let polled = self.stream.poll_read(cx, &mut buffer);
        if let Poll::Ready(Ok(n)) = polled
            && n > 0
        {
            if n >= LARGE {
                self.large = self.compressor.is_none() && self.stream.is_plain();
            }
            let left = self.receive(context, &buffer[..n]);
            self.hold_back(context, &buffer[n - left..n]);
        }
        context.read = buffer;
        polled
    }

    /// The same into a chunk. Out of line, so that connections with small messages don't pay for it.
    #[inline(never)]
    fn read_chunk(
        &mut self,
        context: &mut ThreadContext,
        cx: &mut Context<'_>,
        mut chunk: BytesMut,
    ) -> Poll<io::Result<usize>> {
        let polled = self.stream.poll_read_chunk(cx, &mut chunk);
        if chunk.len() >= LARGE {
            let input = chunk.split();
            self.receive_chunk(context, input);
        } else if !chunk.is_empty() {
            self.large = false;
            let left = self.receive(context, &chunk);
            self.hold_back(context, &chunk[chunk.len() - left..]);
        }
        context.read_buffers.give_back(chunk);
        polled
    }

    /// Nothing is read while the host has too much to take, or the end waits for its answers.
    fn is_paused(&self) -> bool {
        self.phase == Phase::Answering
            || self.phase == Phase::Open && self.shared.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// The host closes.
    pub(crate) fn close(&mut self, context: &mut ThreadContext, code: u16, reason: &str) {
        self.revive();
        if self.phase != Phase::Open {
            return;
        }
        self.push_counted(frame::close(Some((code, reason))));
        self.phase = Phase::Closing;
        // Whatever the host sends from here on is refused.
        self.shared.end();
        self.set_deadline(context, context.server.config.close_timeout);
        self.flush(context);
        // A paused socket is read again: the peer's answer comes behind what it has sent.
        self.wake();
    }

    /// The peer reads too slowly: forget what waits, close with 1013, also where the connection ends once
    /// the host has answered. A peer that has broken the rules learns that instead.
    pub(crate) fn overflow(&mut self, context: &mut ThreadContext) {
        if !matches!(self.phase, Phase::Open | Phase::Answering)
            || matches!(self.ending.as_deref(), Some(Ending::Failed(..)))
        {
            return;
        }
        self.shared.end();
        Counters::one(&context.server.counters.slow_closed);
        let given_up = self.stream.give_up_claim();
        self.out.skip(given_up);
        let waiting = self.out.len();
        let dropped = given_up + self.out.discard();
        context.unsent += (waiting - self.out.len()) as u64;
        self.shared.sub_buffered(dropped);
        let reason = "the peer reads too slowly";
        context.log_close(&self.shared, SLOW, 1013, reason);
        if let Some(Ending::ClosedByPeer(_)) = self.ending.take().as_deref() {
            // Its close frame is here already.
            self.push_counted(frame::close(Some((1013, reason))));
            return self.finish(context, 1013, reason.to_owned());
        }
        self.phase = Phase::Open;
        self.failed = Some((1013, reason.to_owned()));
        self.close(context, 1013, reason);
    }

    /// Cuts the connection without a word.
    pub(crate) fn terminate(&mut self, context: &mut ThreadContext, reason: &str) {
        self.report(context, 1006, reason.to_owned());
        self.die(context);
    }

    /// The peer is gone.
    fn lost(&mut self, context: &mut ThreadContext, why: &str) {
        self.report(context, 1006, why.to_owned());
        self.die(context);
    }

    /// Tells the host, once.
    fn report(&mut self, context: &mut ThreadContext, code: u16, reason: String) {
        let Some(admission) = self.admission.take() else { return };
        self.shared.end();
        let (code, reason) = self.failed.take().unwrap_or((code, reason));
        if code == 1006 {
            Counters::one(&context.server.counters.abnormal);
        }
        Counters::one(&context.server.counters.closed);
        context.server.closes.count(code);
        context.live -= 1;
        context.ended.notify_one();
        for topic in std::mem::take(&mut self.topics) {
            context.subscribers.leave(topic.id, self.shared.slot);
        }
        self.resumes = None;
        context.emit(Item::Closed(Box::new(Closed { id: self.shared.id, code, reason, admission })));
    }

    fn die(&mut self, context: &mut ThreadContext) {
        if self.is_dead() {
            return;
        }
        context.unsent += self.out.len() as u64;
        self.phase = Phase::Dead;
        self.discard_input(context);
        self.shared.direct.end();
        self.note(context);
        self.written(context);
        self.wake();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The host may keep its handle for long; the socket must not wait for that.
        self.shared.direct.end();
    }
}
