//! A worker's copy of the presence lists: its own connections, which count at once, and the number of
//! connections elsewhere, which the hub reports.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::channel::event::{Event, PresenceMember};
use crate::id::ConnId;
use crate::indexed::{Indexed, Keyed};

type Name = Arc<str>;

/// The state of a member of a topic.
#[derive(Debug, Default)]
struct MemberState {
    /// Number of connections of this worker.
    here: u32,
    /// Number of connections on other workers and nodes.
    elsewhere: u32,
    /// The application's data about the member.
    data: Vec<u8>,
    /// The member is present according to the last event that the host received.
    reported: bool,
    /// The member is in [`View::changed`].
    queued: bool,
    /// `elsewhere` comes from a lost hub, and the next one has not confirmed it yet.
    stale: bool,
}

impl MemberState {
    fn connections(&self) -> u32 {
        self.here.saturating_add(self.elsewhere)
    }
}

/// A topic that a connection has joined.
#[derive(Debug)]
struct JoinedTopic {
    topic: Name,
    member: Name,
}

impl Keyed for JoinedTopic {
    type Key = Name;

    fn key(&self) -> &Name {
        &self.topic
    }
}

/// The members of all topics. The state that all threads share holds it behind a lock.
///
/// Methods that change it return whether the host must be notified: true for the first change since
/// the host has taken all earlier ones with [`View::take`].
#[derive(Debug, Default)]
pub(crate) struct View {
    topics: HashMap<Name, HashMap<Name, MemberState>>,
    /// The topics that each connection of this worker has joined.
    own: HashMap<ConnId, Indexed<JoinedTopic>>,
    /// Topic and member whose presence may have changed, each at most once.
    changed: VecDeque<(Name, Name)>,
}

impl View {
    /// A connection joins a topic, or replaces its data or its previous member there. True if the host
    /// must be notified.
    pub(crate) fn join(&mut self, conn: ConnId, topic: &str, member: &str, data: &[u8]) -> bool {
        let idle = self.changed.is_empty();
        let joined = self.own.entry(conn).or_default();
        if joined.get(topic).is_some_and(|joined| *joined.member == *member) {
            self.entry(topic, member).data = data.to_vec();
            return false;
        }
        let before = joined.remove(topic);
        let (topic, member): (Name, Name) = (topic.into(), member.into());
        joined.insert(JoinedTopic { topic: topic.clone(), member: member.clone() });
        if let Some(before) = before {
            self.entry(&topic, &before.member).here -= 1;
            self.change(&topic, &before.member);
        }
        let state = self.entry(&topic, &member);
        state.here += 1;
        state.data = data.to_vec();
        self.change(&topic, &member);
        idle && !self.changed.is_empty()
    }

    /// A connection leaves a topic. `None` if it had not joined; otherwise whether the host must be
    /// notified.
    pub(crate) fn leave(&mut self, conn: ConnId, topic: &str) -> Option<bool> {
        let idle = self.changed.is_empty();
        let joined = self.own.get_mut(&conn)?;
        let JoinedTopic { topic, member } = joined.remove(topic)?;
        if joined.is_empty() {
            self.own.remove(&conn);
        }
        self.entry(&topic, &member).here -= 1;
        self.change(&topic, &member);
        Some(idle && !self.changed.is_empty())
    }

    /// The topics that a connection has joined.
    pub(crate) fn of(&self, conn: ConnId) -> Vec<Name> {
        self.own.get(&conn).map_or(&[][..], Indexed::as_slice).iter().map(|j| j.topic.clone()).collect()
    }

    /// Every join of this worker: connection, topic, member, data.
    pub(crate) fn own(&self) -> impl Iterator<Item = (ConnId, &str, &str, &[u8])> {
        self.own.iter().flat_map(move |(conn, joined)| {
            joined.as_slice().iter().map(move |JoinedTopic { topic, member }| {
                let data = self.topics.get(topic).and_then(|members| members.get(member));
                (*conn, &**topic, &**member, data.map_or(&[][..], |state| &state.data))
            })
        })
    }

    /// Sets the number of a member's connections elsewhere, as the hub reports it. True if the host
    /// must be notified.
    pub(crate) fn set(&mut self, topic: &str, member: &str, elsewhere: u32, data: &[u8]) -> bool {
        let idle = self.changed.is_empty();
        let state = self.entry(topic, member);
        state.stale = false;
        state.elsewhere = elsewhere;
        if elsewhere > 0 {
            state.data = data.to_vec();
        }
        self.change(&topic.into(), &member.into());
        idle && !self.changed.is_empty()
    }

    /// Marks the counts reported by a lost hub as stale; they stay in effect until
    /// [`View::give_up`].
    pub(crate) fn doubt(&mut self) {
        for state in self.topics.values_mut().flat_map(HashMap::values_mut) {
            state.stale = state.elsewhere > 0;
        }
    }

    /// Drops the counts that the next hub has not confirmed. True if the host must be notified.
    pub(crate) fn give_up(&mut self) -> bool {
        let idle = self.changed.is_empty();
        let mut dropped = Vec::new();
        for (topic, members) in &mut self.topics {
            for (member, state) in members.iter_mut().filter(|(_, state)| state.stale) {
                state.stale = false;
                state.elsewhere = 0;
                dropped.push((topic.clone(), member.clone()));
            }
        }
        dropped.iter().for_each(|(topic, member)| self.change(topic, member));
        idle && !self.changed.is_empty()
    }

    /// The next change of presence as an event for the host, and whether there may be more. A member
    /// that came and went since the last event yields none.
    pub(crate) fn take(&mut self) -> (Option<Event>, bool) {
        while let Some((topic, member)) = self.changed.pop_front() {
            let Some(state) = self.topics.get_mut(&topic).and_then(|members| members.get_mut(&member)) else {
                continue;
            };
            state.queued = false;
            let joined = state.connections() > 0;
            let event = (joined != state.reported).then(|| Event::Presence {
                topic: topic.to_string(),
                member: member.to_string(),
                data: state.data.clone(),
                joined,
            });
            state.reported = joined;
            self.settle(&topic, &member);
            if event.is_some() {
                return (event, !self.changed.is_empty());
            }
        }
        (None, false)
    }

    /// The members present in a topic, sorted by name.
    pub(crate) fn members(&self, topic: &str) -> Vec<PresenceMember> {
        let present = self.topics.get(topic).into_iter().flatten().filter(|(_, s)| s.connections() > 0);
        let mut members: Vec<_> = present
            .map(|(member, state)| PresenceMember {
                member: member.to_string(),
                data: state.data.clone(),
                connections: state.connections(),
            })
            .collect();
        members.sort_unstable_by(|a, b| a.member.cmp(&b.member));
        members
    }

    /// The state of a member, created if necessary.
    fn entry(&mut self, topic: &str, member: &str) -> &mut MemberState {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.into(), HashMap::new());
        }
        let members = self.topics.entry(topic.into()).or_default();
        members.entry(member.into()).or_default()
    }

    /// Queues a member for [`View::take`] if its presence differs from the last event.
    fn change(&mut self, topic: &Name, member: &Name) {
        let Some(state) = self.topics.get_mut(topic).and_then(|members| members.get_mut(member)) else {
            return;
        };
        if state.queued {
            return;
        }
        if (state.connections() > 0) == state.reported {
            return self.settle(topic, member);
        }
        state.queued = true;
        self.changed.push_back((topic.clone(), member.clone()));
    }

    /// Removes a member without connections once the host has received that it left.
    fn settle(&mut self, topic: &Name, member: &Name) {
        let Some(members) = self.topics.get_mut(topic) else { return };
        if members.get(member).is_some_and(|s| s.connections() == 0 && !s.reported && !s.queued) {
            members.remove(member);
            if members.is_empty() {
                self.topics.remove(topic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    fn events(view: &mut View) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        while let (Some(Event::Presence { member, joined, .. }), _) = view.take() {
            all.push((member, joined));
        }
        all
    }

    #[test]
    fn the_first_connection_joins_and_the_last_one_leaves() {
        let mut view = View::default();
        assert!(view.join(A, "t", "ann", b"1"));
        assert!(!view.join(B, "t", "ann", b"2"));
        assert_eq!(
            view.members("t"),
            [PresenceMember { member: "ann".into(), data: b"2".to_vec(), connections: 2 }]
        );
        assert_eq!(events(&mut view), [("ann".to_owned(), true)]);
        assert_eq!(view.leave(A, "t"), Some(false));
        assert!(view.set("t", "bob", 1, b"x"));
        assert!(!view.set("t", "ann", 1, b"x"));
        assert_eq!(view.leave(B, "t"), Some(false));
        assert_eq!(events(&mut view), [("bob".to_owned(), true)]);
        view.set("t", "ann", 0, b"");
        view.set("t", "bob", 0, b"");
        assert_eq!(events(&mut view), [("ann".to_owned(), false), ("bob".to_owned(), false)]);
        assert!(view.topics.is_empty() && view.own.is_empty());
        assert_eq!(view.leave(A, "t"), None);
    }

    #[test]
    fn a_member_that_comes_and_goes_between_events_yields_none() {
        let mut view = View::default();
        for _ in 0..100 {
            view.join(A, "t", "ann", b"");
            view.leave(A, "t");
        }
        assert_eq!(view.changed.len(), 1);
        assert_eq!(events(&mut view), []);
        assert!(view.topics.is_empty());
        view.join(A, "t", "ann", b"");
        view.join(A, "t", "bob", b"");
        assert_eq!(events(&mut view), [("bob".to_owned(), true)]);
        assert_eq!(view.own().map(|(_, _, member, _)| member).collect::<Vec<_>>(), ["bob"]);
    }

    #[test]
    fn after_the_loss_of_the_hub_only_confirmed_members_stay() {
        let mut view = View::default();
        view.set("t", "ann", 1, b"");
        view.set("t", "bob", 1, b"");
        view.join(A, "t", "cid", b"");
        events(&mut view);
        view.doubt();
        view.set("t", "bob", 1, b"");
        assert_eq!(view.members("t").len(), 3);
        view.give_up();
        assert_eq!(events(&mut view), [("ann".to_owned(), false)]);
    }
}
