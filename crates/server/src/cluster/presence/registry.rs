//! Who is present, as the hub knows it: connections of its workers, counts of other nodes.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;

/// Where connections of a member are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A worker of this node, by its link.
    Link(u32),
    /// Another node.
    Node(u64),
}

/// A member of a topic.
pub(crate) type Key = (Arc<str>, Arc<str>);

/// What the connections of a worker have joined, and as whom.
type Joined = HashMap<(u64, Arc<str>), Arc<str>>;

/// Connections of one member.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    places: Vec<(Place, u32)>,
    pub(crate) data: Bytes,
}

impl Seat {
    /// Connections everywhere but at one worker.
    pub(crate) fn elsewhere(&self, link: u32) -> u32 {
        self.sum(|place| place != Place::Link(link))
    }

    /// Connections at this node.
    pub(crate) fn here(&self) -> u32 {
        self.sum(|place| matches!(place, Place::Link(_)))
    }

    fn sum(&self, counts: impl Fn(Place) -> bool) -> u32 {
        self.places.iter().filter(|(place, _)| counts(*place)).fold(0, |sum, (_, n)| sum.saturating_add(*n))
    }

    fn count(&mut self, at: Place) -> &mut u32 {
        let index = self.places.iter().position(|(place, _)| *place == at).unwrap_or_else(|| {
            self.places.push((at, 0));
            self.places.len() - 1
        });
        &mut self.places[index].1
    }
}

/// All members of all topics.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    topics: HashMap<Arc<str>, HashMap<Arc<str>, Seat>>,
    /// What each connection has joined.
    joined: HashMap<u32, Joined>,
}

impl Roster {
    /// A connection joins. Returns the seats that change: another member's, too, if it was that
    /// one before.
    pub(crate) fn join(&mut self, link: u32, conn: u64, topic: &str, member: &str, data: Bytes) -> Vec<Key> {
        let mut changed = Vec::new();
        let before = self.joined.get(&link).and_then(|of| of.get(&(conn, topic.into()))).cloned();
        if before.as_deref() != Some(member) {
            changed.extend(before.and_then(|_| self.leave(link, conn, topic)));
            let n = self.seat(topic, member).count(Place::Link(link));
            *n += 1;
            let mine = self.joined.entry(link).or_default();
            mine.insert((conn, topic.into()), member.into());
        }
        self.seat(topic, member).data = data;
        changed.push((topic.into(), member.into()));
        changed
    }

    /// A connection leaves. Returns the seat that changes.
    pub(crate) fn leave(&mut self, link: u32, conn: u64, topic: &str) -> Option<Key> {
        let mine = self.joined.get_mut(&link)?;
        let member = mine.remove(&(conn, topic.into()))?;
        if mine.is_empty() {
            self.joined.remove(&link);
        }
        let n = self.seat(topic, &member).count(Place::Link(link));
        *n -= 1;
        Some((topic.into(), member))
    }

    /// A worker is gone. Returns the seats that change.
    pub(crate) fn forget(&mut self, link: u32) -> Vec<Key> {
        let mut changed: Vec<Key> = Vec::new();
        for ((_, topic), member) in self.joined.remove(&link).unwrap_or_default() {
            *self.seat(&topic, &member).count(Place::Link(link)) = 0;
            changed.push((topic, member));
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// So many connections of a member another node has. True if that is a change.
    pub(crate) fn set(
        &mut self,
        node: u64,
        topic: &str,
        member: &str,
        connections: u32,
        data: &[u8],
    ) -> bool {
        let seat = self.seat(topic, member);
        let n = seat.count(Place::Node(node));
        let changed = *n != connections || connections > 0 && seat_data_differs(data, &seat.data);
        *seat.count(Place::Node(node)) = connections;
        if connections > 0 && seat.data != data {
            seat.data = Bytes::copy_from_slice(data);
        }
        if connections == 0 && !changed {
            self.settle(&(topic.into(), member.into()));
        }
        changed
    }

    fn seat(&mut self, topic: &str, member: &str) -> &mut Seat {
        let topic = match self.topics.get_key_value(topic) {
            Some((topic, _)) => topic.clone(),
            None => topic.into(),
        };
        self.topics.entry(topic).or_default().entry(member.into()).or_default()
    }

    /// A seat, after it has changed.
    pub(crate) fn get(&self, key: &Key) -> Option<&Seat> {
        self.topics.get(&key.0)?.get(&key.1)
    }

    /// The change has been told: what is empty goes.
    pub(crate) fn settle(&mut self, key: &Key) {
        let Some(members) = self.topics.get_mut(&key.0) else { return };
        if let Some(seat) = members.get_mut(&key.1) {
            seat.places.retain(|(_, n)| *n > 0);
            if seat.places.is_empty() {
                members.remove(&key.1);
            }
        }
        if members.is_empty() {
            self.topics.remove(&key.0);
        }
    }

    /// All seats.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &Seat)> {
        self.topics.iter().flat_map(|(t, members)| members.iter().map(move |(m, seat)| (t, m, seat)))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.joined.is_empty()
    }
}

fn seat_data_differs(new: &[u8], old: &Bytes) -> bool {
    new != &old[..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_by_place_and_nothing_is_left() {
        let mut roster = Roster::default();
        let key: Key = ("t".into(), "ann".into());
        assert_eq!(roster.join(1, 10, "t", "ann", "a".into()), std::slice::from_ref(&key));
        roster.join(1, 11, "t", "ann", "b".into());
        roster.join(2, 10, "t", "ann", "c".into());
        assert!(roster.set(77, "t", "ann", 3, b"d"));
        assert!(!roster.set(77, "t", "ann", 3, b"d"));
        let seat = roster.get(&key).unwrap();
        assert_eq!((seat.elsewhere(1), seat.elsewhere(2), seat.here()), (4, 5, 3));
        assert_eq!(seat.data, "d");
        // Joining again changes what is said, and counts once.
        roster.join(2, 10, "t", "ann", "e".into());
        assert_eq!(roster.get(&key).unwrap().here(), 3);
        // As somebody else.
        let changed = roster.join(2, 10, "t", "bob", "".into());
        assert_eq!(changed, [key.clone(), ("t".into(), "bob".into())]);
        assert_eq!(roster.leave(2, 99, "t"), None);
        assert_eq!(roster.forget(1), std::slice::from_ref(&key));
        assert_eq!(roster.get(&key).unwrap().here(), 0);
        roster.set(77, "t", "ann", 0, b"");
        roster.settle(&key);
        assert!(roster.get(&key).is_none());
        let bob = roster.leave(2, 10, "t").unwrap();
        roster.settle(&bob);
        assert!(roster.is_empty());
        assert!(!roster.set(77, "t", "nobody", 0, b""));
        assert!(roster.is_empty());
    }
}
