//! The host's list of topics and patterns, with the subscriptions of each connection and the number of
//! subscribers on each I/O thread.
//!
//! The I/O threads know topics by their numbers only; `subscribers` maps these to connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::TopicError;
use crate::id::ConnId;
use crate::indexed::Indexed;
use sprocket_protocol::topic::{self, Kind, Patterns, check_topic, kind};

/// Number of a topic or pattern, unique in this process. A topic that ends and begins again gets a new
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TopicId(u64);

/// A topic or pattern with subscribers.
#[derive(Debug)]
struct Topic {
    id: TopicId,
    /// Number of subscribers on each I/O thread.
    counts: Box<[u32]>,
}

/// Destination of a publication.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// The topic itself and all patterns that match it.
    pub(crate) topics: Vec<TopicId>,
    /// Bit mask of the I/O threads that have subscribers.
    pub(crate) threads: u64,
}

/// A topic or pattern got its first subscriber (`Began`) or lost its last one (`Ended`).
#[derive(Debug)]
pub(crate) enum Change {
    Began(TopicId, Arc<str>),
    Ended(Arc<str>),
}

/// All topics and patterns with at least one subscriber. The host's server holds it.
#[derive(Debug)]
pub(crate) struct Topics {
    /// Number of I/O threads.
    threads: usize,
    /// Number for the next topic.
    next: u64,
    topics: HashMap<Arc<str>, Topic>,
    /// The patterns among `topics`, indexed for matching.
    patterns: Patterns,
    /// Whether to record changes for [`Topics::take_changes`].
    watched: bool,
    /// Changes since the last call of [`Topics::take_changes`].
    changes: Vec<Change>,
    /// Subscriptions of each connection that has any.
    of: HashMap<ConnId, Subscriber>,
}

/// Subscriptions of one connection, and the I/O thread that serves it.
#[derive(Debug)]
struct Subscriber {
    thread: u16,
    names: Indexed<Arc<str>>,
}

impl Topics {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            next: 0,
            topics: HashMap::new(),
            patterns: Patterns::default(),
            watched: false,
            changes: Vec::new(),
            of: HashMap::new(),
        }
    }

    /// Records changes from now on, for [`Topics::take_changes`].
    pub(crate) fn watch(&mut self) {
        self.watched = true;
    }

    /// Returns the changes since the last call, in order.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Subscribes a connection. Returns the topic's number, which the connection's I/O thread must
    /// receive, or `None` if the connection is already subscribed.
    ///
    /// # Errors
    /// `name` is neither a valid topic name nor a valid pattern.
    pub(crate) fn subscribe(
        &mut self,
        conn: ConnId,
        thread: u16,
        name: &str,
    ) -> Result<Option<TopicId>, TopicError> {
        let kind = kind(name)?;
        let subscriber =
            self.of.entry(conn).or_insert_with(|| Subscriber { thread, names: Indexed::default() });
        let mine = &mut subscriber.names;
        if mine.contains(name) {
            return Ok(None);
        }
        let name = match self.topics.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => {
                let name: Arc<str> = name.into();
                let id = TopicId(self.next);
                self.next += 1;
                let counts = vec![0; self.threads].into_boxed_slice();
                self.topics.insert(name.clone(), Topic { id, counts });
                if kind == Kind::Pattern {
                    self.patterns.insert(&name);
                }
                if self.watched {
                    self.changes.push(Change::Began(id, name.clone()));
                }
                name
            }
        };
        mine.insert(name.clone());
        let Some(topic) = self.topics.get_mut(&name) else { return Ok(None) };
        topic.counts[thread as usize] += 1;
        Ok(Some(topic.id))
    }

    /// The number of a topic, or `None` if it has no subscribers.
    pub(crate) fn id(&self, name: &str) -> Option<TopicId> {
        self.topics.get(name).map(|topic| topic.id)
    }

    /// Unsubscribes a connection. Returns the topic's number, which the connection's I/O thread must
    /// receive, or `None` if the connection was not subscribed.
    pub(crate) fn unsubscribe(&mut self, conn: ConnId, name: &str) -> Option<TopicId> {
        let subscriber = self.of.get_mut(&conn)?;
        let thread = subscriber.thread;
        let name = subscriber.names.remove(name)?;
        if subscriber.names.is_empty() {
            self.of.remove(&conn);
        }
        self.release(thread, &name)
    }

    /// Removes the subscriptions of a closed connection. Its I/O thread removes its own on closing.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        let Some(subscriber) = self.of.remove(&conn) else { return };
        for name in subscriber.names {
            self.release(subscriber.thread, &name);
        }
    }

    /// Removes one subscriber of a topic, and the topic with its last one. Returns the topic's number.
    fn release(&mut self, thread: u16, name: &Arc<str>) -> Option<TopicId> {
        let topic = self.topics.get_mut(name)?;
        topic.counts[thread as usize] -= 1;
        let id = topic.id;
        if topic.counts.iter().all(|n| *n == 0) {
            self.topics.remove(name);
            if kind(name) == Ok(Kind::Pattern) {
                self.patterns.remove(name);
            }
            if self.watched {
                self.changes.push(Change::Ended(name.clone()));
            }
        }
        Some(id)
    }

    /// The topics or the patterns that a connection has subscribed to, in no particular order.
    pub(crate) fn of(&self, conn: ConnId, kind: Kind) -> Vec<String> {
        let names = self.of.get(&conn).into_iter().flat_map(|s| s.names.as_slice());
        let wanted = names.filter(|name| topic::kind(name) == Ok(kind));
        wanted.map(|name| name.to_string()).collect()
    }

    /// Number of connections that have subscribed to exactly this topic or pattern.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.topics.get(name).map_or(0, |topic| topic.counts.iter().map(|n| *n as usize).sum())
    }

    /// Number of topics and patterns with subscribers.
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    /// The destination of a publication to the topic `name`.
    ///
    /// # Errors
    /// `name` is not a valid topic name, for instance a pattern.
    pub(crate) fn route(&self, name: &str) -> Result<Route, TopicError> {
        check_topic(name)?;
        let mut route = Route::default();
        let mut add = |topic: &Topic| {
            route.topics.push(topic.id);
            for (thread, count) in topic.counts.iter().enumerate() {
                route.threads |= u64::from(*count > 0) << thread;
            }
        };
        if let Some(topic) = self.topics.get(name) {
            add(topic);
        }
        self.patterns.matches(name, &mut |pattern| {
            if let Some(topic) = self.topics.get(pattern) {
                add(topic);
            }
        });
        Ok(route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    fn routed(topics: &Topics, name: &str) -> usize {
        topics.route(name).unwrap().topics.len()
    }

    #[test]
    fn a_topic_lives_as_long_as_its_subscribers() {
        let mut topics = Topics::new(2);
        assert!(topics.subscribe(A, 0, "news").unwrap().is_some());
        assert!(topics.subscribe(A, 0, "news").unwrap().is_none());
        topics.subscribe(B, 1, "news").unwrap();
        assert_eq!((topics.count("news"), topics.route("news").unwrap().threads), (2, 0b11));
        topics.unsubscribe(A, "news").unwrap();
        assert_eq!((topics.count("news"), topics.route("news").unwrap().threads), (1, 0b10));
        topics.forget(B);
        assert_eq!((topics.count("news"), topics.len(), topics.of.len()), (0, 0, 0));
        assert!(topics.unsubscribe(A, "news").is_none());
    }

    #[test]
    fn patterns_match_as_in_nats() {
        for (pattern, name, matches) in [
            ("room.*", "room.1", true),
            ("room.*", "room", false),
            ("room.*", "room.1.x", false),
            ("room.>", "room.1", true),
            ("room.>", "room.1.x", true),
            ("room.>", "room", false),
            ("*.1", "room.1", true),
            ("*", "room.1", false),
            (">", "room.1", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c.d", true),
            ("a*", "ab", false),
        ] {
            let mut topics = Topics::new(1);
            topics.subscribe(A, 0, pattern).unwrap();
            assert_eq!(routed(&topics, name), usize::from(matches), "{pattern} {name}");
            assert_eq!(sprocket_protocol::topic::fits(pattern, name), matches, "{pattern} {name}");
            topics.forget(A);
            assert_eq!(routed(&topics, name), 0);
            assert!(topics.patterns.is_empty(), "the trie is pruned");
        }
    }

    #[test]
    fn exact_and_pattern_subscriptions_both_match() {
        let mut topics = Topics::new(1);
        for name in ["room.1", "room.*", "room.>", ">", "room.2"] {
            topics.subscribe(A, 0, name).unwrap();
        }
        assert_eq!(routed(&topics, "room.1"), 4);
        assert_eq!(topics.count("room.*"), 1);
    }

    #[test]
    fn invalid_names_are_rejected() {
        let mut topics = Topics::new(1);
        assert_eq!(topics.subscribe(A, 0, ""), Err(TopicError::Length(0)));
        assert_eq!(topics.subscribe(A, 0, &"x".repeat(256)), Err(TopicError::Length(256)));
        assert!(topics.subscribe(A, 0, &"x".repeat(255)).is_ok());
        assert!(matches!(topics.subscribe(A, 0, "a.>.b"), Err(TopicError::TailInside(_))));
        assert!(matches!(topics.route("a.*"), Err(TopicError::Pattern(_))));
    }
}
