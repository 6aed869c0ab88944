//! What a session receives: from the bytes of the socket to messages for the host, or its end.

use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::closing::Ending;
use super::early::{Early, Inflated};
use super::{FORBIDDEN_CODE, INFLATED_PER_TURN, KEEP_ALIVE, Phase, Session};
use crate::chunks::LARGE;
use crate::codec::{Gate, INVALID_TEXT, close_frame, failure};
use crate::conn::Shared;
use crate::deflate::Deflate;
use crate::env::Env;
use crate::event::Interest;
use crate::inflate::Step as Inflate;
use crate::log::{PROTOCOL, TOO_BIG};
use crate::partial::{Partial, Step};
use crate::queue::Item;
use crate::stats::Counters;
use crate::whole::{self, Start};

/// 1014 (Bad Gateway), which IANA has registered after RFC 6455. The engine takes it for a code that
/// must not be sent.
const BAD_GATEWAY: [u8; 2] = 1014_u16.to_be_bytes();

/// Close reason for a flood of frames that carry nothing.
const FLOODED: &str = "too many control frames or empty fragments";

/// False: the connection has used up its credit, and nothing more of it may be delivered for now.
#[must_use]
#[inline(always)]
fn deliver(shared: &Arc<Shared>, env: &mut Env, payload: Bytes, binary: bool) -> bool {
    env.messages_in += 1;
    env.bytes_in += payload.len() as u64;
    if !shared.delivers() {
        env.undelivered += 1;
        env.undelivered_bytes += payload.len() as u64;
        return true;
    }
    let more = spend(shared, env, payload.len());
    env.emit(Item::Message { conn: shared.clone(), payload, binary });
    more
}

/// Delivers a message that the engine has read; drops it where there is no room.
fn deliver_if_room(phase: Phase, shared: &Arc<Shared>, env: &mut Env, payload: Bytes, binary: bool) {
    if has_room(phase, shared, env) {
        // The caller of `feed_engine` asks whether there is credit left.
        let _ = deliver(shared, env, payload, binary);
        return;
    }
    env.messages_in += 1;
    env.bytes_in += payload.len() as u64;
    env.undelivered += 1;
    env.undelivered_bytes += payload.len() as u64;
}

/// An open connection is not read without credit. One that waits for the peer's close frame is read
/// on, whatever waits for the host: what there is no room for is dropped.
fn has_room(phase: Phase, shared: &Shared, env: &mut Env) -> bool {
    phase == Phase::Open || shared.has_credit(&env.server.credit) && !env.is_full()
}

/// Takes the credit for one item that goes to the host. False: it is used up.
#[must_use]
fn spend(shared: &Shared, env: &Env, bytes: usize) -> bool {
    shared.add_pending(bytes);
    if shared.has_credit(&env.server.credit) {
        return true;
    }
    if !shared.paused.swap(true, Ordering::SeqCst) {
        Counters::one(&env.server.counters.paused);
        // The host may have taken all of it just before it could see the flag.
        if shared.has_credit(&env.server.credit) {
            shared.paused.store(false, Ordering::SeqCst);
            return true;
        }
    }
    false
}

impl Session {
    /// Returns how many bytes at the end of `input` must wait for credit or for the next turn.
    #[must_use]
    pub(super) fn receive(&mut self, env: &mut Env, input: &[u8]) -> usize {
        self.heard = env.tick;
        self.pinged = None;
        if self.is_over() {
            return 0;
        }
        match self.deflate.take() {
            None => self.feed(env, input),
            Some(deflate) => self.inflate(env, deflate, input),
        }
    }

    /// The same with bytes that messages may keep. There is no compression.
    #[inline(never)]
    pub(super) fn receive_chunk(&mut self, env: &mut Env, mut input: BytesMut) {
        self.heard = env.tick;
        self.pinged = None;
        if self.is_over() {
            return;
        }
        let mut more = true;
        if let Some(partial) = self.partial.take() {
            let Some(used) = self.go_on(env, partial, &input) else { return };
            input.advance(used);
            more = !self.must_wait(env);
        }
        // Large messages that are whole and in order are not copied.
        while more
            && self.codec.is_none()
            && self.phase == Phase::Open
            && let Start::Frame(header) = whole::start(&input, env.server.config.max_message_size)
            && header.length >= LARGE
            && header.length <= input.len() - header.used
        {
            input.advance(header.used);
            let mut payload = input.split_to(header.length);
            let ascii = whole::unmask(&mut payload, header.mask);
            if !header.binary && !ascii && std::str::from_utf8(&payload).is_err() {
                return self.fail(env, 1007, INVALID_TEXT.to_owned());
            }
            more = deliver(&self.shared, env, payload.freeze(), header.binary);
        }
        // A copy is held back, because the chunk is much larger.
        let left = if more { self.feed(env, &input) } else { input.len() };
        self.hold_back(env, &input[input.len() - left..]);
    }

    /// Whether the connection is out of credit, or its turn is over.
    fn must_wait(&self, env: &Env) -> bool {
        env.frames_left == 0 || self.is_paused()
    }

    /// Nothing that the peer says counts any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Answering | Phase::Lingering { .. } | Phase::Dead)
    }

    /// Feeds the engine with what compressed messages in `input` inflate to, as much as is due.
    /// Returns how many bytes at the end of `input` must wait.
    fn inflate(&mut self, env: &mut Env, mut deflate: Box<Deflate>, mut input: &[u8]) -> usize {
        let max = env.server.config.max_message_size;
        if !self.receive_inflated(env) {
            if !self.is_over() || self.phase == Phase::Answering {
                self.deflate = Some(deflate);
            }
            return input.len();
        }
        let mut plain = env.deflate.inflaters.plain();
        let mut inflated = 0;
        let left = loop {
            let step = deflate.read(&mut input, &mut plain, &mut env.deflate, max);
            let waits = if plain.filled().is_empty() { 0 } else { self.feed(env, plain.filled()) };
            self.count_idle(env, deflate.take_idle());
            if self.is_over() {
                break 0;
            }
            if waits > 0 {
                let (rest, failure) = (plain.filled().len() - waits, step.err());
                let plain = Early::copy(&plain.filled()[rest..], env);
                self.inflated = Some(Box::new(Inflated { plain, failure }));
                break input.len();
            }
            plain.clear();
            inflated += deflate.take_work();
            match step {
                Ok(Inflate::Done) => break 0,
                // A little input may hold a lot: the host takes what there is first, and other
                // connections get their turn.
                Ok(Inflate::Full) if inflated >= INFLATED_PER_TURN => {
                    env.frames_left = 0;
                    break input.len();
                }
                Ok(Inflate::Full) if self.must_wait(env) => break input.len(),
                Ok(Inflate::Full) => {}
                Err((code, reason)) => {
                    self.fail(env, code, reason);
                    break 0;
                }
            }
        };
        plain.clear();
        env.deflate.inflaters.give_back_plain(plain);
        if !self.is_over() || self.phase == Phase::Answering {
            self.deflate = Some(deflate);
        }
        left
    }

    /// Hands the messages of plain frames to the host, as far as there is credit and the turn lasts.
    /// Returns how many bytes at the end of `input` must wait.
    #[must_use]
    pub(super) fn feed(&mut self, env: &mut Env, mut input: &[u8]) -> usize {
        let max = env.server.config.max_message_size;
        if self.partial.is_some()
            && let Some(partial) = self.partial.take()
        {
            let Some(used) = self.go_on(env, partial, input) else { return 0 };
            input = &input[used..];
            if input.is_empty() || self.must_wait(env) {
                return input.len();
            }
        }
        // Messages that are whole and in order need no engine: with 32 bytes the I/O thread then
        // takes 2,100 instructions instead of 4,300 (callgrind, 100 connections, one echo each);
        // with 16 KiB it saves a copy, and zeroing the place of it.
        loop {
            if self.codec.is_none() && self.phase == Phase::Open {
                let before = env.frames_left;
                let mut left = before;
                let mut more = left > 0;
                while more && let Some(message) = whole::read(input, max) {
                    input = &input[message.used..];
                    left -= 1;
                    more = deliver(&self.shared, env, message.payload, message.binary) && left > 0;
                }
                env.frames_left = left;
                self.flood.allow(before - left);
                if input.is_empty() || !more {
                    return input.len();
                }
                self.partial = Partial::begin(input, max);
                if self.partial.is_some() {
                    return 0;
                }
            }
            let used = self.feed_engine(env, input);
            input = &input[used..];
            if self.is_over() {
                return 0;
            }
            if input.is_empty() || self.must_wait(env) {
                return input.len();
            }
        }
    }

    /// Goes on with a message that has begun. Says how many bytes of the input were part of it;
    /// `None`: the session is over, or the input was used up.
    #[inline(never)]
    fn go_on(&mut self, env: &mut Env, mut partial: Box<Partial>, input: &[u8]) -> Option<usize> {
        match partial.feed(input, env.server.config.max_message_size) {
            Step::Whole(message) => {
                // The caller asks whether there is credit left.
                let _ = deliver(&self.shared, env, message.payload, message.binary);
                Some(message.used)
            }
            Step::More => {
                self.partial = Some(partial);
                None
            }
            Step::Invalid => {
                self.fail(env, 1007, INVALID_TEXT.to_owned());
                None
            }
            Step::Other(header, len) => {
                self.feed_engine(env, &header[..len]);
                (!self.is_over()).then_some(0)
            }
        }
    }

    /// Hands plain frames to the engine, and what comes out of them to the host; up to the end of a
    /// message, behind which the engine may not be needed. Says how many bytes that was.
    fn feed_engine(&mut self, env: &mut Env, input: &[u8]) -> usize {
        let mut codec = self.codec.take().unwrap_or_else(|| env.codec());
        let (scan, used) = codec.tracker.scan_message(input, env.frames_left);
        env.frames_left = env.frames_left.saturating_sub(scan.frames);
        let flooded = self.flood.add(scan.idle, || env.server.started.elapsed());
        let mut gate = Gate { input: &input[..used], out: &mut self.out, conn: &self.shared };
        let mut left = scan.messages;
        let phase = self.phase;
        let mut pong = false;
        // The engine is asked once more than there are messages only where it must swallow the
        // start of one that is still to come.
        let end = loop {
            if left == 0 && codec.tracker.is_clean() {
                break None;
            }
            match codec.engine.read(&mut gate) {
                Ok(Message::Text(text)) => {
                    self.flood.allow(1);
                    deliver_if_room(phase, &self.shared, env, text.into(), false);
                }
                Ok(Message::Binary(payload)) => {
                    self.flood.allow(1);
                    deliver_if_room(phase, &self.shared, env, payload, true);
                }
                Ok(Message::Ping(_)) => pong = true,
                Ok(Message::Pong(payload)) => {
                    if payload != KEEP_ALIVE
                        && env.wants(Interest::PONG)
                        && self.shared.delivers()
                        && has_room(phase, &self.shared, env)
                    {
                        // The caller of `feed_engine` asks whether there is credit left.
                        let _ = spend(&self.shared, env, payload.len());
                        env.emit(Item::Pong { conn: self.shared.clone(), payload });
                    }
                }
                Ok(Message::Close(frame)) => {
                    let (code, reason) = match frame {
                        Some(frame) => (frame.code.into(), frame.reason.as_str().to_owned()),
                        None => (1005, String::new()),
                    };
                    let sent = codec.tracker.close_payload().strip_prefix(&BAD_GATEWAY);
                    if (code, reason.as_str()) == FORBIDDEN_CODE
                        && let Some(reason) = sent.and_then(|reason| std::str::from_utf8(reason).ok())
                    {
                        break Some(Ending::BadGateway(reason.to_owned()));
                    }
                    break Some(Ending::ClosedByPeer(code, reason));
                }
                Ok(Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => break None,
                Err(error) => {
                    let (code, reason) = failure(&error);
                    break Some(Ending::Failed(code, reason));
                }
            }
            left = left.saturating_sub(1);
        };
        if pong && end.is_none() {
            let _ = codec.engine.flush(&mut gate);
        }
        let end = end.or_else(|| scan.invalid_utf8.then(|| Ending::Failed(1007, INVALID_TEXT.to_owned())));
        let end = end.or_else(|| flooded.then(|| Ending::Failed(1008, FLOODED.to_owned())));
        match end {
            None if self.phase == Phase::Open && codec.tracker.is_clean() => env.return_codec(codec),
            None => self.codec = Some(codec),
            Some(ending) => {
                self.codec = Some(codec);
                self.end(env, ending);
            }
        }
        used
    }

    /// Counts frames that carry nothing and that the engine does not see.
    fn count_idle(&mut self, env: &mut Env, frames: u32) {
        if frames > 0 && !self.is_over() && self.flood.add(frames, || env.server.started.elapsed()) {
            self.fail(env, 1008, FLOODED.to_owned());
        }
    }

    pub(super) fn fail(&mut self, env: &mut Env, code: u16, reason: String) {
        self.end(env, Ending::Failed(code, reason));
    }

    /// Closes the connection of a peer that has broken the rules.
    pub(super) fn fail_now(&mut self, env: &mut Env, code: u16, reason: String) {
        if self.admission.is_some() {
            let counters = &env.server.counters;
            let (counter, kind) = match code {
                1008 => (&counters.flood_closed, PROTOCOL),
                1009 => (&counters.too_big, TOO_BIG),
                _ => (&counters.protocol_errors, PROTOCOL),
            };
            Counters::one(counter);
            env.log_close(&self.shared, kind, code, &reason);
        }
        if matches!(self.phase, Phase::Open | Phase::Answering) {
            let mut codec = self.codec.take().unwrap_or_else(|| env.codec());
            let mut gate = Gate { input: &[], out: &mut self.out, conn: &self.shared };
            let _ = codec.engine.close(&mut gate, Some(close_frame(code, &reason)));
        }
        self.finish(env, code, reason);
    }
}
