//! The part of [`Server`] that sends to one connection, or closes it.

use bytes::Bytes;
use sprocket_protocol::frame;
use std::sync::atomic::Ordering;

use super::{SendOutcome, Server};
use crate::channel::mailbox::{Command, MERGE_UP_TO};
use crate::config::SlowConsumer;
use crate::connection::handle::Connection;
use crate::connection::shared::Shared;
use crate::id::Target;
use crate::metrics::counters::Counters;

/// Number of posted bytes above which they are flushed without waiting for the end of the event
/// batch.
const EARLY_FLUSH: usize = 256 << 10;
/// Bytes counted for each command in addition to its frame, so that tiny messages cannot pile up in a mailbox
/// by the ten thousand: the command, and the allocation of the frame.
const COMMAND: usize = size_of::<Command>() + 32;
/// Longest frame that the host's own thread writes to the socket. For a longer one the copy into the
/// kernel costs more than the wake-up that is saved.
const DIRECT: usize = 64 << 10;

impl Server {
    /// Queues a message. `payload` must be valid UTF-8 unless `binary`; the host checks it.
    pub fn send(&self, conn: &Connection, payload: &[u8], binary: bool) -> SendOutcome {
        let shared = &conn.0;
        if !self.accepts(shared) {
            return SendOutcome::Closed;
        }
        let limit = self.state.config.send_buffer_limit;
        // A message larger than the limit is accepted when nothing else is waiting to be sent.
        let waiting = shared.buffered();
        let then = waiting.saturating_add(payload.len());
        if waiting > 0 && then > limit && shared.exceeds(then, limit) {
            return match self.state.config.slow_consumer {
                SlowConsumer::Drop => {
                    Counters::one(&self.state.counters.slow_dropped);
                    // The waiting bytes may be written already, or be about to be written by this thread. The
                    // I/O thread must therefore check the flag once more.
                    if !shared.drain_wanted.swap(true, Ordering::AcqRel) {
                        self.post(shared.thread, Command::Resume(Target::from(&**shared)));
                    }
                    SendOutcome::Dropped
                }
                SlowConsumer::Close => {
                    shared.close_by_host();
                    self.post(shared.thread, Command::Overflow(Target::from(&**shared)));
                    SendOutcome::Overflow
                }
            };
        }
        let bytes = frame::message_length(payload.len());
        if shared.add_buffered(bytes) + bytes >= limit / 4 {
            shared.drain_wanted.store(true, Ordering::Relaxed);
        }
        if !self.merge(shared, payload, binary) {
            let direct =
                self.posted.get() == 0 && bytes <= DIRECT && !shared.drain_wanted.load(Ordering::Relaxed);
            self.post(shared.thread, Command::Send(Target::from(&**shared), frame::message(payload, binary)));
            self.last_sent.set(Some(shared.id));
            if direct {
                *self.single.borrow_mut() = Some(shared.clone());
            }
        }
        self.count_posted(bytes);
        SendOutcome::Sent
    }

    /// Appends a small message to the command of the previous one, if that was the last command posted and
    /// went to the same connection; see [`Mailbox::merge`](crate::channel::mailbox::Mailbox::merge).
    #[inline]
    fn merge(&self, conn: &Shared, payload: &[u8], binary: bool) -> bool {
        let merged = self.last_sent.get() == Some(conn.id)
            && payload.len() <= MERGE_UP_TO
            && self.state.mailboxes[conn.thread as usize].merge(Target::from(conn), payload, binary);
        if merged {
            self.single.take();
            self.posted.set(self.posted.get() | 1 << conn.thread);
        }
        merged
    }

    /// Whether a message sent now can still precede the close frame.
    fn accepts(&self, conn: &Shared) -> bool {
        // A stopping server closes all connections. If the host has still to answer messages of a
        // connection, its close frame follows the answers.
        conn.is_open() && (!self.state.stopping.load(Ordering::Relaxed) || self.state.host_answers(conn))
    }

    /// Adds to the bytes posted since the last flush, and flushes early if there are many.
    pub(crate) fn count_posted(&self, bytes: usize) {
        let gathered = self.outgoing_bytes.get() + bytes + COMMAND;
        self.outgoing_bytes.set(gathered);
        if gathered > EARLY_FLUSH {
            self.flush();
        }
    }

    /// Queues a ping with a payload of at most 125 bytes. Returns `false` if the payload is longer or
    /// the connection is not open.
    pub fn ping(&self, conn: &Connection, payload: &[u8]) -> bool {
        self.control(conn, payload, frame::ping)
    }

    /// Queues an unsolicited pong with a payload of at most 125 bytes (RFC 6455 section 5.5.3).
    /// Returns `false` if the payload is longer or the connection is not open.
    pub fn pong(&self, conn: &Connection, payload: &[u8]) -> bool {
        self.control(conn, payload, frame::pong)
    }

    fn control(&self, conn: &Connection, payload: &[u8], encode: fn(&[u8]) -> Bytes) -> bool {
        let shared = &conn.0;
        if !self.accepts(shared) || payload.len() > 125 {
            return false;
        }
        let frame = encode(payload);
        shared.add_buffered(frame.len());
        self.post(shared.thread, Command::Ping(Target::from(&**shared), frame));
        true
    }

    /// Starts the closing handshake behind all messages sent before. No `Message` event of this
    /// connection follows. `code` must satisfy [`Server::may_send_code`]; `reason` is cut to 123
    /// bytes. Returns `false` if the connection was closing already.
    pub fn close(&self, conn: &Connection, code: u16, reason: &str) -> bool {
        let shared = &conn.0;
        if !Self::may_send_code(code) || !shared.close_by_host() {
            return false;
        }
        self.state.closes.expect(code);
        let command = Command::Close(Target::from(&**shared), code, reason.to_owned());
        self.post(shared.thread, command);
        true
    }

    /// Cuts the connection without a closing handshake. The code in its `Close` event is 1006.
    pub fn terminate(&self, conn: &Connection) {
        let shared = &conn.0;
        shared.close_by_host();
        self.post(shared.thread, Command::Terminate(Target::from(&**shared)));
    }

    /// Whether an endpoint may send this close code: 1000 to 1003, 1007 to 1014, and 3000 to 4999
    /// (RFC 6455 section 7.4 and the IANA registry).
    pub fn may_send_code(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}
