//! The hub's list of members: individual connections of its own workers, and connection counts
//! reported by other nodes. The topics of a worker have a registry of their own,
//! [`topics::registry`](crate::topics::registry).

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// Origin of connections of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ConnectionOrigin {
    /// A worker of this node, by the number of its link.
    Link(u32),
    /// Another node, by its number.
    Node(u64),
}

/// Topic and member.
pub(crate) type MemberKey = (Arc<str>, Arc<str>);

/// The members that a worker's connections have joined as, by connection and topic.
type Memberships = HashMap<(u64, Arc<str>), Arc<str>>;

/// The state of a member of a topic.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// Number of connections by origin; may hold zeros until [`Registry::settle`].
    places: Vec<(ConnectionOrigin, u32)>,
    /// The application's data about the member, from its latest join.
    pub(crate) data: Bytes,
}

impl Member {
    /// Number of connections on all workers and nodes except the worker of one link.
    pub(crate) fn elsewhere(&self, link: u32) -> u32 {
        self.sum(|place| place != ConnectionOrigin::Link(link))
    }

    /// Number of connections on this node.
    pub(crate) fn here(&self) -> u32 {
        self.sum(|place| matches!(place, ConnectionOrigin::Link(_)))
    }

    fn sum(&self, counts: impl Fn(ConnectionOrigin) -> bool) -> u32 {
        self.places.iter().filter(|(place, _)| counts(*place)).fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    /// The connection count of an origin, created if necessary.
    fn count(&mut self, at: ConnectionOrigin) -> &mut u32 {
        let index = self.places.iter().position(|(place, _)| *place == at).unwrap_or_else(|| {
            self.places.push((at, 0));
            self.places.len() - 1
        });
        &mut self.places[index].1
    }
}

/// The members of all topics, held by the hub.
///
/// A method that returns changed members keeps those without connections until the caller has
/// announced the change and calls [`Registry::settle`] for each.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    topics: HashMap<Arc<str>, HashMap<Arc<str>, Member>>,
    /// The joins of each worker of this node, by its link.
    joined: HashMap<u32, Memberships>,
}

impl Registry {
    /// A connection joins a topic. Returns the changed members: the joined one, and the previous one
    /// if the connection had joined as somebody else.
    pub(crate) fn join(
        &mut self,
        link: u32,
        conn: u64,
        topic: &str,
        member: &str,
        data: Bytes,
    ) -> Vec<MemberKey> {
        let mut changed = Vec::new();
        let before = self.joined.get(&link).and_then(|of| of.get(&(conn, topic.into()))).cloned();
        if before.as_deref() != Some(member) {
            changed.extend(before.and_then(|_| self.leave(link, conn, topic)));
            let n = self.member(topic, member).count(ConnectionOrigin::Link(link));
            *n += 1;
            let mine = self.joined.entry(link).or_default();
            mine.insert((conn, topic.into()), member.into());
        }
        self.member(topic, member).data = data;
        changed.push((topic.into(), member.into()));
        changed
    }

    /// A connection leaves a topic. Returns the changed member, or `None` if it had not joined.
    pub(crate) fn leave(&mut self, link: u32, conn: u64, topic: &str) -> Option<MemberKey> {
        let mine = self.joined.get_mut(&link)?;
        let member = mine.remove(&(conn, topic.into()))?;
        if mine.is_empty() {
            self.joined.remove(&link);
        }
        let n = self.member(topic, &member).count(ConnectionOrigin::Link(link));
        *n -= 1;
        Some((topic.into(), member))
    }

    /// Removes all connections of a worker that has disconnected. Returns the changed members.
    pub(crate) fn forget(&mut self, link: u32) -> Vec<MemberKey> {
        let mut changed: Vec<MemberKey> = Vec::new();
        for ((_, topic), member) in self.joined.remove(&link).unwrap_or_default() {
            *self.member(&topic, &member).count(ConnectionOrigin::Link(link)) = 0;
            changed.push((topic, member));
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// Sets the number of connections that a member has on another node. True if the number or the
    /// data has changed.
    pub(crate) fn set(
        &mut self,
        node: u64,
        topic: &str,
        member: &str,
        connections: u32,
        data: &[u8],
    ) -> bool {
        let entry = self.member(topic, member);
        let n = entry.count(ConnectionOrigin::Node(node));
        let changed = *n != connections || connections > 0 && entry.data != data;
        *entry.count(ConnectionOrigin::Node(node)) = connections;
        if connections > 0 && entry.data != data {
            entry.data = Bytes::copy_from_slice(data);
        }
        if connections == 0 && !changed {
            self.settle(&(topic.into(), member.into()));
        }
        changed
    }

    /// The state of a member, created if necessary.
    fn member(&mut self, topic: &str, member: &str) -> &mut Member {
        let topic = match self.topics.get_key_value(topic) {
            Some((topic, _)) => topic.clone(),
            None => topic.into(),
        };
        self.topics.entry(topic).or_default().entry(member.into()).or_default()
    }

    /// The state of a member.
    pub(crate) fn get(&self, key: &MemberKey) -> Option<&Member> {
        self.topics.get(&key.0)?.get(&key.1)
    }

    /// Removes a member without connections, after the change has been announced.
    pub(crate) fn settle(&mut self, key: &MemberKey) {
        let Some(members) = self.topics.get_mut(&key.0) else { return };
        if let Some(entry) = members.get_mut(&key.1) {
            entry.places.retain(|(_, n)| *n > 0);
            if entry.places.is_empty() {
                members.remove(&key.1);
            }
        }
        if members.is_empty() {
            self.topics.remove(&key.0);
        }
    }

    /// All members with their topics.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Member)> {
        self.topics.iter().flat_map(|(t, members)| members.iter().map(move |(m, entry)| (t, m, entry)))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.joined.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_origin_and_empty_members_removed() {
        let mut registry = Registry::default();
        let key: MemberKey = ("t".into(), "ann".into());
        assert_eq!(registry.join(1, 10, "t", "ann", "a".into()), std::slice::from_ref(&key));
        registry.join(1, 11, "t", "ann", "b".into());
        registry.join(2, 10, "t", "ann", "c".into());
        assert!(registry.set(77, "t", "ann", 3, b"d"));
        assert!(!registry.set(77, "t", "ann", 3, b"d"));
        let entry = registry.get(&key).unwrap();
        assert_eq!((entry.elsewhere(1), entry.elsewhere(2), entry.here()), (4, 5, 3));
        assert_eq!(entry.data, "d");
        // Joining again replaces the data and is not counted twice.
        registry.join(2, 10, "t", "ann", "e".into());
        assert_eq!(registry.get(&key).unwrap().here(), 3);
        // The connection joins as another member.
        let changed = registry.join(2, 10, "t", "bob", "".into());
        assert_eq!(changed, [key.clone(), ("t".into(), "bob".into())]);
        assert_eq!(registry.leave(2, 99, "t"), None);
        assert_eq!(registry.forget(1), std::slice::from_ref(&key));
        assert_eq!(registry.get(&key).unwrap().here(), 0);
        registry.set(77, "t", "ann", 0, b"");
        registry.settle(&key);
        assert!(registry.get(&key).is_none());
        let bob = registry.leave(2, 10, "t").unwrap();
        registry.settle(&bob);
        assert!(registry.is_empty());
        assert!(!registry.set(77, "t", "nobody", 0, b""));
        assert!(registry.is_empty());
    }
}
