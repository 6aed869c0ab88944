//! Index of topics by name on an I/O thread, for publications that do not come from the host but from
//! the hub or the publish socket.
//!
//! The host's [`Topics`](crate::topics::registry::Topics) stays the authority and sends each
//! [`Change`]. Thus the host's `publish()` needs no lock, and a busy host does not delay other
//! publishers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::TopicError;
use crate::topics::registry::{Change, TopicId};
use sprocket_protocol::topic::{Kind, Patterns, check_topic, kind};

/// The topics and patterns with at least one subscriber on any thread.
#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    topics: HashMap<Arc<str>, TopicId>,
    patterns: Patterns,
}

impl NameIndex {
    /// Applies a change. Every change must be applied, in order.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Began(id, name) => {
                if kind(&name) == Ok(Kind::Pattern) {
                    self.patterns.insert(&name);
                }
                self.topics.insert(name, id);
            }
            Change::Ended(name) => {
                if self.topics.remove(&name).is_some() && kind(&name) == Ok(Kind::Pattern) {
                    self.patterns.remove(&name);
                }
            }
        }
    }

    /// Names of the topics and patterns that have subscribers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|name| &**name)
    }

    /// The numbers of the topic `name` and of all patterns that match it.
    ///
    /// # Errors
    /// `name` is not a valid topic name, for instance a pattern.
    pub(crate) fn route(&self, name: &str) -> Result<Arc<[TopicId]>, TopicError> {
        check_topic(name)?;
        let mut ids: Vec<TopicId> = self.topics.get(name).copied().into_iter().collect();
        self.patterns.matches(name, &mut |pattern| ids.extend(self.topics.get(pattern).copied()));
        Ok(ids.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnId;
    use crate::topics::registry::Topics;

    #[test]
    fn the_index_finds_the_same_topics_as_the_registry() {
        let (mut topics, mut name_index) = (Topics::new(2), NameIndex::default());
        topics.watch();
        let mut follow = |topics: &mut Topics, names: &[&str]| {
            topics.take_changes().into_iter().for_each(|change| name_index.apply(change));
            for name in names {
                let expected = topics.route(name).unwrap().topics;
                assert_eq!(name_index.route(name).unwrap()[..], expected[..], "{name}");
            }
        };
        let names = ["room.1", "room.2", "room.1.x", "other"];
        for (conn, topic) in [(1, "room.1"), (2, "room.1"), (1, "room.*"), (2, "room.>"), (3, "other")] {
            topics.subscribe(ConnId(conn), 0, topic).unwrap();
            follow(&mut topics, &names);
        }
        topics.unsubscribe(ConnId(1), "room.1");
        follow(&mut topics, &names);
        for conn in [1, 2, 3] {
            topics.forget(ConnId(conn));
            follow(&mut topics, &names);
        }
        assert!(name_index.topics.is_empty() && name_index.patterns.is_empty());
        // A topic that ends and begins again gets a new number.
        let mut name_index = NameIndex::default();
        for _ in 0..2 {
            topics.subscribe(ConnId(1), 0, "again").unwrap();
            topics.forget(ConnId(1));
        }
        topics.subscribe(ConnId(1), 0, "again").unwrap();
        topics.take_changes().into_iter().for_each(|change| name_index.apply(change));
        assert_eq!(name_index.route("again").unwrap()[..], topics.route("again").unwrap().topics[..]);
    }

    #[test]
    fn changes_are_not_recorded_unless_watched() {
        let mut topics = Topics::new(1);
        topics.subscribe(ConnId(1), 0, "a").unwrap();
        topics.forget(ConnId(1));
        assert!(topics.take_changes().is_empty());
    }
}
