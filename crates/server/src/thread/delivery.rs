//! Publications on one I/O thread: those of the host, of other processes, and of the cluster.

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
    pub(super) fn publish(&mut self, topics: &[TopicId], frame: Bytes, except: Option<ConnId>) {
        self.published += 1;
        let mut frame = Fanout::new(frame);
        let mut full = Vec::new();
        for topic in topics {
            self.turn.count(self.context.subscribers.members(*topic).len(), frame.len());
            // The list is not changed while it is read: sessions that are full have their turn later.
            for at in 0..self.context.subscribers.members(*topic).len() {
                let slot = self.context.subscribers.members(*topic)[at];
                self.push_published(slot, &mut frame, except, &mut full);
            }
        }
        self.retry(&full, &mut frame);
    }

    /// The same for what has a position. Who resumes may have got it.
    pub(super) fn publish_sequenced(&mut self, sequenced: &Sequenced) {
        self.published += 1;
        let Sequenced { topics, frame, except, position } = sequenced;
        let mut frame = Fanout::new(frame.clone());
        let mut full = Vec::new();
        for topic in &**topics {
            self.turn.count(self.context.subscribers.members(*topic).len(), frame.len());
            self.context.subscribers.count(*topic);
            for at in 0..self.context.subscribers.members(*topic).len() {
                let slot = self.context.subscribers.members(*topic)[at];
                if let Some(Some(session)) = self.sessions.get_mut(slot as usize)
                    && !session.has_got(topics, position)
                {
                    self.push_published(slot, &mut frame, *except, &mut full);
                }
            }
        }
        self.retry(&full, &mut frame);
    }

    /// Delivers what another worker or node has published. [`Io::deliver_all`] lets it go.
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

    /// The same for all connections.
    pub(crate) fn deliver_broadcast(&mut self, payload: &[u8], binary: bool) {
        let frame = frame::message(payload, binary);
        self.post_to_others(|| Command::Broadcast { frame: frame.clone(), except: None });
        self.broadcast(frame, None);
    }

    /// The hub's answer to a resuming connection.
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
            self.carry_out(command);
        } else {
            self.context.server.mailboxes[thread as usize].pass(command);
            self.posted = true;
        }
    }

    /// After a batch of what the hub said.
    pub(crate) fn deliver_all(&mut self) {
        self.flush_dirty();
        if std::mem::take(&mut self.posted) {
            let others = |(index, _): &(usize, &Mailbox)| *index != self.context.index as usize;
            self.context.server.mailboxes.iter().enumerate().filter(others).for_each(|(_, m)| m.deliver());
        }
    }

    fn post_to_others(&mut self, command: impl Fn() -> Command) {
        let others = |(index, _): &(usize, &Mailbox)| *index != self.context.index as usize;
        for (_, mailbox) in self.context.server.mailboxes.iter().enumerate().filter(others) {
            mailbox.pass(command());
            self.posted = true;
        }
    }

    /// Publishes for another process. Gives back a ticket if the hub may refuse to pass it on: it
    /// has said so before it answers [`Io::cluster_synced`], and the ticket must be given up then by
    /// [`Outbound::outcome`](crate::cluster::port::Outbound::outcome).
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

    /// That much waits for a peer may be because it had no turn to be written.
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
