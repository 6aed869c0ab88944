//! The end of a session: the closing handshake (RFC 6455 section 7) and its deadline.
//!
//! An open session first enters [`Phase::Answering`], in which the host answers the messages it
//! received earlier; then the close frame goes out, and [`Phase::Lingering`] lasts until both
//! directions of the socket have ended. A session that makes no progress is cut at its deadline.

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
use crate::net::progress::{OutputSnapshot, Progress};

/// Close code reported to the host when the peer's close frame carries none (RFC 6455 section 7.1.5).
const NO_STATUS: u16 = 1005;
/// Close reason reported to the host when the peer ends its direction without a close frame.
const HUNG_UP: &str = "the peer went away without a close frame";

impl Session {
    /// Ends the session. If it is open, the host first has up to `close_timeout` to answer the messages
    /// received earlier; if the closing handshake has already begun, the session ends at once.
    pub(super) fn end(&mut self, context: &mut ThreadContext, ending: Ending) {
        if self.phase == Phase::Open {
            self.end_after_answers(context, ending, context.server.config.close_timeout);
        } else {
            self.end_now(context, ending);
        }
    }

    /// Handles the end of the peer's direction: FIN, or its equivalent in TLS (`close_notify`) or
    /// HTTP/2 (END_STREAM). The peer may still read, so queued frames and the host's answers to earlier
    /// messages are written before the session ends.
    pub(super) fn hang_up(&mut self, context: &mut ThreadContext) {
        match self.phase {
            Phase::Open | Phase::Closing => self.end(context, Ending::HungUp),
            Phase::Lingering { fin: false, .. } => {
                self.phase = Phase::Lingering { fin: false, hung_up: true }
            }
            _ => self.lost(context, HUNG_UP),
        }
    }

    /// Returns the session to [`Phase::Open`] if the peer has ended its direction and the host is still
    /// answering, so that the host can close the connection with a code of its own.
    pub(super) fn revive(&mut self) {
        if self.phase == Phase::Answering && matches!(self.ending.as_deref(), Some(Ending::HungUp)) {
            self.ending = None;
            self.phase = Phase::Open;
        }
    }

    /// Ends the session after the host has answered the earlier messages, or after `patience`. If there is
    /// nothing to answer, the session ends at once.
    fn end_after_answers(&mut self, context: &mut ThreadContext, ending: Ending, patience: Duration) {
        if self.shared.is_open() && context.host_answers(&self.shared) {
            context.emit_in(self.lane, Item::Ending { conn: self.shared.clone() });
        } else if context.has_commands() || matches!(ending, Ending::GoingAway(_)) {
            // The host has processed all messages, but its answers may still be in the mailbox.
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

    /// Completes a pending end: called when the host has answered all earlier messages, or when the time
    /// for its answers has elapsed.
    pub(crate) fn answered(&mut self, context: &mut ThreadContext) {
        if self.phase == Phase::Answering
            && let Some(ending) = self.ending.take()
        {
            self.end_now(context, *ending);
            self.flush(context);
            // Reading resumes: the peer may have closed its direction in the meantime.
            self.wake();
        }
    }

    /// Ends the session without waiting for the host's answers.
    fn end_now(&mut self, context: &mut ThreadContext, ending: Ending) {
        match ending {
            Ending::Failed(code, reason) => self.fail_now(context, code, reason),
            Ending::ClosedByPeer(status) => {
                // RFC 6455 section 5.5.1: the response echoes the code. In the phase `Closing`, the
                // peer's frame is itself the response to ours and needs none.
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

    /// Closes an open session with 1001 because the server stops. The host has up to `patience`, but
    /// no longer than `close_timeout`, to answer the messages received earlier.
    pub(crate) fn going_away(&mut self, context: &mut ThreadContext, why: Stopping, patience: Duration) {
        if self.phase == Phase::Open {
            let patience = patience.min(context.server.config.close_timeout);
            self.end_after_answers(context, Ending::GoingAway(why.reason()), patience);
        }
    }

    /// Sets the deadline for the end of the session to `time` from now. Whenever the peer makes
    /// progress, [`Session::check_close`] extends the deadline by `close_timeout`.
    pub(super) fn set_deadline(&mut self, context: &mut ThreadContext, time: Duration) {
        let now = Instant::now();
        if self.deadline.replace(now + time).is_none() {
            context.closing.push(now, Target::from(&*self.shared));
        }
        self.progress = Progress::begin(self.sample(context));
    }

    /// Measures how many of the bytes sent to the peer have been written and acknowledged.
    pub(super) fn sample(&mut self, context: &ThreadContext) -> OutputSnapshot {
        let written = self.shared.direct.lock().written();
        self.stream.sample(context.server.config.send_queue, written, self.shared.buffered())
    }

    /// Extends the deadline if the peer has made progress, and cuts the session if the deadline has
    /// passed. The thread calls this periodically until the session has ended.
    pub(crate) fn check_close(&mut self, context: &mut ThreadContext, now: Instant) {
        if self.is_dead() {
            return;
        }
        let mut progress = self.progress;
        // While the host answers, the peer's progress does not extend the deadline.
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

    /// Handles an expired deadline: for the host's answers, the peer's close frame, or the peer's FIN,
    /// depending on the phase.
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

    /// Reports the end to the host and begins to linger: the closing handshake is complete, or the server
    /// has failed the connection (RFC 6455 section 7.1.7).
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

    /// Removes the session from [`ThreadContext::unwritten`]: its last frame and FIN are written, or it
    /// has been cut.
    pub(super) fn written(&mut self, context: &mut ThreadContext) {
        if std::mem::take(&mut self.unwritten) {
            context.unwritten -= 1;
            context.ended.notify_one();
        }
    }
}
