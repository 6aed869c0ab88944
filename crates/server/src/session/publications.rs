//! What a session gets of topics: publications, and what it has missed of those that it resumes.

use bytes::Bytes;
use sprocket_protocol::deflate::Fanout;
use std::sync::atomic::Ordering;

use super::Session;
use super::subscriptions::{Got, Published, Subscription};
use crate::channel::ask::Ask;
use crate::channel::event::{Event, Interest};
use crate::channel::mailbox::{Command, Item, Resumed};
use crate::cluster::history::sequence::is_after;
use crate::config::SlowConsumer;
use crate::context::ThreadContext;
use crate::metrics::counters::Counters;
use crate::topics::registry::TopicId;

/// Questions of one connection that wait for an earlier replay to be written; further ones are answered
/// at once, as incomplete.
const MOST_DEFERRED: usize = 1024;

impl Session {
    /// Queues a frame that many get, unless the peer reads too slowly. `number` is that of the
    /// publication.
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

    /// Queues a message that others get, too, if there is room.
    fn push_shared(&mut self, context: &mut ThreadContext, frame: &mut Fanout) -> bool {
        let ours = context.server.config.compression.as_ref();
        let frame = frame.frame(self.compressor.as_deref_mut(), &mut context.compressors, ours);
        let waiting = self.shared.buffered();
        let then = waiting + frame.len();
        let limit = context.server.config.send_buffer_limit;
        if waiting > 0 && then > limit && self.shared.exceeds(then, limit) {
            return false;
        }
        context.messages_out += 1;
        self.push_counted(frame);
        true
    }

    /// After [`Published::Full`] and a write: the last attempt. True: it is queued.
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

    pub(crate) fn subscribe(&mut self, context: &mut ThreadContext, topic: TopicId) {
        // A session that is over has left its topics and must not come back.
        if self.admission.is_some()
            && self.topics.insert(Subscription { id: topic, since: context.subscribers.counted(topic) })
        {
            context.subscribers.join(topic, self.shared.slot);
        }
    }

    pub(crate) fn unsubscribe(&mut self, context: &mut ThreadContext, topic: TopicId) {
        if let Some(resumes) = &mut self.resumes {
            resumes.pending.remove(&topic);
            resumes.got.remove(&topic);
            resumes.deferred.retain(|(_, ask)| ask.id != topic);
        }
        if self.topics.remove(&topic).is_some() {
            context.subscribers.leave(topic, self.shared.slot);
        }
    }

    /// It will get what it has missed of a topic, and until then nothing, unless it has got
    /// something of it already.
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

    /// The same for a position from which on it may have missed something: the hub is asked when no
    /// earlier replay is under way.
    pub(crate) fn replay(&mut self, context: &mut ThreadContext, ticket: u64, ask: Box<Ask>) {
        let waiting = self.resumes.as_ref().map_or(0, |resumes| resumes.deferred.len());
        if waiting < MOST_DEFERRED {
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

    /// Asks the hub for the next replay, if the one before has been written.
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

    /// The hub's answer is here.
    pub(crate) fn resumed(&mut self, context: &mut ThreadContext, resumed: Resumed) {
        if let Some(resumes) = &mut self.resumes {
            resumes.asked.retain(|ticket| *ticket != resumed.ticket);
        }
        self.go_on_from(context, resumed);
        self.ask_next(context);
    }

    /// What it has missed is here: it gets that, and from now on what is published.
    fn go_on_from(&mut self, context: &mut ThreadContext, mut resumed: Resumed) {
        let Some(resumes) = &mut self.resumes else { return };
        if !resumes.take(resumed.id, resumed.ticket) {
            return;
        }
        // Of what the host has closed, it hears nothing but the end.
        if self.admission.is_none() || !self.shared.is_open() {
            return;
        }
        if resumed.skip {
            resumes.got.remove(&resumed.id);
            resumes.got.insert(Got { id: resumed.id, position: resumed.position.clone() });
        }
        // What comes behind newer ones is no help.
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

    /// Whether it has got what has this position, because it has resumed one of the topics.
    pub(crate) fn has_got(&mut self, topics: &[TopicId], position: &str) -> bool {
        let Some(resumes) = &mut self.resumes else { return false };
        let Some(got) = topics.iter().find_map(|id| resumes.got.get(id)) else { return false };
        let (id, newer) = (got.id, is_after(position, &got.position, false));
        if newer {
            resumes.got.remove(&id);
        }
        !newer
    }
}
