//! Delivery of publications to the sessions of one I/O thread. They come from the host, from other
//! processes on the publish socket, and from other workers and nodes through the hub (the process that
//! connects the workers).

use bytes::Bytes;
use sprocket_protocol::deflate::Fanout;
use sprocket_protocol::frame;

use super::Io;
use crate::channel::ask::Ask;
use crate::channel::mailbox::{Command, Mailbox, Resumed, Sequenced};
use crate::cluster::history::limits_of;
use crate::cluster::wire::Up;
use crate::error::PublishFailed;
use crate::id::ConnId;
use crate::metrics::counters::Counters;
use crate::session::Published;
use crate::topics::registry::TopicId;

impl Io {
    /// Delivers a frame to the subscribers of any of these topics, once each, except to `except`.
    pub(super) fn publish(&mut self, topics: &[TopicId], frame: Bytes, except: Option<ConnId>) {
        self.published += 1;
        let mut frame = Fanout::new(frame);
        let mut full = Vec::new();
        for topic in topics {
            let recipients = self.take_recipients(*topic, frame.len());
            for slot in &recipients {
                self.push_published(*slot, &mut frame, except, &mut full);
            }
            self.recipients = recipients;
        }
        self.retry(&full, &mut frame);
    }

    /// Delivers a publication that has a position in a topic's history. Sessions that received it in a
    /// replay are skipped.
    pub(super) fn publish_sequenced(&mut self, sequenced: &Sequenced) {
        self.published += 1;
        let Sequenced { topics, frame, except, position } = sequenced;
        let mut frame = Fanout::new(frame.clone());
        let mut full = Vec::new();
        for topic in &**topics {
            self.context.subscribers.count(*topic);
            let recipients = self.take_recipients(*topic, frame.len());
            for slot in &recipients {
                if let Some(Some(session)) = self.sessions.get_mut(*slot as usize)
                    && !session.was_replayed(topics, position)
                {
                    self.push_published(*slot, &mut frame, *except, &mut full);
                }
            }
            self.recipients = recipients;
        }
        self.retry(&full, &mut frame);
    }

    /// Delivers a publication of another worker or node on this thread, and passes it to the other
    /// threads. Both take effect with [`Io::deliver_all`]. An empty `position` means a topic without
    /// history; `except` is 0 or the ID of a connection.
    pub(crate) fn deliver_named(
        &mut self,
        topic: &str,
        payload: &[u8],
        binary: bool,
        position: &str,
        except: u64,
    ) {
        let topics = match self.name_index.route(topic) {
            Ok(topics) if !topics.is_empty() => topics,
            _ => return,
        };
        let frame = frame::message(payload, binary);
        let except = (except != 0).then_some(ConnId(except));
        if position.is_empty() {
            self.post_to_others(|| {
                let (topics, frame) = (topics.clone(), frame.clone());
                Command::Publish { topics, frame, except }
            });
            self.publish(&topics, frame, except);
        } else {
            let sequenced = Sequenced { topics, frame, except, position: position.into() };
            self.post_to_others(|| Command::Sequenced(Box::new(sequenced.clone())));
            self.publish_sequenced(&sequenced);
        }
    }

    /// Delivers a broadcast of another worker or node to all connections of all threads.
    pub(crate) fn deliver_broadcast(&mut self, payload: &[u8], binary: bool) {
        let frame = frame::message(payload, binary);
        self.post_to_others(|| Command::Broadcast { frame: frame.clone(), except: None });
        self.broadcast(frame, None);
    }

    /// Passes the hub's answer to a resume request to the thread of the connection that resumes.
    pub(crate) fn resumed(&mut self, ticket: u64, complete: bool, position: &str, frames: Vec<Bytes>) {
        let Some(ask) = self.outbound.asks.remove(&ticket) else { return };
        let Ask { thread, target, id, topic, .. } = ask;
        let topics = self.name_index.route(&topic).unwrap_or_default();
        let (position, skip) = (position.to_owned(), self.outbound.broker);
        let command = Command::Resumed(Box::new(Resumed {
            target,
            ticket,
            topic,
            id,
            topics,
            complete,
            position,
            frames,
            skip,
        }));
        if thread == self.context.index {
            self.execute(command);
        } else {
            self.context.server.mailboxes[thread as usize].pass(command);
            self.posted = true;
        }
    }

    /// Writes the queued frames and wakes the other threads; called after a batch of messages from the
    /// hub.
    pub(crate) fn deliver_all(&mut self) {
        self.flush_dirty();
        if std::mem::take(&mut self.posted) {
            let others = |(index, _): &(usize, &Mailbox)| *index != self.context.index as usize;
            self.context.server.mailboxes.iter().enumerate().filter(others).for_each(|(_, m)| m.deliver());
        }
    }

    /// Puts a command into the mailboxes of all other threads, without waking them.
    fn post_to_others(&mut self, command: impl Fn() -> Command) {
        let others = |(index, _): &(usize, &Mailbox)| *index != self.context.index as usize;
        for (_, mailbox) in self.context.server.mailboxes.iter().enumerate().filter(others) {
            mailbox.pass(command());
            self.posted = true;
        }
    }

    /// Publishes on behalf of another process. Returns a ticket if the hub may refuse to forward the
    /// publication. A refusal arrives before the answer to [`Io::cluster_synced`]; the caller must then
    /// redeem the ticket with [`Outbound::outcome`](crate::cluster::port::Outbound::outcome).
    ///
    /// # Errors
    /// The topic is invalid, or the queue to the hub is full.
    pub(crate) fn publish_named(
        &mut self,
        topic: &str,
        payload: &[u8],
        binary: bool,
    ) -> Result<Option<u64>, PublishFailed> {
        let topics = self.name_index.route(topic)?;
        let state = self.context.server.clone();
        let mut ticket = None;
        if let Some(port) = &state.cluster {
            ticket = self.outbound.broker.then(|| port.ticket());
            let frame =
                Up::Publish { topic, payload, binary, except: 0, ticket: ticket.unwrap_or(0) }.encode();
            if !port.admit(frame.len()) {
                Counters::one(&state.counters.bus_refused);
                return Err(PublishFailed::QueueFull { delivered_here: false, limit: port.limit() });
            }
            Counters::one(&state.counters.bus_sent);
            self.outbound.push(frame);
            ticket.into_iter().for_each(|ticket| self.outbound.await_refusal(ticket));
            if limits_of(&state.config.history, topic).is_some() {
                Counters::one(&state.counters.published);
                return Ok(ticket);
            }
        }
        Counters::one(&state.counters.published);
        if topics.is_empty() {
            return Ok(ticket);
        }
        let frame = frame::message(payload, binary);
        for (_, mailbox) in
            state.mailboxes.iter().enumerate().filter(|(i, _)| *i != self.context.index as usize)
        {
            let (topics, frame) = (topics.clone(), frame.clone());
            mailbox.pass(Command::Publish { topics, frame, except: None });
            mailbox.deliver();
        }
        self.publish(&topics, frame, None);
        self.flush_dirty();
        Ok(ticket)
    }

    /// Delivers a frame to all sessions of this thread, except to `except`.
    pub(super) fn broadcast(&mut self, frame: Bytes, except: Option<ConnId>) {
        self.published += 1;
        let mut frame = Fanout::new(frame);
        let mut full = Vec::new();
        self.turn.count(self.sessions.len(), frame.len());
        for slot in 0..self.sessions.len() as u32 {
            self.push_published(slot, &mut frame, except, &mut full);
        }
        self.retry(&full, &mut frame);
    }

    /// Returns the slots of a topic's subscribers, and charges the turn for a publication of `bytes` to
    /// them. The list is a copy, so that the topic is looked up once for all recipients. The caller
    /// returns it to `recipients`, which keeps its capacity.
    fn take_recipients(&mut self, topic: TopicId, bytes: usize) -> Vec<u32> {
        let mut recipients = std::mem::take(&mut self.recipients);
        recipients.clear();
        recipients.extend_from_slice(self.context.subscribers.members(topic));
        self.turn.count(recipients.len(), bytes);
        recipients
    }

    /// Queues a published frame in one session. Adds the slot to `full` if the session's send buffer is
    /// full.
    fn push_published(&mut self, slot: u32, frame: &mut Fanout, except: Option<ConnId>, full: &mut Vec<u32>) {
        let Some(Some(session)) = self.sessions.get_mut(slot as usize) else { return };
        if Some(session.shared.id) == except {
            return;
        }
        match session.push_published(&mut self.context, frame, self.published) {
            Published::Queued if !session.dirty => {
                session.dirty = true;
                self.dirty.push(slot);
            }
            Published::Full => full.push(slot),
            Published::Queued | Published::Skipped => {}
        }
    }

    /// Flushes the sessions whose send buffers were full and tries once more: they may be full only
    /// because this turn has not written to their sockets yet.
    fn retry(&mut self, slots: &[u32], frame: &mut Fanout) {
        for slot in slots {
            if let Some(Some(session)) = self.sessions.get_mut(*slot as usize) {
                session.flush(&mut self.context);
                if session.push_or_give_up(&mut self.context, frame) && !session.dirty {
                    session.dirty = true;
                    self.dirty.push(*slot);
                }
            }
        }
    }
}
