//! The receiving side of a session: decodes bytes from the socket into messages for the host, answers
//! pings, and starts the closing handshake.

use bytes::BytesMut;
use sprocket_protocol::decoder::{Chunk, CloseFrame, Event, Input};
use sprocket_protocol::frame::{self, may_be_sent};
use sprocket_protocol::{DecodeError, Message};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ending::Ending;
use super::{Phase, Session};
use crate::channel::event::Interest;
use crate::channel::lanes::Lane;
use crate::channel::mailbox::Item;
use crate::connection::shared::Shared;
use crate::context::log::{PROTOCOL, TOO_BIG};
use crate::context::read_buffers::LARGE;
use crate::context::{KEEP_ALIVE, ThreadContext};
use crate::metrics::counters::Counters;

/// Close reason for a peer that floods the server with frames that carry no data.
const FLOODED: &str = "too many control frames or empty fragments";

/// Counts a message and passes it to the host, unless the host has closed the connection. Returns
/// false if the connection's credit is used up, so that no further message may be delivered for now.
#[must_use]
#[inline(always)]
fn deliver(
    shared: &Arc<Shared>,
    lane: &mut Lane,
    context: &mut ThreadContext,
    Message { payload, binary }: Message,
) -> bool {
    context.messages_in += 1;
    context.bytes_in += payload.len() as u64;
    if !shared.delivers() {
        context.undelivered += 1;
        context.undelivered_bytes += payload.len() as u64;
        return true;
    }
    let more = spend(shared, lane, context, payload.len());
    context.emit_in(*lane, Item::Message { conn: shared.clone(), payload, binary });
    more
}

/// Charges the connection's credit for one item that goes to the host, and chooses its lane. Returns
/// false, and pauses reading, if that uses up the credit.
#[must_use]
fn spend(shared: &Shared, lane: &mut Lane, context: &ThreadContext, bytes: usize) -> bool {
    let (waiting, more) = shared.add_pending(bytes, &context.server.credit);
    *lane = lane.with_waiting(waiting);
    if more {
        return true;
    }
    if !shared.paused.swap(true, Ordering::SeqCst) {
        Counters::one(&context.server.counters.paused);
        // The host may have taken all pending messages just before the flag became visible to it; then
        // nothing would ever clear the flag.
        if shared.has_credit(&context.server.credit) {
            shared.paused.store(false, Ordering::SeqCst);
            return true;
        }
    }
    false
}

impl Session {
    /// Decodes `input`. Returns the number of bytes at its end that must wait for credit or for the next
    /// turn; the caller holds them back.
    #[must_use]
    pub(super) fn receive(&mut self, context: &mut ThreadContext, mut input: &[u8]) -> usize {
        self.last_received = context.tick;
        self.pinged = None;
        if self.is_over() {
            return 0;
        }
        self.feed(context, &mut input);
        if self.is_over() { 0 } else { input.len() }
    }

    /// Decodes a chunk that may hold large messages. A large message keeps its part of the chunk instead
    /// of being copied.
    #[inline(never)]
    pub(super) fn receive_chunk(&mut self, context: &mut ThreadContext, input: BytesMut) {
        self.last_received = context.tick;
        self.pinged = None;
        if self.is_over() {
            return;
        }
        let mut input = Chunk::new(input, LARGE);
        self.feed(context, &mut input);
        if !self.is_over() {
            // The rest is copied: a slice would keep the whole chunk allocated.
            self.hold_back(context, input.bytes());
        }
    }

    /// Whether decoding must stop because the credit or the turn is used up.
    fn must_wait(&self, context: &ThreadContext) -> bool {
        context.frames_left == 0 || self.is_paused()
    }

    /// Whether further input is ignored because the connection has ended or is about to end.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Answering | Phase::Lingering { .. } | Phase::Dead)
    }

    /// Decodes `input` and passes its messages to the host until the input, the credit or the turn is
    /// used up.
    #[inline(always)]
    fn feed(&mut self, context: &mut ThreadContext, input: &mut impl Input) {
        loop {
            // Fast path: most messages arrive complete, in a single frame.
            if self.phase == Phase::Open {
                let before = context.frames_left;
                let mut left = before;
                let mut more = left > 0;
                let mut failed = None;
                while more {
                    match self.decoder.next_whole(input) {
                        Ok(Some(message)) => {
                            left -= 1;
                            more = deliver(&self.shared, &mut self.lane, context, message) && left > 0;
                        }
                        Ok(None) => break,
                        Err(error) => {
                            failed = Some(error);
                            break;
                        }
                    }
                }
                context.frames_left = left;
                self.flood.allow(before - left);
                if let Some(error) = failed {
                    return self.refuse(context, error);
                }
                if !more {
                    return;
                }
            }
            if input.bytes().is_empty() && !self.decoder.is_unfinished() {
                return;
            }
            self.feed_frame(context, input);
            if self.is_over() || self.must_wait(context) {
                return;
            }
        }
    }

    /// Decodes the next frame, or the part of it that has arrived, and acts on it. This path handles
    /// whatever the fast path in [`Session::feed`] leaves: fragments, compressed messages and control
    /// frames.
    #[inline(never)]
    fn feed_frame(&mut self, context: &mut ThreadContext, input: &mut impl Input) {
        let event = match self.decoder.next(input, &mut context.inflaters) {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(error) => return self.refuse(context, error),
        };
        context.frames_left =
            if context.inflaters.is_spent() { 0 } else { context.frames_left.saturating_sub(1) };
        match event {
            Event::Message(message) => {
                self.flood.allow(1);
                self.deliver_if_room(context, message);
            }
            Event::Fragment { empty: false } | Event::Unfinished => {}
            Event::Fragment { empty: true } => self.count_idle(context),
            Event::Ping(payload) => {
                // RFC 6455 section 5.5.1: no frame may follow our close frame.
                if self.phase == Phase::Open {
                    let pong = frame::pong(&payload);
                    self.shared.add_buffered(pong.len());
                    self.shared.sub_buffered(self.out.push_pong(pong));
                }
                self.count_idle(context);
            }
            Event::Pong(payload) => {
                if payload != KEEP_ALIVE
                    && context.wants(Interest::PONG)
                    && self.shared.delivers()
                    && self.has_room(context)
                {
                    // `feed` checks the remaining credit.
                    let _ = spend(&self.shared, &mut self.lane, context, payload.len());
                    context.emit_in(self.lane, Item::Pong { conn: self.shared.clone(), payload });
                }
                self.count_idle(context);
            }
            Event::Close(frame) => self.closed_by_peer(context, frame),
        }
    }

    /// Delivers a message if [`Session::has_room`]; otherwise drops it and counts it as undelivered.
    fn deliver_if_room(&mut self, context: &mut ThreadContext, message: Message) {
        if self.has_room(context) {
            // `feed` checks the remaining credit.
            let _ = deliver(&self.shared, &mut self.lane, context, message);
            return;
        }
        let bytes = message.payload.len() as u64;
        context.messages_in += 1;
        context.bytes_in += bytes;
        context.undelivered += 1;
        context.undelivered_bytes += bytes;
    }

    /// Whether a message may be delivered. An open connection always has room, because it is read only
    /// while it has credit. A connection that waits for the peer's close frame is read regardless of
    /// credit and backlog, and its messages are dropped if there is no room.
    fn has_room(&self, context: &mut ThreadContext) -> bool {
        self.phase == Phase::Open || self.shared.has_credit(&context.server.credit) && !context.is_full()
    }

    /// Counts a frame that carries no data. Fails the connection with 1008 if the peer sends too many of
    /// them.
    fn count_idle(&mut self, context: &mut ThreadContext) {
        if self.flood.add(1, || context.server.started.elapsed()) {
            self.fail(context, 1008, FLOODED.to_owned());
        }
    }

    /// Handles the peer's close frame (RFC 6455 section 5.5.1). A code that must not be sent fails the
    /// connection with 1002.
    fn closed_by_peer(&mut self, context: &mut ThreadContext, frame: Option<CloseFrame>) {
        let Some(CloseFrame { code, reason }) = frame else {
            return self.end(context, Ending::ClosedByPeer(None));
        };
        // An invalid code is tolerated in the response to our close frame.
        if self.phase == Phase::Open && !may_be_sent(code) {
            return self.fail(context, 1002, format!("close code {code} must not be sent"));
        }
        self.end(context, Ending::ClosedByPeer(Some((code.into(), reason.as_str().to_owned()))));
    }

    /// Fails the connection because of input that the decoder rejects.
    #[cold]
    fn refuse(&mut self, context: &mut ThreadContext, error: DecodeError) {
        self.fail(context, error.close_code(), error.to_string());
    }

    /// Fails the connection (RFC 6455 section 7.1.7) after the host has answered the earlier messages.
    pub(super) fn fail(&mut self, context: &mut ThreadContext, code: u16, reason: String) {
        self.end(context, Ending::Failed(code, reason));
    }

    /// Fails the connection at once: counts and logs the reason, queues the close frame, and reports the
    /// end to the host.
    pub(super) fn fail_now(&mut self, context: &mut ThreadContext, code: u16, reason: String) {
        if self.admission.is_some() {
            let counters = &context.server.counters;
            let (counter, kind) = match code {
                1008 => (&counters.flood_closed, PROTOCOL),
                1009 => (&counters.too_big, TOO_BIG),
                _ => (&counters.protocol_errors, PROTOCOL),
            };
            Counters::one(counter);
            context.log_close(&self.shared, kind, code, &reason);
        }
        if matches!(self.phase, Phase::Open | Phase::Answering) {
            self.push_counted(frame::close(Some((code, &reason))));
        }
        self.finish(context, code, reason);
    }
}
