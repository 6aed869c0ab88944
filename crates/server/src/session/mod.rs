//! One WebSocket connection on its I/O thread, from the 101 response to the closed socket.
//!
//! A [`Session`] owns the socket, the decoder and the outbox of its connection. It lives in the table of
//! its thread ([`thread`](crate::thread)); its task only polls it. The I/O thread calls it for
//! commands of the host, for publications and for timers, and passes the
//! [`ThreadContext`] that all sessions of the thread share.

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
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

use crate::channel::lanes::Lane;
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

/// Maximum number of reads in one turn (one bounded run of the session's task). One read returns up to
/// 128 KiB.
const READS_PER_TURN: usize = 4;
/// Maximum number of frames decoded in one turn. One read can hold 10,922 empty pings, which take 2 ms
/// to process; this many take less than 0.1 ms.
const FRAMES_PER_TURN: u32 = 256;
/// Maximum number of compressed bytes consumed, and of decompressed bytes produced, in one turn.
const INFLATED_PER_TURN: usize = 128 << 10;

/// The state of a session in the course of its closing handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Messages pass in both directions.
    Open,
    /// The connection is about to end, but the host still has to answer messages received earlier. The
    /// socket is not read; the close frame follows the answers.
    Answering,
    /// The server has sent a close frame and waits for the peer's.
    Closing,
    /// The end has been reported to the host. The session writes the queued frames, then FIN, and then
    /// waits for the peer's FIN: closing a socket with unread input would send RST, and the peer
    /// could lose the last bytes written.
    Lingering {
        /// The server's FIN was sent.
        fin: bool,
        /// The peer's FIN was received.
        hung_up: bool,
    },
    /// The session is over, and its task drops the socket at the next poll.
    Dead,
}

/// One connection, held in its thread's table of sessions. The session's task holds only the index of
/// its slot in that table.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    stream: Stream,
    out: Outbox,
    decoder: Decoder,
    /// Bytes that were read from the socket and not yet decoded.
    early: Early,
    /// Number of its place in the queue of sessions that wait for room in the backlog; 0 if it does not
    /// wait.
    place: u64,
    /// Compresses outgoing messages, if permessage-deflate was negotiated.
    compressor: Option<Box<Compressor>>,
    phase: Phase,
    /// The last read was large enough to hold a large message, so the next one uses a chunk from
    /// [`ThreadContext::read_buffers`].
    large: bool,
    /// Close code and reason to report to the host instead of those in the peer's close frame, because
    /// the server has failed the connection.
    failed: Option<(u16, String)>,
    /// Why the session ends once the host has answered; set in [`Phase::Answering`].
    ending: Option<Box<Ending>>,
    /// Time at which a session that is about to end is cut.
    deadline: Option<Instant>,
    /// The peer's progress in taking what it was sent, since the last ping or since the deadline was set.
    progress: Progress,
    /// Whether the session is counted in [`ThreadContext::unwritten`].
    unwritten: bool,
    /// The connection's place under the connection limits. It is passed to the host with the report of
    /// the end, so `None` means that the end has been reported.
    admission: Option<Admission>,
    /// The lane in which the last message of this connection was passed to the host.
    lane: Lane,
    /// Wakes the session's task.
    waker: Option<Waker>,
    /// Whether the session is on the thread's list of sessions with frames to write.
    pub(crate) dirty: bool,
    /// Tick of the thread's coarse clock at which bytes were last received.
    last_received: u32,
    /// Tick at which a keep-alive ping was sent, if nothing has been received since.
    pinged: Option<u32>,
    /// Rate limiter for control frames and empty fragments from the peer.
    flood: Flood,
    /// The connection's subscriptions.
    topics: Indexed<Subscription>,
    /// State of the topics that the connection resumes or has resumed; `None` if it never resumed one.
    resumes: Option<Box<Resumes>>,
    /// Sequence number, within the thread, of the last publication delivered; deduplicates one that
    /// matches several of this connection's topics.
    published: u64,
    /// Frames and bytes of this session included in the thread's `waiting_frames` and `waiting_bytes`.
    counted_waiting: (u32, usize),
}

impl Session {
    /// Creates an open session. `early` holds bytes that arrived with the handshake; `tick` is the
    /// current time of the thread's coarse clock.
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
            lane: Lane::Sparse,
            waker: None,
            dirty: false,
            last_received: tick,
            pinged: None,
            flood: Flood::default(),
            topics: Indexed::default(),
            resumes: None,
            published: 0,
            counted_waiting: (0, 0),
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    /// Runs one turn: reads and decodes input, then writes queued frames. Returns `Ready` when the session
    /// is over and its socket can be dropped.
    pub(crate) fn poll(&mut self, context: &mut ThreadContext, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        self.poll_read(context, cx);
        self.poll_write(context, cx);
        if self.is_dead() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Reads and decodes until the socket is drained, the credit or the backlog is used up, or the turn
    /// is over.
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
            let holds_input = self.holds_input();
            if self.phase == Phase::Open && context.is_full() && (!holds_input || context.holds_decoding()) {
                let target = (&*self.shared).into();
                context.share.await_room(target, context.index, &mut self.place, holds_input);
                return self.stream.gather(cx);
            }
            self.place = 0;
            if holds_input {
                self.receive_early(context);
            } else {
                match self.read(context, cx) {
                    Poll::Pending => return,
                    Poll::Ready(Ok(0)) => return self.hang_up(context),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return self.socket_failed(context, &error),
                }
            }
            if context.frames_left == 0 {
                break;
            }
        }
        // The turn is over: publish its events to the host and yield to other tasks.
        context.publish();
        poll_turn::pass(cx);
    }

    /// Reads once and decodes the input. Returns the number of bytes read; 0 is the end of the stream.
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

    /// Reads once into a chunk, of which large messages keep parts. This is out of line so that it costs
    /// connections with small messages nothing.
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

    /// Whether reading is paused: the connection has used up its credit, or its end waits for the host's
    /// answers.
    fn is_paused(&self) -> bool {
        self.phase == Phase::Answering
            || self.phase == Phase::Open && self.shared.paused.load(Ordering::Relaxed)
    }

    /// Wakes the session's task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Starts the closing handshake on behalf of the host: queues a close frame and waits for the peer's.
    /// Does nothing if the session is closing already.
    pub(crate) fn close(&mut self, context: &mut ThreadContext, code: u16, reason: &str) {
        self.revive();
        if self.phase != Phase::Open {
            return;
        }
        self.push_counted(frame::close(Some((code, reason))));
        self.phase = Phase::Closing;
        // From here on, sends of the host are refused.
        self.shared.end();
        self.set_deadline(context, context.server.config.close_timeout);
        self.flush(context);
        // A paused socket is read again, because the peer's close frame follows its earlier messages.
        self.wake();
    }

    /// Closes with 1013 because the peer reads too slowly, and discards the frames that wait for it. This
    /// also replaces an end that waits for the host's answers, except that of a peer that has violated
    /// the protocol.
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
            // The peer's close frame has already arrived, so the closing handshake ends with ours.
            self.push_counted(frame::close(Some((1013, reason))));
            return self.finish(context, 1013, reason.to_owned());
        }
        self.phase = Phase::Open;
        self.failed = Some((1013, reason.to_owned()));
        self.close(context, 1013, reason);
    }

    /// Cuts the connection without a closing handshake, and reports 1006 with `reason` to the host.
    pub(crate) fn terminate(&mut self, context: &mut ThreadContext, reason: &str) {
        self.report(context, 1006, reason.to_owned());
        self.die(context);
    }

    /// Ends the session because the socket failed or the peer disappeared; reports 1006.
    fn lost(&mut self, context: &mut ThreadContext, why: &str) {
        self.report(context, 1006, why.to_owned());
        self.die(context);
    }

    /// Ends the session because the socket has failed.
    fn socket_failed(&mut self, context: &mut ThreadContext, error: &io::Error) {
        /// The reason for the most frequent error. Formatting it takes longer than all the rest of the end.
        static RESET: OnceLock<String> = OnceLock::new();
        let reason = || format!("connection lost: {error}");
        if error.kind() == io::ErrorKind::ConnectionReset {
            return self.lost(context, RESET.get_or_init(reason));
        }
        self.lost(context, &reason());
    }

    /// Reports the end of the connection to the host, once, and removes its subscriptions.
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
        context.emit_in(
            self.lane,
            Item::Closed(Box::new(Closed { id: self.shared.id, code, reason, admission })),
        );
    }

    /// Marks the session dead and wakes its task, which drops it.
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
        // The host may keep its handle for long, and the socket must be closed before that.
        self.shared.direct.end();
    }
}
