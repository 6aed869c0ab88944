//! Publications of a session: its subscriptions, and the replay of missed publications when it resumes a
//! topic.
//!
//! A connection resumes a topic from a position (an offset in the topic's history). The hub, the process
//! that connects the workers and keeps the history, sends the publications after that position. Until
//! its answer arrives, the session is not subscribed; the answer contains everything published until
//! then.

use bytes::Bytes;
use sprocket_protocol::deflate::Fanout;
use std::sync::atomic::Ordering;

use super::Session;
use super::subscriptions::{Published, Replayed, Subscription};
use crate::channel::ask::Ask;
use crate::channel::event::{Event, Interest};
use crate::channel::mailbox::{Command, Item, Resumed};
use crate::cluster::history::sequence::is_after;
use crate::config::SlowConsumer;
use crate::context::ThreadContext;
use crate::metrics::counters::Counters;
use crate::topics::registry::TopicId;

/// Maximum number of replays of one connection that wait until an earlier replay is written. Further ones
/// are reported at once as incomplete.
const MAX_DEFERRED: usize = 1024;

impl Session {
    /// Queues a published frame, unless too many bytes wait for the peer already. `number` is the sequence
    /// number of the publication within the thread; one that was delivered already is skipped.
    pub(crate) fn push_published(
        &mut self,
        context: &mut ThreadContext,
        frame: &mut Fanout,
        number: u64,
    ) -> Published {
        if !self.shared.is_open() || self.published == number {
            return Published::Skipped;
        }
        self.published = number;
        if self.push_shared(context, frame) { Published::Queued } else { Published::Full }
    }

    /// Queues a message that other sessions receive as well. Returns false if it would exceed the send
    /// buffer limit.
    fn push_shared(&mut self, context: &mut ThreadContext, frame: &mut Fanout) -> bool {
        let ours = context.server.config.compression.as_ref();
        let frame = frame.frame(self.compressor.as_deref_mut(), &mut context.compressors, ours);
        let waiting = self.shared.buffered();
        let total = waiting + frame.len();
        let limit = context.server.config.send_buffer_limit;
        if waiting > 0 && total > limit && self.shared.exceeds(total, limit) {
            return false;
        }
        context.messages_out += 1;
        self.push_counted(frame);
        true
    }

    /// Tries once more to queue a frame after [`Published::Full`] and a write; if there is still no
    /// room, applies the policy for slow consumers. Returns whether the frame is queued.
    pub(crate) fn push_or_give_up(&mut self, context: &mut ThreadContext, frame: &mut Fanout) -> bool {
        if !self.shared.is_open() {
            return false;
        }
        if self.push_shared(context, frame) {
            return true;
        }
        match context.server.config.slow_consumer {
            SlowConsumer::Close => {
                self.overflow(context);
                self.flush(context);
            }
            SlowConsumer::Drop => Counters::one(&context.server.counters.slow_dropped),
        }
        false
    }

    /// Subscribes the connection to a topic. Does nothing once its end has been reported.
    pub(crate) fn subscribe(&mut self, context: &mut ThreadContext, topic: TopicId) {
        // A session whose end has been reported has left its topics and must not rejoin one.
        if self.admission.is_some()
            && self.topics.insert(Subscription { id: topic, since: context.subscribers.counted(topic) })
        {
            context.subscribers.join(topic, self.shared.slot);
        }
    }

    /// Ends the subscription to a topic, and any replay of it that is under way.
    pub(crate) fn unsubscribe(&mut self, context: &mut ThreadContext, topic: TopicId) {
        if let Some(resumes) = &mut self.resumes {
            resumes.pending.remove(&topic);
            resumes.replayed.remove(&topic);
            resumes.deferred.retain(|(_, ask)| ask.id != topic);
        }
        if self.topics.remove(&topic).is_some() {
            context.subscribers.leave(topic, self.shared.slot);
        }
    }

    /// Begins to resume a topic, for which the hub is asked under `ticket`. Until its answer arrives, the
    /// connection receives nothing of the topic, unless it has already received publications through an
    /// existing subscription. `replay`: the answer may contain publications, not only a position.
    pub(crate) fn resume(&mut self, context: &mut ThreadContext, topic: TopicId, ticket: u64, replay: bool) {
        if self.admission.is_none() {
            return;
        }
        if self.topics.get(&topic).is_some_and(|t| t.since == context.subscribers.counted(topic)) {
            self.topics.remove(&topic);
            context.subscribers.leave(topic, self.shared.slot);
        }
        let resumes = self.resumes.get_or_insert_default();
        resumes.expect(topic, ticket);
        if replay {
            resumes.asked.push(ticket);
        }
    }

    /// Resumes a topic from a position after which publications may have been missed. The session asks
    /// the hub itself, as soon as no earlier replay is under way.
    pub(crate) fn replay(&mut self, context: &mut ThreadContext, ticket: u64, ask: Box<Ask>) {
        let waiting = self.resumes.as_ref().map_or(0, |resumes| resumes.deferred.len());
        if waiting < MAX_DEFERRED {
            self.resume(context, ask.id, ticket, false);
            if let Some(resumes) = &mut self.resumes {
                resumes.deferred.push_back((ticket, ask));
            }
            self.ask_next(context);
        } else if self.admission.is_some() {
            self.subscribe(context, ask.id);
            if context.wants(Interest::RESUME) {
                let (id, topic, position) = (self.shared.id, ask.topic, String::new());
                context.emit(Item::plain(Event::Resumed {
                    id,
                    topic,
                    complete: false,
                    messages: 0,
                    position,
                }));
            }
        }
    }

    /// Asks the hub for the next deferred replay, if the previous one has been written completely.
    pub(super) fn ask_next(&mut self, context: &mut ThreadContext) {
        let Some(resumes) = &mut self.resumes else { return };
        if !resumes.asked.is_empty() || self.shared.allowance.load(Ordering::Relaxed) > 0 {
            return;
        }
        let next = resumes.deferred.pop_front();
        self.shared.replaying.store(next.is_some(), Ordering::Release);
        if let Some((ticket, ask)) = next {
            resumes.asked.push(ticket);
            let first = &context.server.mailboxes[0];
            first.pass(Command::Ask(ticket, ask));
            first.deliver();
        }
    }

    /// Handles the hub's answer to a resume, and asks for the next deferred replay.
    pub(crate) fn resumed(&mut self, context: &mut ThreadContext, resumed: Resumed) {
        if let Some(resumes) = &mut self.resumes {
            resumes.asked.retain(|ticket| *ticket != resumed.ticket);
        }
        self.deliver_replay(context, resumed);
        self.ask_next(context);
    }

    /// Queues the missed publications, subscribes the connection to the topic, and reports the result to
    /// the host.
    fn deliver_replay(&mut self, context: &mut ThreadContext, mut resumed: Resumed) {
        let Some(resumes) = &mut self.resumes else { return };
        if !resumes.take(resumed.id, resumed.ticket) {
            return;
        }
        // After the host has closed a connection, the only event it receives of it is the end.
        if self.admission.is_none() || !self.shared.is_open() {
            return;
        }
        if resumed.skip {
            resumes.replayed.remove(&resumed.id);
            resumes.replayed.insert(Replayed { id: resumed.id, position: resumed.position.clone() });
        }
        // If newer publications were delivered already, the missed ones would arrive out of order, so
        // they are left out.
        let newer = |t: &Subscription| t.since != context.subscribers.counted(t.id);
        if resumed.topics.iter().filter_map(|id| self.topics.get(id)).any(newer) {
            resumed.complete &= resumed.frames.is_empty();
            resumed.frames.clear();
        }
        let messages = resumed.frames.len() as u64;
        let bytes = resumed.frames.iter().map(Bytes::len).sum();
        self.shared.allowance.fetch_add(bytes, Ordering::Relaxed);
        for frame in resumed.frames {
            self.shared.add_buffered(frame.len());
            context.messages_out += 1;
            self.send(context, frame);
        }
        self.subscribe(context, resumed.id);
        if messages > 0
            && let Some(subscription) = self.topics.get_mut(&resumed.id)
        {
            subscription.since = context.subscribers.counted(resumed.id).wrapping_sub(1);
        }
        if context.wants(Interest::RESUME) {
            let Resumed { topic, complete, position, .. } = resumed;
            let id = self.shared.id;
            context.emit(Item::plain(Event::Resumed { id, topic, complete, messages, position }));
        }
    }

    /// Whether the replay of one of these topics already contained the publication at `position`.
    pub(crate) fn was_replayed(&mut self, topics: &[TopicId], position: &str) -> bool {
        let Some(resumes) = &mut self.resumes else { return false };
        let Some(replayed) = topics.iter().find_map(|id| resumes.replayed.get(id)) else { return false };
        let (id, newer) = (replayed.id, is_after(position, &replayed.position, false));
        if newer {
            resumes.replayed.remove(&id);
        }
        !newer
    }
}
