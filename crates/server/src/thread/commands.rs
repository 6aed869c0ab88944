//! Executes the commands that the host and other threads have posted to an I/O thread, in turns: bounded
//! runs between which the thread serves its sockets.

use super::Io;
use super::turn::Turn;
use crate::channel::mailbox::{Answer, Command};
use crate::cluster::wire::Up;
use crate::context::ThreadContext;
use crate::id::Target;
use crate::session::Session;
use crate::topics::registry::Change;

impl Io {
    /// Takes a batch of commands from the mailbox, executes it, and writes the frames that it queued. A
    /// batch with many deliveries is spread over several turns.
    pub(crate) fn take_commands(&mut self) {
        self.turn = Turn::default();
        if self.has_rest() && !self.execute_rest() {
            return self.flush_dirty();
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        self.context.server.mailboxes[self.context.index as usize].take(&mut inbox);
        self.batches += 1;
        let mut commands = inbox.drain(..);
        while let Some(command) = commands.next() {
            self.execute(command);
            if self.turn.is_over() && commands.len() > 0 {
                self.rest = commands.by_ref().collect::<Vec<_>>().into_iter();
                self.context.behind = true;
                self.yield_turn();
            }
        }
        drop(commands);
        self.inbox = inbox;
        self.flush_dirty();
    }

    /// Executes what is left of an earlier batch, for one turn. Returns false if commands still remain.
    fn execute_rest(&mut self) -> bool {
        while let Some(command) = self.rest.next() {
            self.execute(command);
            if self.turn.is_over() {
                break;
            }
        }
        if self.has_rest() {
            self.yield_turn();
            return false;
        }
        self.context.behind = false;
        true
    }

    /// Whether commands of an earlier batch remain.
    pub(crate) fn has_rest(&self) -> bool {
        !self.rest.as_slice().is_empty()
    }

    /// Schedules another turn for the remaining commands, after the sockets have been served.
    fn yield_turn(&mut self) {
        self.overdue = true;
        self.context.server.mailboxes[self.context.index as usize].notify.notify_one();
    }

    /// Writes the frames queued in the sessions on the `dirty` list.
    pub(super) fn flush_dirty(&mut self) {
        for slot in std::mem::take(&mut self.dirty) {
            if let Some(Some(session)) = self.sessions.get_mut(slot as usize) {
                session.dirty = false;
                session.flush(&mut self.context);
            }
        }
    }

    /// Executes one command.
    pub(super) fn execute(&mut self, command: Command) {
        match command {
            Command::Send(target, frame) => self.push(target, |session, context| {
                let queued = session.send(context, frame);
                context.messages_out += u64::from(queued);
                queued
            }),
            Command::SendMany(target, frames, count) => self.push(target, |session, context| {
                let queued = session.send_many(context, frames.into(), count as usize);
                if queued {
                    context.messages_out += u64::from(count);
                }
                queued
            }),
            Command::Unwritten(target) => self.push(target, |session, _| session.settle()),
            Command::Ping(target, frame) => self.push(target, |session, _| session.push_ping(frame)),
            Command::Close(target, code, reason) => self.close(target, code, &reason),
            Command::Overflow(target) => self.with_session(target, |session, context| {
                session.overflow(context);
                session.flush(context);
            }),
            Command::Terminate(target) => {
                self.with_session(target, |s, context| s.terminate(context, "terminated by the server"));
            }
            Command::Subscribe(target, topic) => {
                self.with_session(target, |s, context| s.subscribe(context, topic))
            }
            Command::Unsubscribe(target, topic) => {
                self.with_session(target, |s, context| s.unsubscribe(context, topic));
            }
            Command::Topic(change) => {
                if self.outbound.broker {
                    let (name, on) = match &change {
                        Change::Began(_, name) => (name, true),
                        Change::Ended(name) => (name, false),
                    };
                    self.outbound.push(Up::Interest { name, on }.encode());
                }
                self.name_index.apply(change);
            }
            Command::Sequenced(sequenced) => self.publish_sequenced(&sequenced),
            Command::ToHub(frame) => self.outbound.push(frame),
            Command::Ask(ticket, ask) => {
                let (topic, position) = (ask.topic.as_str(), ask.position.as_str());
                self.outbound.push(Up::Resume { ticket, topic, position }.encode());
                self.outbound.asks.insert(ticket, *ask);
            }
            Command::Resuming(target, topic, ticket, replay) => {
                self.with_session(target, |session, context| session.resume(context, topic, ticket, replay));
            }
            Command::Replay(ticket, ask) => {
                self.with_session(ask.target, |session, context| session.replay(context, ticket, ask));
            }
            Command::Resumed(resumed) => self.push(resumed.target, |session, context| {
                session.resumed(context, *resumed);
                true
            }),
            Command::Publish { topics, frame, except } => self.publish(&topics, frame, except),
            Command::Broadcast { frame, except } => self.broadcast(frame, except),
            Command::Answered(target) => self.with_session(target, |s, context| s.answered(context)),
            Command::Resume(target) => self.with_session(target, |session, _| session.wake()),
            // An error means that the client has disconnected in the meantime.
            Command::Decide(reply, decision) => drop(reply.send(decision)),
            Command::Respond(reply, answer) => {
                if let Err(Answer::Stream(_, stream, _)) = reply.send(answer) {
                    self.stream_lost(&stream);
                }
            }
            Command::Stream(stream) => stream.wake(),
            Command::Adopt(socket) => (self.serve)(&self.context.server, socket),
            Command::NotifyAt(when) => self.notify_at(when),
            Command::Stop(grace, why) => self.stop(grace, why),
            Command::Quit => self.quit.notify_one(),
            #[cfg(test)]
            Command::Panic { in_task: false } => panic!("a test makes this thread panic"),
            #[cfg(test)]
            Command::Panic { in_task: true } => drop(tokio::spawn(async {
                let _vital = crate::thread::Vital;
                panic!("a test makes this task panic")
            })),
        }
    }

    /// Calls `f` with the target's session, if that still exists. If `f` returns true, it has queued a
    /// frame, and the session is added to the `dirty` list.
    fn push(&mut self, target: Target, f: impl FnOnce(&mut Session, &mut ThreadContext) -> bool) {
        let Some(Some(session)) = self.sessions.get_mut(target.slot as usize) else { return };
        if session.shared.id == target.id && f(session, &mut self.context) && !session.dirty {
            session.dirty = true;
            self.dirty.push(target.slot);
        }
    }

    /// Runs one turn of the commands that the host had posted when [`Io::batches`] was `since`, and
    /// returns whether all of them are executed. A publisher outside the host waits for this, so that its
    /// publication cannot overtake an earlier subscription or stop.
    pub(crate) fn catch_up(&mut self, since: u64) -> bool {
        let is_done = |io: &Self| {
            let pending = io.context.server.mailboxes[io.context.index as usize].is_pending();
            !io.has_rest() && (io.batches > since || !pending)
        };
        if !is_done(self) {
            self.take_commands();
        }
        is_done(self)
    }

    /// Number of command batches taken from the mailbox so far.
    pub(crate) fn batches(&self) -> u64 {
        self.batches
    }
}
