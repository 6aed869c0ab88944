//! What a session receives: from the bytes of the socket to messages for the host, or its end.

use bytes::BytesMut;
use sprocket_protocol::decoder::{Chunk, CloseFrame, Event, Input};
use sprocket_protocol::frame::{self, may_be_sent};
use sprocket_protocol::{DecodeError, Message};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ending::Ending;
use super::{Phase, Session};
use crate::channel::event::Interest;
use crate::channel::mailbox::Item;
use crate::connection::shared::Shared;
use crate::context::log::{PROTOCOL, TOO_BIG};
use crate::context::read_buffers::LARGE;
use crate::context::{KEEP_ALIVE, ThreadContext};
use crate::metrics::counters::Counters;

/// Close reason for a flood of frames that carry nothing.
const FLOODED: &str = "too many control frames or empty fragments";

/// False: the connection has used up its credit, and nothing more of it may be delivered for now.
#[must_use]
#[inline(always)]
fn deliver(shared: &Arc<Shared>, context: &mut ThreadContext, Message { payload, binary }: Message) -> bool {
    context.messages_in += 1;
    context.bytes_in += payload.len() as u64;
    if !shared.delivers() {
        context.undelivered += 1;
        context.undelivered_bytes += payload.len() as u64;
        return true;
    }
    let more = spend(shared, context, payload.len());
    context.emit(Item::Message { conn: shared.clone(), payload, binary });
    more
}

/// Takes the credit for one item that goes to the host. False: it is used up.
#[must_use]
fn spend(shared: &Shared, context: &ThreadContext, bytes: usize) -> bool {
    shared.add_pending(bytes);
    if shared.has_credit(&context.server.credit) {
        return true;
    }
    if !shared.paused.swap(true, Ordering::SeqCst) {
        Counters::one(&context.server.counters.paused);
        // The host may have taken all of it just before it could see the flag.
        if shared.has_credit(&context.server.credit) {
            shared.paused.store(false, Ordering::SeqCst);
            return true;
        }
    }
    false
}

impl Session {
    /// Returns how many bytes at the end of `input` must wait for credit or for the next turn.
    #[must_use]
    pub(super) fn receive(&mut self, context: &mut ThreadContext, mut input: &[u8]) -> usize {
        self.heard = context.tick;
        self.pinged = None;
        if self.is_over() {
            return 0;
        }
        self.feed(context, &mut input);
        if self.is_over() { 0 } else { input.len() }
    }

    /// Receives bytes that large messages stay in: they are not copied.
    #[inline(never)]
    pub(super) fn receive_chunk(&mut self, context: &mut ThreadContext, input: BytesMut) {
        self.heard = context.tick;
        self.pinged = None;
        if self.is_over() {
            return;
        }
        let mut input = Chunk::new(input, LARGE);
        self.feed(context, &mut input);
        if !self.is_over() {
            // A copy is held back, because the chunk is much larger.
            self.hold_back(context, input.bytes());
        }
    }

    /// Whether the connection is out of credit, or its turn is over.
    fn must_wait(&self, context: &ThreadContext) -> bool {
        context.frames_left == 0 || self.is_paused()
    }

    /// Whether input is ignored because the connection has ended, or is about to.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Answering | Phase::Lingering { .. } | Phase::Dead)
    }

    /// Hands the messages in `input` to the host, as far as there is credit and the turn lasts.
    #[inline(always)]
    fn feed(&mut self, context: &mut ThreadContext, input: &mut impl Input) {
        loop {
            // Most messages arrive whole, in one frame.
            if self.phase == Phase::Open {
                let before = context.frames_left;
                let mut left = before;
                let mut more = left > 0;
                let mut failed = None;
                while more {
                    match self.decoder.next_whole(input) {
                        Ok(Some(message)) => {
                            left -= 1;
                            more = deliver(&self.shared, context, message) && left > 0;
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

    /// Hands on the next frame, or as much of it as has arrived.
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
                // RFC 6455 section 5.5.1: nothing follows our close frame.
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
                    // The caller asks whether there is credit left.
                    let _ = spend(&self.shared, context, payload.len());
                    context.emit(Item::Pong { conn: self.shared.clone(), payload });
                }
                self.count_idle(context);
            }
            Event::Close(frame) => self.closed_by_peer(context, frame),
        }
    }

    /// Delivers a message, or drops it where there is no room.
    fn deliver_if_room(&mut self, context: &mut ThreadContext, message: Message) {
        if self.has_room(context) {
            // The caller asks whether there is credit left.
            let _ = deliver(&self.shared, context, message);
            return;
        }
        let bytes = message.payload.len() as u64;
        context.messages_in += 1;
        context.bytes_in += bytes;
        context.undelivered += 1;
        context.undelivered_bytes += bytes;
    }

    /// An open connection is not read without credit. One that waits for the peer's close frame is
    /// read on, whatever waits for the host: what there is no room for is dropped.
    fn has_room(&self, context: &mut ThreadContext) -> bool {
        self.phase == Phase::Open || self.shared.has_credit(&context.server.credit) && !context.is_full()
    }

    /// Counts a frame that carries nothing, and fails the connection of a peer that floods with such.
    fn count_idle(&mut self, context: &mut ThreadContext) {
        if self.flood.add(1, || context.server.started.elapsed()) {
            self.fail(context, 1008, FLOODED.to_owned());
        }
    }

    fn closed_by_peer(&mut self, context: &mut ThreadContext, frame: Option<CloseFrame>) {
        let Some(CloseFrame { code, reason }) = frame else {
            return self.end(context, Ending::ClosedByPeer(None));
        };
        // In the answer to our close frame the code does no harm.
        if self.phase == Phase::Open && !may_be_sent(code) {
            return self.fail(context, 1002, format!("close code {code} must not be sent"));
        }
        self.end(context, Ending::ClosedByPeer(Some((code.into(), reason.as_str().to_owned()))));
    }

    #[cold]
    fn refuse(&mut self, context: &mut ThreadContext, error: DecodeError) {
        self.fail(context, error.close_code(), error.to_string());
    }

    pub(super) fn fail(&mut self, context: &mut ThreadContext, code: u16, reason: String) {
        self.end(context, Ending::Failed(code, reason));
    }

    /// Closes the connection of a peer that has broken the rules.
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
