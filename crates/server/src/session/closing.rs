//! How a session ends: the closing handshake (RFC 6455 section 7), and its deadline.

use sprocket_protocol::frame;
use std::time::Duration;
use tokio::time::Instant;

use super::ending::Ending;
use super::{Phase, Session};
use crate::channel::mailbox::{Command, Item, Stopping};
use crate::context::ThreadContext;
use crate::context::log::CLOSE_TIMEOUT;
use crate::id::Target;
use crate::metrics::counters::Counters;
use crate::net::progress::{Progress, Sample};

/// Code for the host where the peer's close frame has none (RFC 6455 section 7.1.5).
const NO_STATUS: u16 = 1005;
/// Reason for the host where a peer ends its direction without a close frame.
const HUNG_UP: &str = "the peer went away without a close frame";

impl Session {
    /// Ends an open connection once the host has answered the messages that came before; one that is
    /// closing already, at once.
    pub(super) fn end(&mut self, context: &mut ThreadContext, ending: Ending) {
        if self.phase == Phase::Open {
            self.end_behind_answers(context, ending, context.server.config.close_timeout);
        } else {
            self.end_now(context, ending);
        }
    }

    /// The peer has sent FIN, or the farewell of TLS or HTTP/2 in its place. It gets what was sent, and
    /// the host's answers to the messages that came before.
    pub(super) fn hang_up(&mut self, context: &mut ThreadContext) {
        match self.phase {
            Phase::Open | Phase::Closing => self.end(context, Ending::HungUp),
            Phase::Lingering { fin: false, .. } => {
                self.phase = Phase::Lingering { fin: false, hung_up: true }
            }
            _ => self.lost(context, HUNG_UP),
        }
    }

    /// Lets the host close a connection whose peer has ended its direction while the host answers.
    pub(super) fn revive(&mut self) {
        if self.phase == Phase::Answering && matches!(self.ending.as_deref(), Some(Ending::HungUp)) {
            self.ending = None;
            self.phase = Phase::Open;
        }
    }

    /// The host gets `patience` to answer; nobody waits if there is nothing to answer.
    fn end_behind_answers(&mut self, context: &mut ThreadContext, ending: Ending, patience: Duration) {
        if self.shared.is_open() && context.host_answers(&self.shared) {
            context.emit(Item::Ending { conn: self.shared.clone() });
        } else if context.has_commands() || matches!(ending, Ending::GoingAway(_)) {
            // The host is through with them, but its answers may be among what it has posted.
            let mailbox = &context.server.mailboxes[context.index as usize];
            mailbox.post(Command::Answered(Target::from(&*self.shared)));
            mailbox.deliver();
        } else {
            return self.end_now(context, ending);
        }
        self.phase = Phase::Answering;
        self.ending = Some(Box::new(ending));
        self.set_deadline(context, patience);
    }

    /// The host has answered all that came before the end, or had time enough to.
    pub(crate) fn answered(&mut self, context: &mut ThreadContext) {
        if self.phase == Phase::Answering
            && let Some(ending) = self.ending.take()
        {
            self.end_now(context, *ending);
            self.flush(context);
            // The socket is read again: the peer's end may have come meanwhile.
            self.wake();
        }
    }

    fn end_now(&mut self, context: &mut ThreadContext, ending: Ending) {
        match ending {
            Ending::Failed(code, reason) => self.fail_now(context, code, reason),
            Ending::ClosedByPeer(status) => {
                // RFC 6455 section 5.5.1: the answer has the same code, unless this is the answer to
                // our close frame.
                if self.phase != Phase::Closing {
                    let status = status.as_ref().map(|(code, reason)| (*code, reason.as_str()));
                    self.push_counted(frame::close(status));
                }
                let (code, reason) = status.unwrap_or((NO_STATUS, String::new()));
                self.finish(context, code, reason);
            }
            Ending::HungUp => {
                self.finish(context, 1006, HUNG_UP.to_owned());
                self.hang_up(context);
            }
            Ending::GoingAway(reason) => {
                self.phase = Phase::Open;
                self.close(context, 1001, reason);
            }
        }
    }

    /// The server stops: closes with 1001, behind the answers to what has come already, for which the
    /// host gets `patience` at most.
    pub(crate) fn going_away(&mut self, context: &mut ThreadContext, why: Stopping, patience: Duration) {
        if self.phase == Phase::Open {
            let patience = patience.min(context.server.config.close_timeout);
            self.end_behind_answers(context, Ending::GoingAway(why.reason()), patience);
        }
    }

    /// From here on the session has `time` to end, and anew with each progress of the peer.
    pub(super) fn set_deadline(&mut self, context: &mut ThreadContext, time: Duration) {
        let now = Instant::now();
        if self.deadline.replace(now + time).is_none() {
            context.closing.push(now, Target::from(&*self.shared));
        }
        self.progress = Progress::begin(self.sample(context));
    }

    /// How far the peer is with what it was sent.
    pub(super) fn sample(&mut self, context: &ThreadContext) -> Sample {
        let written = self.shared.direct.lock().written();
        self.stream.sample(context.server.config.send_queue, written, self.shared.buffered())
    }

    /// Looks after the deadline. Comes again until the session has ended.
    pub(crate) fn check_close(&mut self, context: &mut ThreadContext, now: Instant) {
        if self.is_dead() {
            return;
        }
        let mut progress = self.progress;
        // For the host there is no progress but the answer.
        if self.phase != Phase::Answering && progress.has_moved(|| self.sample(context)) {
            self.progress = progress;
            self.deadline = Some(now + context.server.config.close_timeout);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.close_expired(context);
        }
        if !self.is_dead() {
            context.closing.push(now, Target::from(&*self.shared));
        }
    }

    /// The time for an answer of the host, for an answer to our close frame, or for the peer's FIN,
    /// is up.
    fn close_expired(&mut self, context: &mut ThreadContext) {
        if self.phase == Phase::Answering {
            return self.answered(context);
        }
        if self.phase == Phase::Closing {
            const REASON: &str = "the peer did not answer the close frame";
            Counters::one(&context.server.counters.close_timeouts);
            context.log_close(&self.shared, CLOSE_TIMEOUT, 1006, REASON);
            self.report(context, 1006, REASON.to_owned());
        }
        self.die(context);
    }

    /// The closing handshake is over, or we have failed the connection.
    pub(super) fn finish(&mut self, context: &mut ThreadContext, code: u16, reason: String) {
        self.report(context, code, reason);
        self.decoder.clear();
        self.compressor = None;
        self.discard_input(context);
        self.phase = Phase::Lingering { fin: false, hung_up: false };
        self.flush(context);
        if matches!(self.phase, Phase::Lingering { fin: false, .. }) {
            context.unwritten += 1;
            self.unwritten = true;
        }
        if !self.is_dead() {
            self.set_deadline(context, context.server.config.close_timeout);
        }
    }

    /// All is written, or never will be.
    pub(super) fn written(&mut self, context: &mut ThreadContext) {
        if std::mem::take(&mut self.unwritten) {
            context.unwritten -= 1;
            context.ended.notify_one();
        }
    }
}
