//! Topics by name on an I/O thread, for what is published without the host.
//!
//! The host tells of topics that begin and end: so it alone decides about them, its own
//! `publish()` takes no lock, and a host that is busy holds up nobody who publishes from outside.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::TopicError;
use crate::topics::registry::{Change, TopicId};
use sprocket_protocol::topic::{Kind, Patterns, check_topic, kind};

/// All topics with at least one subscriber on any thread.
#[derive(Debug, Default)]
pub(crate) struct NameIndex {
    topics: HashMap<Arc<str>, TopicId>,
    patterns: Patterns,
}

impl NameIndex {
    /// To be told of every change, in order.
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

    /// Topics and patterns that have subscribers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|name| &**name)
    }

    /// Where a publication to `name` goes.
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
    fn it_finds_what_the_host_would_find() {
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
        // The number of a topic that comes again is a new one.
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
    fn nothing_is_gathered_for_nobody() {
        let mut topics = Topics::new(1);
        topics.subscribe(ConnId(1), 0, "a").unwrap();
        topics.forget(ConnId(1));
        assert!(topics.take_changes().is_empty());
    }
}
