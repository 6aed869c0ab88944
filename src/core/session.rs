//! One WebSocket connection on its I/O thread: from the 101 to the closed socket.

use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::admission::Admission;
use crate::bus::is_after;
use crate::codec::{Codec, Gate, close_frame, failure};
use crate::config::SlowConsumer;
use crate::conn::Shared;
use crate::deflate::{Deflate, Fanout};
use crate::env::Env;
use crate::event::{Event, Interest};
use crate::inflate::Step;
use crate::outbox::Outbox;
use crate::queue::{Item, Resumed};
use crate::stats::Counters;
use crate::stream::Stream;
use crate::topics::TopicId;
use crate::whole;

/// Reads of one poll, of up to 64 KiB each, before other connections get their turn.
const READS_PER_POLL: usize = 4;

/// Bytes inflated at a time, before other connections get their turn.
const INFLATED_AT_ONCE: usize = 256 << 10;

/// What the engine makes of a close frame whose code must not be sent (RFC 6455 section 7.4): its
/// answer, in its own words.
const FORBIDDEN_CODE: (u16, &str) = (1002, "Protocol violation");
/// Payload of keep-alive pings. A pong with it is not told to the host.
const KEEP_ALIVE: &[u8] = b"\0spk";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The peer has broken the rules, and messages from before wait for the host. Nothing is read
    /// any more; the close frame goes out behind the host's answers to them.
    Failing,
    /// We have sent a close frame and wait for the peer's.
    Closing,
    /// All is said and the host knows: what waits is written, then FIN; then the peer's FIN is
    /// awaited, because closing a socket with unread input would reset it and destroy our last
    /// words.
    Lingering {
        fin: bool,
    },
    Dead,
}

#[derive(Debug, Clone, Copy)]
struct Subscription {
    id: TopicId,
    /// What [`Hub::counted`](crate::hub::Hub::counted) was when it began; something else if it got
    /// what it had missed since.
    since: u64,
}

#[derive(Debug, Default)]
struct Resumes {
    /// Topics and tickets of answers to come.
    pending: Vec<(TopicId, u64)>,
    /// Publications up to these positions it has got.
    got: Vec<(TopicId, String)>,
}

/// One connection. Its task holds only its place in the thread's table.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    stream: Stream,
    out: Outbox,
    /// Only inside a message, and while closing.
    codec: Option<Box<Codec>>,
    /// Bytes that were received and not looked at yet: those that arrived with the handshake, and
    /// what follows compressed messages that were enough for now.
    early: Bytes,
    /// permessage-deflate, if it was negotiated.
    deflate: Option<Box<Deflate>>,
    phase: Phase,
    /// To be reported instead of what the peer answers: we have failed the connection.
    failed: Option<(u16, String)>,
    /// Counts against the limits until the end is reported.
    admission: Option<Admission>,
    /// Of the connection's task.
    waker: Option<Waker>,
    /// It is on the list of those that have something to write.
    pub(crate) dirty: bool,
    /// Tick at which something was received last.
    heard: u32,
    /// Tick at which a ping went out that nothing has answered yet.
    pinged: Option<u32>,
    topics: Vec<Subscription>,
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
        early: Bytes,
        deflate: Option<Box<Deflate>>,
        admission: Admission,
        tick: u32,
    ) -> Self {
        Self {
            shared,
            stream,
            out: Outbox::default(),
            codec: None,
            early,
            deflate,
            phase: Phase::Open,
            failed: None,
            admission: Some(admission),
            waker: None,
            dirty: false,
            heard: tick,
            pinged: None,
            topics: Vec::new(),
            resumes: None,
            published: 0,
            noted: (0, 0),
        }
    }

    /// What waits here, after an attempt to write it, is part of what waits on this thread.
    fn note(&mut self, env: &mut Env) {
        let (frames, bytes) = self.noted;
        let none = self.out.is_empty() || self.is_dead();
        if none && frames == 0 {
            return;
        }
        let now = if none { (0, 0) } else { (self.out.len() as u32, self.shared.buffered()) };
        env.waiting_frames = env.waiting_frames.wrapping_add(now.0.into()).wrapping_sub(frames.into());
        env.waiting_bytes = env.waiting_bytes.wrapping_add(now.1 as u64).wrapping_sub(bytes as u64);
        self.noted = now;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    /// Reads, hands on, writes. Ready when the session is over and its socket can be dropped.
    pub(crate) fn poll(&mut self, env: &mut Env, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        self.poll_read(env, cx);
        self.poll_write(env, cx);
        if self.is_dead() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_read(&mut self, env: &mut Env, cx: &mut Context<'_>) {
        for _ in 0..READS_PER_POLL {
            if self.is_dead() {
                return;
            }
            if self.is_paused() {
                return self.stream.gather(cx);
            }
            if !self.early.is_empty() || self.deflate.as_ref().is_some_and(|d| d.is_full()) {
                let early = std::mem::take(&mut self.early);
                self.receive(env, &early);
                continue;
            }
            let mut buffer = std::mem::take(&mut env.read);
            let polled = self.stream.poll_read(cx, &mut buffer);
            let alive = match polled {
                Poll::Pending => {
                    env.read = buffer;
                    return;
                }
                Poll::Ready(Ok(0)) => {
                    self.lost(env, "the peer went away without a close frame");
                    false
                }
                Poll::Ready(Ok(n)) => {
                    self.receive(env, &buffer[..n]);
                    true
                }
                Poll::Ready(Err(error)) => {
                    self.lost(env, &format!("connection lost: {error}"));
                    false
                }
            };
            env.read = buffer;
            if !alive {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    fn poll_write(&mut self, env: &mut Env, cx: &mut Context<'_>) {
        loop {
            self.write(env);
            if self.is_dead() || self.out.is_empty() {
                return;
            }
            match self.stream.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.lost(env, &format!("connection lost: {error}")),
                Poll::Pending => return,
            }
        }
    }

    /// Nothing is read while the host has too much to take, or a failure waits for its answers.
    fn is_paused(&self) -> bool {
        self.phase == Phase::Failing
            || self.phase == Phase::Open && self.shared.paused.load(Ordering::Relaxed)
    }

    fn receive(&mut self, env: &mut Env, input: &[u8]) {
        self.heard = env.tick;
        self.pinged = None;
        if self.is_over() {
            return;
        }
        match self.deflate.take() {
            None => self.feed(env, input),
            Some(deflate) => self.inflate(env, deflate, input),
        }
    }

    /// Nothing that the peer says counts any more.
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Failing | Phase::Lingering { .. } | Phase::Dead)
    }

    /// Feeds the engine with what compressed messages in `input` inflate to, as much as is due.
    fn inflate(&mut self, env: &mut Env, mut deflate: Box<Deflate>, mut input: &[u8]) {
        let max = env.server.config.max_message_size;
        let mut plain = env.deflate.inflaters.plain();
        let mut inflated = 0;
        loop {
            let step = deflate.read(&mut input, &mut plain, &mut env.deflate, max);
            if !plain.filled().is_empty() {
                self.feed(env, plain.filled());
                plain.clear();
            }
            if self.is_over() {
                break;
            }
            inflated += deflate.take_work();
            match step {
                Ok(Step::Done) => break,
                Ok(Step::Full) if !self.is_paused() && inflated < INFLATED_AT_ONCE => {}
                Ok(Step::Full) => {
                    // A little input may hold a lot: the host takes what there is first, and other
                    // connections get their turn.
                    self.early = Bytes::copy_from_slice(input);
                    break;
                }
                Err((code, reason)) => {
                    self.fail(env, code, reason);
                    break;
                }
            }
        }
        env.deflate.inflaters.give_back_plain(plain);
        if !self.is_over() || self.phase == Phase::Failing {
            self.deflate = Some(deflate);
        }
    }

    /// Hands the messages of plain frames to the host.
    fn feed(&mut self, env: &mut Env, mut input: &[u8]) {
        // Messages that are whole and in order need no engine: with 32 bytes the I/O thread then
        // takes 2,100 instructions instead of 4,300 (callgrind, 100 connections, one echo each);
        // with 16 KiB it saves a copy, and zeroing the place of it.
        if self.codec.is_none() && self.phase == Phase::Open {
            while let Some(message) = whole::read(input, env.server.config.max_message_size) {
                input = &input[message.used..];
                deliver(&self.shared, env, message.payload, message.binary);
            }
            if input.is_empty() {
                return;
            }
        }
        self.feed_engine(env, input);
    }

    /// Hands plain frames to the engine, and what comes out of them to the host.
    fn feed_engine(&mut self, env: &mut Env, input: &[u8]) {
        let mut codec = self.codec.take().unwrap_or_else(|| env.codec());
        let scan = codec.tracker.scan(input);
        let mut gate = Gate { input, out: &mut self.out, conn: &self.shared };
        let mut left = scan.messages;
        let mut pong = false;
        // The engine is asked once more than there are messages only where it must swallow the
        // start of one that is still to come.
        let end = loop {
            if left == 0 && codec.tracker.is_clean() {
                break None;
            }
            match codec.engine.read(&mut gate) {
                Ok(Message::Text(text)) => deliver(&self.shared, env, text.into(), false),
                Ok(Message::Binary(payload)) => deliver(&self.shared, env, payload, true),
                Ok(Message::Ping(_)) => pong = true,
                Ok(Message::Pong(payload)) => {
                    if payload != KEEP_ALIVE && env.wants(Interest::PONG) && self.shared.delivers() {
                        self.shared.add_pending(payload.len());
                        env.emit(Item::Pong { conn: self.shared.clone(), payload });
                    }
                }
                Ok(Message::Close(frame)) => {
                    // Writes the answer, where one is due.
                    let _ = codec.engine.flush(&mut gate);
                    let (code, reason) = match frame {
                        Some(frame) => (frame.code.into(), frame.reason.as_str().to_owned()),
                        None => (1005, String::new()),
                    };
                    break Some(End::Answered(code, reason));
                }
                Ok(Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break None,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => break None,
                Err(error) => break Some(End::Failed(failure(&error))),
            }
            left = left.saturating_sub(1);
        };
        if pong && end.is_none() {
            let _ = codec.engine.flush(&mut gate);
        }
        let end = end
            .or_else(|| scan.invalid_utf8.then(|| End::Failed((1007, "text is not valid UTF-8".to_owned()))));
        match end {
            None if self.phase == Phase::Open && codec.tracker.is_clean() => env.return_codec(codec),
            None => self.codec = Some(codec),
            Some(End::Answered(code, reason)) => {
                if (code, reason.as_str()) == FORBIDDEN_CODE && self.admission.is_some() {
                    Counters::one(&env.server.counters.protocol_errors);
                }
                self.finish(env, code, reason);
            }
            Some(End::Failed((code, reason))) => {
                self.codec = Some(codec);
                self.fail(env, code, reason);
            }
        }
    }

    /// The peer has broken the rules. What it said before was said well: the host sees it, and
    /// answers it, first.
    fn fail(&mut self, env: &mut Env, code: u16, reason: String) {
        if self.phase == Phase::Open
            && self.shared.is_open()
            && (self.shared.has_pending() || env.host_is_busy())
        {
            self.phase = Phase::Failing;
            self.failed = Some((code, reason));
            env.emit(Item::Failed { conn: self.shared.clone() });
            env.expire_close(&self.shared);
            return;
        }
        self.fail_now(env, code, reason);
    }

    /// The host has taken all that came before the failure, or had time enough to.
    pub(crate) fn answered(&mut self, env: &mut Env) {
        if self.phase == Phase::Failing
            && let Some((code, reason)) = self.failed.take()
        {
            self.fail_now(env, code, reason);
            // The socket is read again: the peer's end may have come meanwhile.
            self.wake();
        }
    }

    fn fail_now(&mut self, env: &mut Env, code: u16, reason: String) {
        if self.admission.is_some() {
            let counters = &env.server.counters;
            Counters::one(if code == 1009 { &counters.too_big } else { &counters.protocol_errors });
        }
        if matches!(self.phase, Phase::Open | Phase::Failing) {
            let mut codec = self.codec.take().unwrap_or_else(|| env.codec());
            let mut gate = Gate { input: &[], out: &mut self.out, conn: &self.shared };
            let _ = codec.engine.close(&mut gate, Some(close_frame(code, &reason)));
        }
        self.finish(env, code, reason);
    }

    /// Queues a message, compressed if that was negotiated and is worth it. False: too late.
    pub(crate) fn send(&mut self, env: &mut Env, frame: Bytes) -> bool {
        let (Some(deflate), Phase::Open | Phase::Failing, Some(ours)) =
            (&mut self.deflate, self.phase, &env.server.config.compression)
        else {
            return self.push(frame);
        };
        let counted = frame.len();
        let frame = deflate.compress(&mut env.deflate, ours, frame);
        // Never longer than it was.
        self.shared.sub_buffered(counted - frame.len());
        self.push(frame)
    }

    /// Queues a frame; [`Session::flush`] writes it. False: too late.
    pub(crate) fn push(&mut self, frame: Bytes) -> bool {
        if !matches!(self.phase, Phase::Open | Phase::Failing) {
            self.shared.sub_buffered(frame.len());
            return false;
        }
        self.out.push(frame);
        true
    }

    /// Takes over a frame of which the host has written a part. False: there is none (any more).
    pub(crate) fn settle(&mut self) -> bool {
        if !self.is_dead() {
            self.shared.direct.lock().settle(&mut self.out);
        }
        !self.out.is_empty()
    }

    /// Queues a frame that is not counted in `buffered` yet.
    pub(crate) fn push_counted(&mut self, frame: Bytes) {
        self.shared.add_buffered(frame.len());
        self.push(frame);
    }

    /// Queues a frame that many get, unless the peer reads too slowly. `number` is that of the
    /// publication.
    pub(crate) fn push_published(&mut self, env: &mut Env, frame: &mut Fanout, number: u64) -> Published {
        if !self.shared.is_open() || self.published == number {
            return Published::Skipped;
        }
        self.published = number;
        if self.push_shared(env, frame) { Published::Queued } else { Published::Full }
    }

    /// Queues a message that others get, too, if there is room.
    fn push_shared(&mut self, env: &mut Env, frame: &mut Fanout) -> bool {
        let ours = env.server.config.compression.as_ref();
        let frame = frame.frame(self.deflate.as_deref_mut(), &mut env.deflate, ours);
        let waiting = self.shared.buffered();
        let then = waiting + frame.len();
        let limit = env.server.config.send_buffer_limit;
        if waiting > 0 && then > limit && self.shared.exceeds(then, limit) {
            return false;
        }
        env.messages_out += 1;
        self.push_counted(frame);
        true
    }

    /// After [`Published::Full`] and a write: the last attempt. True: it is queued.
    pub(crate) fn push_or_give_up(&mut self, env: &mut Env, frame: &mut Fanout) -> bool {
        if !self.shared.is_open() {
            return false;
        }
        if self.push_shared(env, frame) {
            return true;
        }
        match env.server.config.slow_consumer {
            SlowConsumer::Close => {
                self.overflow(env);
                self.flush(env);
            }
            SlowConsumer::Drop => Counters::one(&env.server.counters.slow_dropped),
        }
        false
    }

    pub(crate) fn subscribe(&mut self, env: &mut Env, topic: TopicId) {
        // A session that is over has left its topics and must not come back.
        if self.admission.is_some() {
            self.topics.push(Subscription { id: topic, since: env.hub.counted(topic) });
            env.hub.join(topic, self.shared.slot);
        }
    }

    pub(crate) fn unsubscribe(&mut self, env: &mut Env, topic: TopicId) {
        if let Some(resumes) = &mut self.resumes {
            resumes.pending.retain(|(id, _)| *id != topic);
            resumes.got.retain(|(id, _)| *id != topic);
        }
        if let Some(at) = self.topics.iter().position(|t| t.id == topic) {
            self.topics.swap_remove(at);
            env.hub.leave(topic, self.shared.slot);
        }
    }

    /// It will get what it has missed of a topic, and until then nothing, unless it has got
    /// something of it already.
    pub(crate) fn resume(&mut self, env: &mut Env, topic: TopicId, ticket: u64) {
        if self.admission.is_none() {
            return;
        }
        if let Some(at) = self.topics.iter().position(|t| t.id == topic)
            && self.topics[at].since == env.hub.counted(topic)
        {
            self.topics.swap_remove(at);
            env.hub.leave(topic, self.shared.slot);
        }
        self.resumes.get_or_insert_default().pending.push((topic, ticket));
    }

    /// What it has missed is here: it gets that, and from now on what is published.
    pub(crate) fn resumed(&mut self, env: &mut Env, mut resumed: Resumed) {
        let Some(resumes) = &mut self.resumes else { return };
        let Some(at) = resumes.pending.iter().position(|p| *p == (resumed.id, resumed.ticket)) else {
            return;
        };
        resumes.pending.swap_remove(at);
        // Of what the host has closed, it hears nothing but the end.
        if self.admission.is_none() || !self.shared.is_open() {
            return;
        }
        if resumed.skip {
            resumes.got.retain(|(id, _)| *id != resumed.id);
            resumes.got.push((resumed.id, resumed.position.clone()));
        }
        // What comes behind newer ones is no help.
        let newer = |t: &Subscription| resumed.topics.contains(&t.id) && t.since != env.hub.counted(t.id);
        if self.topics.iter().any(newer) {
            resumed.complete &= resumed.frames.is_empty();
            resumed.frames.clear();
        }
        let messages = resumed.frames.len() as u64;
        let bytes = resumed.frames.iter().map(Bytes::len).sum();
        self.shared.allowance.fetch_add(bytes, Ordering::Relaxed);
        for frame in resumed.frames {
            self.shared.add_buffered(frame.len());
            env.messages_out += 1;
            self.send(env, frame);
        }
        if !self.topics.iter().any(|t| t.id == resumed.id) {
            self.subscribe(env, resumed.id);
        }
        if messages > 0
            && let Some(subscription) = self.topics.iter_mut().find(|t| t.id == resumed.id)
        {
            subscription.since = env.hub.counted(resumed.id).wrapping_sub(1);
        }
        if env.wants(Interest::RESUME) {
            let Resumed { topic, complete, position, .. } = resumed;
            let id = self.shared.id;
            env.emit(Item::plain(Event::Resumed { id, topic, complete, messages, position }));
        }
    }

    /// Whether it has got what has this position, because it has resumed one of the topics.
    pub(crate) fn has_got(&mut self, topics: &[TopicId], position: &str) -> bool {
        let Some(resumes) = &mut self.resumes else { return false };
        let Some(at) = resumes.got.iter().position(|(id, _)| topics.contains(id)) else { return false };
        let newer = is_after(position, &resumes.got[at].1, false);
        if newer {
            resumes.got.swap_remove(at);
        }
        !newer
    }

    /// Writes what waits, from outside of the task; the task sees to it that the rest goes when
    /// the socket is ready.
    pub(crate) fn flush(&mut self, env: &mut Env) {
        self.write(env);
        if !self.out.is_empty() {
            self.wake();
        }
    }

    /// Writes what waits, as far as the socket takes it.
    fn write(&mut self, env: &mut Env) {
        if self.is_dead() {
            return;
        }
        self.write_out(env);
        self.note(env);
    }

    fn write_out(&mut self, env: &mut Env) {
        if !self.out.is_empty() {
            let mut direct = self.shared.direct.lock();
            direct.settle(&mut self.out);
            let result = self.out.write_to(&mut self.stream, &mut env.write);
            direct.set_clear(self.out.is_empty() && self.phase == Phase::Open);
            drop(direct);
            match result {
                Ok(written) => {
                    env.bytes_out += written as u64;
                    self.shared.sub_buffered(written);
                }
                Err(error) => return self.lost(env, &format!("connection lost: {error}")),
            }
        }
        if !self.out.is_empty() {
            return;
        }
        if self.resumes.is_some() {
            self.shared.allowance.store(0, Ordering::Relaxed);
        }
        if let Phase::Lingering { fin: false } = self.phase {
            self.stream.shutdown_write();
            self.phase = Phase::Lingering { fin: true };
        }
        if self.shared.drain_wanted.load(Ordering::Relaxed)
            && self.phase == Phase::Open
            && self.shared.drain_wanted.swap(false, Ordering::AcqRel)
            && env.wants(Interest::DRAIN)
        {
            env.emit(Item::plain(Event::Drain { id: self.shared.id }));
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// The host closes.
    pub(crate) fn close(&mut self, env: &mut Env, code: u16, reason: &str) {
        if self.phase != Phase::Open {
            return;
        }
        let mut codec = self.codec.take().unwrap_or_else(|| env.codec());
        let mut gate = Gate { input: &[], out: &mut self.out, conn: &self.shared };
        let _ = codec.engine.close(&mut gate, Some(close_frame(code, reason)));
        self.codec = Some(codec);
        self.phase = Phase::Closing;
        env.expire_close(&self.shared);
        // A paused socket is read again: the peer's answer comes behind what it has sent.
        self.wake();
    }

    /// The peer reads too slowly: forget what waits, close with 1013.
    pub(crate) fn overflow(&mut self, env: &mut Env) {
        if self.phase != Phase::Open {
            return;
        }
        self.shared.end();
        Counters::one(&env.server.counters.slow_closed);
        let given_up = self.stream.give_up_claim();
        self.out.skip(given_up);
        let waiting = self.out.len();
        let dropped = given_up + self.out.discard();
        env.unsent += (waiting - self.out.len()) as u64;
        self.shared.sub_buffered(dropped);
        let reason = "the peer reads too slowly";
        self.failed = Some((1013, reason.to_owned()));
        self.close(env, 1013, reason);
    }

    /// Cuts the connection without a word.
    pub(crate) fn terminate(&mut self, env: &mut Env, reason: &str) {
        self.report(env, 1006, reason.to_owned());
        self.die(env);
    }

    /// The time for an answer to our close frame, or for the peer's FIN, is up.
    pub(crate) fn close_expired(&mut self, env: &mut Env) {
        if self.phase == Phase::Failing {
            return self.answered(env);
        }
        if self.phase == Phase::Closing {
            Counters::one(&env.server.counters.close_timeouts);
            self.report(env, 1006, "the peer did not answer the close frame".to_owned());
        }
        self.die(env);
    }

    /// Once a tick: sends a ping when nothing was heard, ends the session when that did not help.
    pub(crate) fn keep_alive(&mut self, env: &mut Env, interval: u32, timeout: u32) {
        // While we don't read, we can't hear.
        if self.phase != Phase::Open || self.is_paused() {
            self.heard = env.tick;
            self.pinged = None;
            return;
        }
        match self.pinged {
            Some(at) if env.tick.wrapping_sub(at) >= timeout => {
                Counters::one(&env.server.counters.ping_timeouts);
                self.terminate(env, "ping timeout: nothing was received from the peer");
            }
            Some(_) => {}
            None => {
                // Spread over a quarter of the interval, so that connections that came together
                // are not all pinged in the same tick.
                let early = (self.shared.id.0 % u64::from(interval / 4 + 1)) as u32;
                if env.tick.wrapping_sub(self.heard) >= interval - early {
                    self.pinged = Some(env.tick);
                    Counters::one(&env.server.counters.pings);
                    self.push_counted(env.keep_alive_frame());
                    self.flush(env);
                }
            }
        }
    }

    /// The peer is gone.
    fn lost(&mut self, env: &mut Env, why: &str) {
        self.report(env, 1006, why.to_owned());
        self.die(env);
    }

    /// The closing handshake is over, or we have failed the connection.
    fn finish(&mut self, env: &mut Env, code: u16, reason: String) {
        let closing = self.phase == Phase::Closing;
        self.report(env, code, reason);
        self.codec = None;
        self.deflate = None;
        self.early = Bytes::new();
        self.phase = Phase::Lingering { fin: false };
        if !closing {
            env.expire_close(&self.shared);
        }
        self.write(env);
    }

    /// Tells the host, once.
    fn report(&mut self, env: &mut Env, code: u16, reason: String) {
        let Some(admission) = self.admission.take() else { return };
        self.shared.end();
        let (code, reason) = self.failed.take().unwrap_or((code, reason));
        if code == 1006 {
            Counters::one(&env.server.counters.abnormal);
        }
        Counters::one(&env.server.counters.closed);
        env.server.closes.count(code);
        drop(admission);
        env.live -= 1;
        env.ended.notify_one();
        for topic in std::mem::take(&mut self.topics) {
            env.hub.leave(topic.id, self.shared.slot);
        }
        self.resumes = None;
        env.emit(Item::plain(Event::Close { id: self.shared.id, code, reason }));
    }

    fn die(&mut self, env: &mut Env) {
        if self.is_dead() {
            return;
        }
        env.unsent += self.out.len() as u64;
        self.phase = Phase::Dead;
        self.shared.direct.end();
        self.note(env);
        self.wake();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The host may keep its handle for long; the socket must not wait for that.
        self.shared.direct.end();
    }
}

/// What became of a published frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Queued,
    Skipped,
    /// Too much waits for the peer: [`Session::push_or_give_up`] comes next.
    Full,
}

/// How a piece of input ends the session.
enum End {
    /// The peer's close frame, ours is sent.
    Answered(u16, String),
    /// We object.
    Failed((u16, String)),
}

fn deliver(shared: &Arc<Shared>, env: &mut Env, payload: Bytes, binary: bool) {
    env.messages_in += 1;
    env.bytes_in += payload.len() as u64;
    if !shared.delivers() {
        env.undelivered += 1;
        env.undelivered_bytes += payload.len() as u64;
        return;
    }
    shared.add_pending(payload.len());
    if !shared.has_credit(&env.server.credit) && !shared.paused.swap(true, Ordering::SeqCst) {
        Counters::one(&env.server.counters.paused);
        // The host may have taken all of it just before it could see the flag.
        if shared.has_credit(&env.server.credit) {
            shared.paused.store(false, Ordering::SeqCst);
        }
    }
    env.emit(Item::Message { conn: shared.clone(), payload, binary });
}

/// The frame of a keep-alive ping.
pub(crate) fn keep_alive_frame() -> Bytes {
    crate::frame::ping(KEEP_ALIVE)
}
